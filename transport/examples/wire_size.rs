//! Measures bytes a row on the wire, and the time to encode and decode a row, on names that the dictionary never saw.
//!
//! `cargo run --release -p kerntrail-transport --example wire_size`. Beside it, in the same run: the same rows as Arrow
//! IPC record batches without their schema, with a dictionary of their own trained from the same messages.
//! Needs the command `zstd`.

mod realistic;
mod zdict;

use std::time::Instant;

use arrow_ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
use kerntrail_schemas::{SCHEMA_VERSION, Table, TableBatch};
use kerntrail_transport::codec;
use realistic::{Node, Vocabulary};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const SIZES: [usize; 5] = [1, 10, 100, 1_000, 8_192];

/// Messages of `rows` rows measured, so that about as many rows are seen at each size.
fn repeats(rows: usize) -> usize {
    (20_000 / rows).clamp(4, 500)
}

fn main() -> Outcome<()> {
    let ipc = IpcPeer::train()?;
    println!("bytes a row; ns a row to encode and to decode");
    println!(
        "{:<16}{:>6} {:>8} {:>10} {:>8} {:>8} {:>8}",
        "table", "rows", "ours", "Arrow IPC", "plain", "encode", "decode"
    );
    for table in Table::ALL {
        for rows in SIZES {
            measure(*table, rows, &ipc)?;
        }
    }
    Ok(())
}

fn measure(table: Table, rows: usize, ipc: &IpcPeer) -> Outcome<()> {
    let mut node = Node::new(9_000 + rows as u64, Vocabulary::Unseen);
    let batches: Vec<TableBatch> = (0..repeats(rows)).map(|_| node.batch(table, rows)).collect::<Result<_, _>>()?;
    let total = (rows * batches.len()) as f64;
    let plain: usize =
        batches.iter().map(|batch| codec::lay_out(batch).map(|plain| plain.len())).sum::<Result<_, _>>()?;
    let started = Instant::now();
    let payloads = batches.iter().map(codec::encode).collect::<Result<Vec<_>, _>>()?;
    let encode = started.elapsed();
    let started = Instant::now();
    for (payload, batch) in payloads.iter().zip(&batches) {
        assert_eq!(codec::decode(table, SCHEMA_VERSION, payload)?.rows(), batch.rows());
    }
    let decode = started.elapsed();
    let ours: usize = payloads.iter().map(|payload| payload.len()).sum();
    let theirs: usize = batches.iter().map(|batch| ipc.size(batch)).sum::<Outcome<usize>>()?;
    println!(
        "{:<16}{rows:>6} {:>8.1} {:>10.1} {:>8.1} {:>8.0} {:>8.0}",
        table.name(),
        ours as f64 / total,
        theirs as f64 / total,
        plain as f64 / total,
        encode.as_nanos() as f64 / total,
        decode.as_nanos() as f64 / total,
    );
    Ok(())
}

/// Rows as Arrow IPC, for comparison.
struct IpcPeer {
    dictionary: Vec<u8>,
}

impl IpcPeer {
    fn train() -> Outcome<Self> {
        let mut samples = Vec::new();
        for seed in 0..40 {
            let mut node = Node::new(seed, Vocabulary::Training);
            for table in Table::ALL {
                for size in [1, 1, 2, 4, 12, 40] {
                    samples.push(ipc_bytes(&node.batch(*table, size)?)?);
                }
            }
        }
        Ok(Self { dictionary: zdict::train(&samples, 48 << 10)? })
    }

    fn size(&self, rows: &TableBatch) -> Outcome<usize> {
        Ok(zstd::bulk::Compressor::with_dictionary(3, &self.dictionary)?.compress(&ipc_bytes(rows)?)?.len())
    }
}

fn ipc_bytes(rows: &TableBatch) -> Outcome<Vec<u8>> {
    let options = IpcWriteOptions::try_new(8, false, arrow_ipc::MetadataVersion::V5)?;
    let mut bytes = Vec::new();
    for batch in rows.actors.iter().chain([&rows.events]) {
        let mut tracker = DictionaryTracker::new(false);
        let (_, encoded) =
            IpcDataGenerator {}.encode(batch, &mut tracker, &options, &mut IpcWriteContext::default())?;
        bytes.extend_from_slice(&(encoded.ipc_message.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&encoded.ipc_message);
        bytes.extend_from_slice(&encoded.arrow_data);
    }
    Ok(bytes)
}

//! Trains a zstd dictionary for the current schema version and writes it to `transport/dictionaries/`.
//!
//! `cargo run --release -p kerntrail-transport --example train`; needs the command `zstd`. The same messages every time.
//! A version may also use the dictionary of the one before; one of its own is added to `codec/dictionary.rs`. A dictionary
//! that was released is never written again, since stored messages need it: an existing file is an error.

mod realistic;
mod zdict;

use std::path::Path;

use kerntrail_schemas::{SCHEMA_VERSION, Table};
use kerntrail_transport::codec;
use realistic::{Node, Vocabulary};

/// Messages of a quiet node are small, and those gain most from a dictionary.
const SIZES: [usize; 6] = [1, 1, 2, 4, 12, 40];
const NODES: u64 = 60;
const DICTIONARY_BYTES: usize = 48 << 10;

/// How often a table's messages are seen, relative to the others.
fn share(table: Table) -> usize {
    match table {
        Table::ProcessEvents => 6,
        Table::NetworkFlows => 4,
        Table::FileEvents | Table::KernelEvents => 2,
        Table::HookEvents | Table::Findings | Table::EventLoss => 1,
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut samples = Vec::new();
    for seed in 0..NODES {
        let mut node = Node::new(seed, Vocabulary::Training);
        for table in Table::ALL {
            for _ in 0..share(*table) {
                for size in SIZES {
                    samples.push(codec::lay_out(&node.batch(*table, size)?)?);
                }
            }
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("dictionaries/v{SCHEMA_VERSION}.zstd-dict"));
    if path.exists() {
        return Err(format!("{} is there already", path.display()).into());
    }
    let dictionary = zdict::train(&samples, DICTIONARY_BYTES)?;
    std::fs::write(&path, &dictionary)?;
    println!("{} bytes from {} messages -> {}", dictionary.len(), samples.len(), path.display());
    Ok(())
}

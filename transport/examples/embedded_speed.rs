//! Measures the embedded log: appends with one fsync each while a group reads and commits, then the disk it takes.
//!
//! `cargo run --release -p kerntrail-transport --example embedded_speed [FOLDER]`; FOLDER says on which disk.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kerntrail_schemas::Table;
use kerntrail_schemas::identity::StreamId;
use kerntrail_transport::{EmbeddedLog, EmbeddedOptions, EventLog, Group, Headers, Message, Polled, Position, Topic};
use rand::RngCore;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let parent = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    println!(
        "{:>10} {:>12} {:>10} {:>12} {:>10} {:>12} {:>12}",
        "bytes", "an append", "appends", "messages/s", "MB/s", "most MB disk", "RSS MB"
    );
    for (bytes, at_once, appends) in [(500, 1, 20_000), (500, 100, 6_000), (30_000, 10, 4_000), (900_000, 1, 2_000)] {
        let folder = tempfile::tempdir_in(&parent)?;
        let started = Instant::now();
        let most = run(folder.path(), bytes, at_once, appends).await?;
        let (messages, seconds) = ((at_once * appends) as f64, started.elapsed().as_secs_f64());
        println!(
            "{bytes:>10} {at_once:>12} {appends:>10} {:>12.0} {:>10.1} {:>12.0} {:>12}",
            messages / seconds,
            messages * bytes as f64 / seconds / 1e6,
            most as f64 / 1e6,
            resident_mb()?,
        );
    }
    Ok(())
}

/// Appends while a group reads and commits all; the most bytes that the folder took.
async fn run(dir: &Path, bytes: usize, at_once: usize, appends: usize) -> Outcome<u64> {
    let log = EmbeddedLog::open(dir, EmbeddedOptions { max_bytes: 256 << 20, ..EmbeddedOptions::default() }).await?;
    let topic = Topic { tenant: "t".into(), table: Table::ProcessEvents };
    let mut consumer = log.subscribe(&Group("reader".into()), std::slice::from_ref(&topic)).await?;
    let total = (at_once * appends) as i64;
    let reader = tokio::spawn(async move {
        let mut next = 0;
        while next < total {
            let Ok(Polled::Messages(messages)) = consumer.poll(1_000, Duration::from_secs(1)).await else { continue };
            let Some(last) = messages.last() else { continue };
            next = last.offset + 1;
            consumer
                .commit(&[Position { partition: last.partition.clone(), next }])
                .await
                .map_err(|error| error.to_string())?;
        }
        Ok::<(), String>(())
    });
    let mut noise = vec![0; bytes * 2];
    rand::rng().fill_bytes(&mut noise);
    let noise = Bytes::from(noise);
    let mut most = 0;
    for append in 0..appends {
        let messages = (0..at_once).map(|place| message(&noise, bytes, append * at_once + place)).collect();
        kerntrail_transport::append_patiently(&log, &topic, messages).await?;
        if append % 200 == 0 {
            most = most.max(size_of(dir)?);
        }
    }
    reader.await??;
    Ok(most.max(size_of(dir)?))
}

fn message(noise: &Bytes, bytes: usize, batch: usize) -> Message {
    let start = batch * 7 % bytes;
    let headers = Headers {
        schema_version: 1,
        node: "node".into(),
        stream: StreamId::new("stream"),
        batch: batch as i64,
        rows: 1,
        seq_range: (0, 0),
    };
    Message { headers, payload: noise.slice(start..start + bytes) }
}

/// Bytes on disk; a file that is longer than what was written to it counts what was written.
fn size_of(dir: &Path) -> std::io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut total = 0;
    for entry in std::fs::read_dir(dir)? {
        // Files come and go while this looks.
        let Ok(about) =
            entry.as_ref().map_or_else(|error| Err(std::io::Error::from(error.kind())), |entry| entry.metadata())
        else {
            continue;
        };
        total += if about.is_dir() { size_of(&entry?.path()).unwrap_or(0) } else { about.blocks() * 512 };
    }
    Ok(total)
}

fn resident_mb() -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse::<u64>()? / 1024)
}

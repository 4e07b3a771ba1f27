//! How fast an export becomes messages: `import_speed FILE [PARSERS]`, into a log that forgets and an empty lake.

use std::error::Error;
use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use kerntrail_lake::Lake;
use kerntrail_pipeline::import::{ImportOptions, import};
use kerntrail_transport::{Consumer, EventLog, Group, LogError, Message, Position, Topic};

/// Counts what it is given.
#[derive(Default)]
struct Forgetful {
    messages: AtomicU64,
    bytes: AtomicU64,
}

fn not_here<T>() -> Result<T, LogError> {
    Err(LogError::Failed { operation: "read".into(), source: "it forgets".into(), retriable: false })
}

#[async_trait]
impl EventLog for Forgetful {
    async fn append(&self, _: &Topic, messages: Vec<Message>) -> Result<(), LogError> {
        let bytes: usize = messages.iter().map(|message| message.payload.len()).sum();
        self.messages.fetch_add(messages.len() as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(())
    }
    async fn subscribe(&self, _: &Group, _: &[Topic]) -> Result<Box<dyn Consumer>, LogError> {
        not_here()
    }
    async fn end(&self, _: &Topic) -> Result<Vec<Position>, LogError> {
        not_here()
    }
    async fn oldest(&self, _: &Topic) -> Result<Vec<Position>, LogError> {
        not_here()
    }
    async fn committed(&self, _: &Group, _: &Topic) -> Result<Vec<Position>, LogError> {
        not_here()
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("usage: import_speed FILE [PARSERS]")?;
    let parsers = args.next().map_or(Ok(2), |parsers| parsers.parse())?;
    let folder = tempfile::tempdir()?;
    let lake = Lake::open(&folder.path().to_string_lossy(), "speed")?;
    let options = ImportOptions { parsers, ..ImportOptions::new(path.clone(), folder.path().join("rejects")) };
    let log = Forgetful::default();
    let started = Instant::now();
    let report = import(File::open(&path)?, options, &log, &lake, &mut |_| {}).await?;
    let took = started.elapsed().max(Duration::from_nanos(1)).as_secs_f64();
    let (read, sent) = (std::fs::metadata(&path)?.len() as f64, log.bytes.into_inner() as f64);
    println!(
        "{} records, {} rows, {} rejected in {took:.2} s: {:.0} MB/s, {:.0} rows/s; {} messages, {:.0} bytes a row",
        report.records,
        report.rows,
        report.rejected,
        read / took / 1e6,
        report.rows as f64 / took,
        log.messages.into_inner(),
        sent / report.rows.max(1) as f64,
    );
    Ok(())
}

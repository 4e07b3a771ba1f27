//! A lake with rows, and an event log that keeps what is appended or fails on request.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::json::ReaderBuilder;
use async_trait::async_trait;
use kerntrail_common::period::Period;
use kerntrail_detections::{Detector, DetectorConfig, Sources};
use kerntrail_lake::Lake;
use kerntrail_schemas::Table;
use kerntrail_transport::{Consumer, EventLog, Group, LogError, Message, Position, Topic, codec};
use serde_json::{Value, json};

/// Keeps messages; fails while `broken`, after having kept them where `keeps_when_broken`.
#[derive(Default)]
pub(crate) struct MemoryLog {
    pub(crate) messages: Mutex<Vec<Message>>,
    pub(crate) broken: AtomicBool,
    pub(crate) keeps_when_broken: AtomicBool,
}

#[async_trait]
impl EventLog for MemoryLog {
    async fn append(&self, _: &Topic, messages: Vec<Message>) -> Result<(), LogError> {
        let broken = self.broken.load(Ordering::SeqCst);
        if !broken || self.keeps_when_broken.load(Ordering::SeqCst) {
            self.messages.lock().unwrap().extend(messages);
        }
        match broken {
            true => Err(LogError::Full { held: 1, limit: 1 }),
            false => Ok(()),
        }
    }

    async fn subscribe(&self, _: &Group, _: &[Topic]) -> Result<Box<dyn Consumer>, LogError> {
        panic!("the detector only writes")
    }

    async fn end(&self, _: &Topic) -> Result<Vec<Position>, LogError> {
        Ok(Vec::new())
    }

    async fn oldest(&self, _: &Topic) -> Result<Vec<Position>, LogError> {
        Ok(Vec::new())
    }

    async fn committed(&self, _: &Group, _: &Topic) -> Result<Vec<Position>, LogError> {
        Ok(Vec::new())
    }
}

/// A lake in its own folder, and what is needed to run rules on it.
pub(crate) struct Bench {
    dir: tempfile::TempDir,
    pub(crate) lake: Arc<Lake>,
    pub(crate) log: Arc<MemoryLog>,
    next: Mutex<i64>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let lake = Arc::new(Lake::open(&dir.path().join("lake").display().to_string(), "t").unwrap());
        Self { dir, lake, log: Arc::default(), next: Mutex::new(0) }
    }

    /// A detector as after a start of the program.
    pub(crate) fn detector(&self, rules: &str) -> Detector {
        self.detector_within(rules, DetectorConfig::default().timeout.0)
    }

    /// A detector that gives each rule `timeout` in a pass.
    pub(crate) fn detector_within(&self, rules: &str, timeout: Duration) -> Detector {
        let set = Sources::compile_file(Path::new("rules.yml"), rules).unwrap();
        let config = DetectorConfig {
            interval: Period(Duration::from_millis(10)),
            timeout: Period(timeout),
            state_dir: self.dir.path().join("state"),
            tenant: "t".into(),
            node: "n".into(),
            ..DetectorConfig::default()
        };
        Detector::new(set, Arc::clone(&self.lake), Arc::clone(&self.log) as Arc<dyn EventLog>, config)
    }

    /// Commits one row of `table` that happened at `second`.
    pub(crate) async fn event(&self, table: Table, second: i64, columns: Value) {
        let seq = {
            let mut next = self.next.lock().unwrap();
            *next += 1;
            *next
        };
        let mut row = json!({
            "date": 20_453, "time": (20_453 * 86_400 + second) * 1_000_000, "stream": "s", "cpu": 0, "seq": seq, "node": "n",
        });
        row.as_object_mut().unwrap().extend(columns.as_object().unwrap().clone());
        let mut decoder = ReaderBuilder::new(table.schema()).build_decoder().unwrap();
        decoder.serialize(&[row]).unwrap();
        let batch = decoder.flush().unwrap().unwrap();
        self.lake.table(table).await.unwrap().append(vec![batch], &[]).await.unwrap();
    }

    /// The one data file of `table`, and a name that keeps it from being read.
    pub(crate) fn data_file(&self, table: Table) -> (PathBuf, PathBuf) {
        let mut folders = vec![self.dir.path().join("lake")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                let is_data = entry.extension().is_some_and(|extension| extension == "parquet");
                if entry.is_dir() {
                    folders.push(entry);
                } else if is_data && entry.to_string_lossy().contains(table.name()) {
                    let aside = entry.with_extension("aside");
                    return (entry, aside);
                }
            }
        }
        panic!("{table} has no data file");
    }

    /// Findings in the log, resent batches once.
    pub(crate) fn findings(&self) -> Vec<RecordBatch> {
        let messages = self.log.messages.lock().unwrap();
        let by_number: BTreeMap<i64, &Message> =
            messages.iter().map(|message| (message.headers.batch, message)).collect();
        let decode = |message: &&Message| {
            let headers = &message.headers;
            let rows = codec::decode(Table::Findings, headers.schema_version, &message.payload).unwrap();
            assert_eq!(rows.rows(), headers.rows as usize);
            rows.flatten().unwrap()
        };
        by_number.values().map(decode).collect()
    }

    /// Commits the findings to the lake, as the pipeline does.
    pub(crate) async fn store_findings(&self) {
        self.lake.table(Table::Findings).await.unwrap().append(self.findings(), &[]).await.unwrap();
    }

    /// Where the detectors keep their state.
    pub(crate) fn state_file(&self) -> PathBuf {
        self.dir.path().join("state/detector.json")
    }

    /// The values of a text column of all findings.
    pub(crate) fn texts(&self, column: &str) -> Vec<String> {
        let batches = self.findings();
        let values = batches.iter().flat_map(|batch| batch.column_by_name(column).unwrap().as_string::<i32>().iter());
        values.map(|value| value.unwrap_or("NULL").to_owned()).collect()
    }
}

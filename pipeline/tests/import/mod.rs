//! From an export to the rows of a real lake, through an event log in memory.

mod again;
mod bad;
mod documented;
mod other_format;
mod produced;
mod rows;
mod samples;
mod shapes;

use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::util::display::array_value_to_string;
use kerntrail_lake::Lake;
use kerntrail_pipeline::import::{ImportError, ImportOptions, ImportReport, import};
use kerntrail_schemas::Table;
use kerntrail_transport::EventLog;

use crate::memory_log::MemoryLog;
use crate::support::{config, pipeline, running};

/// An escape from a container, as Tetragon exports it. One of its calls also has a row of `hook_events`.
const ESCAPE: &str = include_str!("escape.ndjson");
const ESCAPE_RECORDS: u64 = 12;
const ESCAPE_ROWS: u64 = 13;

/// A log and a lake of one test.
struct Importing {
    folder: tempfile::TempDir,
    log: MemoryLog,
    lake: Arc<Lake>,
}

impl Importing {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lake = Lake::open(folder.path().join("lake").to_str().unwrap(), "acme").unwrap();
        Self { folder, log: MemoryLog::new(1), lake: Arc::new(lake) }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn options(&self, name: &str) -> ImportOptions {
        ImportOptions::new(name, self.path().join("rejects"))
    }

    /// Imports into `log` only.
    async fn import_to(
        &self,
        log: &dyn EventLog,
        options: ImportOptions,
        input: impl Read + Send + 'static,
    ) -> Result<ImportReport, ImportError> {
        import(input, options, log, &self.lake, &mut |_| {}).await
    }

    /// Imports, and moves the rows into the lake.
    async fn import(&self, name: &str, input: impl AsRef<[u8]>) -> ImportReport {
        let input = Cursor::new(input.as_ref().to_vec());
        let report = self.import_to(&self.log, self.options(name), input).await.unwrap();
        self.drain().await;
        report
    }

    async fn drain(&self) {
        let pipeline = pipeline(&self.log, &self.lake, config(self.path()));
        let (drained, ended) = running(&pipeline, pipeline.drain()).await;
        drained.unwrap();
        ended.unwrap();
    }

    /// The rows of `table` that the lake holds, by time: `columns` of each as text, NULL as `-`.
    async fn rows(&self, table: Table, columns: &str) -> Vec<Vec<String>> {
        let Some(lake) = self.lake.existing(table).await.unwrap() else { return Vec::new() };
        let session = kerntrail_session::unguarded(|config| config);
        session.register_table("t", lake.provider()).unwrap();
        // `cluster` is a word of SQL.
        let columns = columns.replace("cluster", "\"cluster\"");
        let sql = format!("select {columns} from t order by time, seq");
        let mut rows = Vec::new();
        for batch in session.sql(&sql).await.unwrap().collect().await.unwrap() {
            for row in 0..batch.num_rows() {
                let text = |column: &arrow::array::ArrayRef| match column.is_null(row) {
                    true => "-".to_owned(),
                    false => array_value_to_string(column, row).unwrap(),
                };
                rows.push(batch.columns().iter().map(text).collect());
            }
        }
        rows
    }

    /// Every row of every table with every column but the time of the import.
    async fn everything(&self) -> Vec<String> {
        let mut all = Vec::new();
        for table in Table::ALL {
            let columns: Vec<&str> =
                table.columns().iter().map(|column| column.name).filter(|name| *name != "ingest_time").collect();
            for row in self.rows(*table, &columns.join(", ")).await {
                all.push(format!("{table} {}", row.join(" | ")));
            }
        }
        all
    }

    fn rejects(&self, report: &ImportReport) -> Vec<serde_json::Value> {
        let Some(path) = &report.rejects_file else { return Vec::new() };
        assert!(path.starts_with(self.path()), "{}", path.display());
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Rows; records that are already there, without a place, rejected.
fn counts(report: &ImportReport) -> (u64, u64, u64, u64) {
    let without_place = report.without_place.values().sum();
    let counts = (report.rows, report.already_there, without_place, report.rejected);
    assert_eq!(report.records, report.added + counts.1 + counts.2 + counts.3, "{report:?}");
    counts
}

fn records(ndjson: &str) -> Vec<serde_json::Value> {
    ndjson.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, text).unwrap();
    encoder.finish().unwrap()
}

fn zstd(text: &[u8]) -> Vec<u8> {
    zstd::encode_all(text, 1).unwrap()
}

/// A `process_exec` that differs from others in its pid and time.
fn exec(node: &str, number: u32) -> String {
    use base64::Engine;
    let exec_id = base64::engine::general_purpose::STANDARD.encode(format!("{node}:{}:{number}", 1_000 + number));
    let (hour, minute, second) = (12 + number / 3600, number / 60 % 60, number % 60);
    format!(
        r#"{{"process_exec":{{"process":{{"exec_id":"{exec_id}","pid":{number},"binary":"/bin/true","start_time":"2026-11-24T12:00:00Z"}}}},"node_name":"{node}","time":"2026-11-24T{hour:02}:{minute:02}:{second:02}.{number:09}Z"}}"#
    )
}

fn path_of(folder: &Path, name: &str) -> PathBuf {
    folder.join(name)
}

//! Rows to write, and ways to look at what was written.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::json::LineDelimitedWriter;
use datafusion::catalog::TableProvider;
use kerntrail_lake::{Lake, LakeTable, Progress};
use kerntrail_schemas::cell::Micros;
use kerntrail_schemas::identity::{BootHash, ContainerId, ProcessUid, StreamId};
use kerntrail_schemas::tables::{Actor, Envelope, LossColumns, ProcessColumns};
use kerntrail_schemas::{Table, TableBuilder};

/// 2026-11-24T12:00:00Z in microseconds.
pub const NOON: i64 = 1_795_521_600_000_000;
pub const HOUR: i64 = 3_600_000_000;
pub const DAY: i64 = 24 * HOUR;

/// A lake in a temporary folder.
pub struct TempLake {
    pub lake: Lake,
    pub folder: tempfile::TempDir,
}

impl TempLake {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { lake: Lake::open(folder.path().to_str().unwrap(), "acme").unwrap(), folder }
    }

    /// Another lake object on the same folder: what another process would see.
    pub fn again(&self) -> Lake {
        Lake::open(self.folder.path().to_str().unwrap(), "acme").unwrap()
    }

    pub fn table_folder(&self, table: Table) -> PathBuf {
        self.folder.path().join("acme").join(table.name())
    }

    /// Parquet files of `table` on disk, whether a commit names them or not.
    pub fn parquet_files(&self, table: Table) -> Vec<PathBuf> {
        let mut found = Vec::new();
        collect(&self.table_folder(table), &mut found);
        found.retain(|path| {
            path.extension().is_some_and(|e| e == "parquet") && !path.to_string_lossy().contains("_delta_log")
        });
        found
    }
}

pub fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { collect(&path, found) } else { found.push(path) }
    }
}

/// The `count` rows of `process_events` numbered from `first`, one a second from `start` on, in five containers and
/// the host, each process with two rows.
pub fn processes(first: i64, count: i64, start: i64) -> RecordBatch {
    let boot = BootHash::of("boot");
    let mut builder = TableBuilder::<ProcessColumns>::default();
    let mut actor = None;
    for seq in first..first + count {
        let time = Micros(start + (seq - first) * 1_000_000);
        if seq % 2 == 0 || actor.is_none() {
            let container = (seq / 2 % 6 > 0).then(|| ContainerId::new(format!("{:064x}", seq / 2 % 6)));
            actor = Some(Arc::new(Actor {
                process_uid: Some(ProcessUid::new(&boot, seq as u64 / 2, 7)),
                pid: Some(seq as i32),
                process_path: Some(format!("/usr/bin/program-{}", seq % 17)),
                args: Some(vec!["sh".into(), "-c".into(), format!("echo {seq}")]),
                pod_labels: Some([("app".to_owned(), format!("a{}", seq % 3))].into()),
                container_id: container,
                ..Actor::default()
            }));
        }
        let envelope = Envelope {
            date: Some(time.day()),
            time: Some(time),
            stream: Some(StreamId::new("stream")),
            cpu: Some(0),
            seq: Some(seq),
            activity: Some(if seq % 2 == 0 { "exec" } else { "exit" }.into()),
            ..Envelope::default()
        };
        let own = ProcessColumns { exit_code: (seq % 2 == 1).then_some(0), ..ProcessColumns::default() };
        builder.append(&envelope, actor.as_ref(), &own);
    }
    builder.finish().unwrap().flatten().unwrap()
}

/// A row of `event_loss` without a time.
pub fn loss_without_time() -> RecordBatch {
    let mut builder = TableBuilder::<LossColumns>::default();
    builder.append(&Envelope::default(), None, &LossColumns { lost: Some(3), ..LossColumns::default() });
    builder.finish().unwrap().flatten().unwrap()
}

/// Partition 0 of a topic taken from `offsets.start` up to, not including, `offsets.end`.
pub fn taken(offsets: Range<i64>) -> Progress {
    let (from_offset, next_offset) = (offsets.start, offsets.end);
    Progress { partition: "topic/0".into(), from_offset, next_offset, ..Progress::default() }
}

/// Makes a checkpoint of `version` as any writer of Delta tables may, however few commits have come.
pub async fn make_checkpoint(temp: &TempLake, table: Table, version: i64) {
    let url = url::Url::from_directory_path(temp.table_folder(table)).unwrap();
    let version = u64::try_from(version).unwrap();
    deltalake_core::checkpoints::create_checkpoint_from_table_url_and_cleanup(url, version, Some(false), None)
        .await
        .unwrap();
}

pub async fn query(provider: Arc<dyn TableProvider>, sql: &str) -> Vec<RecordBatch> {
    let session = kerntrail_session::unguarded(|config| config);
    session.register_table("t", provider).unwrap();
    session.sql(sql).await.unwrap().collect().await.unwrap()
}

/// The answer as sorted lines of JSON.
pub async fn lines(provider: Arc<dyn TableProvider>, sql: &str) -> Vec<String> {
    let mut bytes = Vec::new();
    let mut writer = LineDelimitedWriter::new(&mut bytes);
    for batch in query(provider, sql).await {
        writer.write(&batch).unwrap();
    }
    writer.finish().unwrap();
    drop(writer);
    let mut lines: Vec<String> = String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Every row with every column.
pub async fn all_rows(table: &LakeTable) -> Vec<String> {
    lines(table.provider(), "select * from t").await
}

/// The `seq` of every row.
pub async fn seqs(provider: Arc<dyn TableProvider>) -> Vec<i64> {
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;
    let batches = query(provider, "select seq from t order by seq").await;
    batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
}

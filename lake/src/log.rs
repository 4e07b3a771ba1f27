//! The Delta log of one table in its store: commits, checkpoints.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::json::LineDelimitedWriter;
use bytes::Bytes;
use deltalake_core::checkpoints::create_checkpoint_from_table_url_and_cleanup;
use deltalake_core::kernel::transaction::TransactionError;
use deltalake_core::kernel::{Action, Remove};
use deltalake_core::logstore::{CommitOrBytes, LogStoreRef, StorageConfig, get_actions, logstore_for};
use futures::TryStreamExt;
use kerntrail_common::durable;
use kerntrail_schemas::Table;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Deserialize;
use tracing::warn;
use url::Url;
use uuid::Uuid;

use crate::error::{LakeError, Source};
use crate::state::TableState;

/// Folder of the log below the table.
pub(crate) const FOLDER: &str = "_delta_log";
/// How often a log is read again that was cleaned up under the reader's eyes.
const READS: usize = 5;
/// What a checkpoint holds that a state is made of.
const CHECKPOINT_COLUMNS: [&str; 5] = ["add", "remove", "txn", "metaData", "protocol"];

/// What `_last_checkpoint` says.
#[derive(Deserialize)]
struct LastCheckpoint {
    version: i64,
    #[serde(default)]
    parts: Option<u64>,
}

/// The log and the files of one table.
#[derive(Clone)]
pub(crate) struct DeltaLog {
    pub(crate) table: Table,
    store: LogStoreRef,
}

impl DeltaLog {
    /// The log below `location`, the table's folder; it need not exist.
    pub(crate) fn new(table: Table, location: &Url) -> Result<Self, LakeError> {
        let store = logstore_for(location, StorageConfig::default())
            .map_err(|source| LakeError::store(format!("open the store of {location}"), source))?;
        Ok(Self { table, store })
    }

    /// The table's folder.
    pub(crate) fn location(&self) -> &Url {
        self.store.root_url()
    }

    /// The store whose root is the table's folder.
    pub(crate) fn files(&self) -> Arc<dyn ObjectStore> {
        self.store.object_store(None)
    }

    /// The store that holds the table's folder at the path of its URL.
    pub(crate) fn root(&self) -> Arc<dyn ObjectStore> {
        self.store.root_object_store(None)
    }

    /// deltalake-core's own view of the log.
    pub(crate) fn store(&self) -> &LogStoreRef {
        &self.store
    }

    /// A [`LakeError::Store`] of `operation` on this table.
    pub(crate) fn failed(&self, operation: &str, source: impl Into<Source>) -> LakeError {
        LakeError::store(format!("{operation} {}", self.location()), source)
    }

    /// The actions of the commit of `version`; `None` when there is none (yet, or any more).
    pub(crate) async fn commit(&self, version: i64) -> Result<Option<Vec<Action>>, LakeError> {
        let failed = |source| self.failed(&format!("read commit {version} of"), source);
        let Some(bytes) = self.store.read_commit_entry(version as u64).await.map_err(failed)? else {
            return Ok(None);
        };
        get_actions(version as u64, &bytes).map(Some).map_err(failed)
    }

    /// Writes `actions` as the commit of `version`, whole or not at all. `false` when that version is taken.
    pub(crate) async fn write_commit(&self, version: i64, actions: &[Action]) -> Result<bool, LakeError> {
        let operation = || format!("write commit {version} of");
        let mut lines = Vec::new();
        for action in actions {
            serde_json::to_writer(&mut lines, action).map_err(|source| self.failed(&operation(), source))?;
            lines.push(b'\n');
        }
        if let Some(path) = self.local(&format!("{FOLDER}/{version:020}.json")) {
            return self.create_local(path, lines).await.map_err(|source| self.failed(&operation(), source));
        }
        let bytes = CommitOrBytes::LogBytes(Bytes::from(lines));
        match self.store.write_commit_entry(version as u64, bytes, Uuid::new_v4()).await {
            Ok(()) => Ok(true),
            Err(TransactionError::VersionAlreadyExists(_)) => Ok(false),
            Err(source) => Err(self.failed(&operation(), source)),
        }
    }

    async fn create_local(&self, path: PathBuf, bytes: Vec<u8>) -> Result<bool, Source> {
        let created = tokio::task::spawn_blocking(move || {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            durable::create(&path, &bytes)
        });
        Ok(created.await??)
    }

    /// Waits until a file of the table will survive a power cut. An object store has seen to that already.
    pub(crate) async fn sync(&self, path: &str) -> Result<(), LakeError> {
        let Some(local) = self.local(path) else { return Ok(()) };
        let synced = tokio::task::spawn_blocking(move || durable::sync(&local)).await;
        let failed = |source: Source| self.failed(&format!("sync {path} of"), source);
        synced.map_err(|source| failed(source.into()))?.map_err(|source| failed(source.into()))
    }

    /// Where `path` below the table lies on a local disk.
    fn local(&self, path: &str) -> Option<PathBuf> {
        let folder = self.location().to_file_path().ok().filter(|_| self.location().scheme() == "file")?;
        Some(folder.join(path))
    }

    /// The table as the log has it now; `None` when there is no table.
    pub(crate) async fn load(&self) -> Result<Option<TableState>, LakeError> {
        // The log can be cleaned up between the read of the hint and that of what it points to.
        let mut last = None;
        for _ in 0..READS {
            match self.try_load().await {
                Ok(state) => return Ok(state),
                Err(error @ LakeError::Refused { .. }) => return Err(error),
                Err(error) => last = Some(error),
            }
        }
        last.map_or(Ok(None), Err)
    }

    async fn try_load(&self) -> Result<Option<TableState>, LakeError> {
        let mut state = TableState::empty(self.table);
        if let Some((version, actions)) = self.newest_checkpoint().await? {
            state.restore(version, actions)?;
        }
        self.catch_up(&mut state).await?;
        Ok((state.version >= 0).then_some(state))
    }

    /// The newest checkpoint that can be read, with its version. Its name comes from `_last_checkpoint`, or from a look
    /// at the folder when that, or what it names, is missing or damaged.
    async fn newest_checkpoint(&self) -> Result<Option<(i64, Vec<Action>)>, LakeError> {
        let failure = match self.last_checkpoint().await {
            Ok(None) => None,
            Ok(Some(hint)) => match self.checkpoint(&hint).await {
                Ok(actions) => return Ok(Some((hint.version, actions))),
                Err(error) => Some(error),
            },
            Err(error) => Some(error),
        };
        if failure.is_none() && self.commit(0).await?.is_some() {
            return Ok(None);
        }
        for version in self.checkpoint_versions().await?.into_iter().rev() {
            if let Ok(actions) = self.checkpoint(&LastCheckpoint { version, parts: None }).await {
                warn!(table = %self.table, version, "the last checkpoint cannot be read; this one can");
                return Ok(Some((version, actions)));
            }
        }
        match failure {
            Some(failure) if self.commit(0).await?.is_none() => Err(failure),
            _ => Ok(None),
        }
    }

    /// Versions of the checkpoints in the folder, ascending.
    async fn checkpoint_versions(&self) -> Result<Vec<i64>, LakeError> {
        let listed = self.files().list(Some(&Path::from(FOLDER))).try_collect::<Vec<_>>().await;
        let listed = listed.map_err(|source| self.failed("list the log of", source))?;
        let version = |file: &object_store::ObjectMeta| {
            file.location.filename()?.strip_suffix(".checkpoint.parquet")?.parse::<i64>().ok()
        };
        let mut versions: Vec<i64> = listed.iter().filter_map(version).collect();
        versions.sort_unstable();
        Ok(versions)
    }

    /// Makes a checkpoint of `version`, on disk before anything that it stands for is removed.
    pub(crate) async fn make_checkpoint(&self, version: i64) -> Result<(), LakeError> {
        let location = self.location().clone();
        create_checkpoint_from_table_url_and_cleanup(location, version as u64, Some(false), None)
            .await
            .map_err(|source| self.failed(&format!("make checkpoint {version} of"), source))?;
        self.sync(&format!("{FOLDER}/{version:020}.checkpoint.parquet")).await?;
        self.sync(&format!("{FOLDER}/_last_checkpoint")).await
    }

    /// Takes the commits after `state`, as far as they are there without a gap.
    pub(crate) async fn catch_up(&self, state: &mut TableState) -> Result<(), LakeError> {
        while let Some(actions) = self.commit(state.version + 1).await? {
            state.apply(state.version + 1, actions)?;
        }
        Ok(())
    }

    /// Version of the latest checkpoint.
    pub(crate) async fn checkpoint_version(&self) -> Result<Option<i64>, LakeError> {
        Ok(self.last_checkpoint().await?.map(|hint| hint.version))
    }

    async fn last_checkpoint(&self) -> Result<Option<LastCheckpoint>, LakeError> {
        let failed = |source: Source| self.failed("read _last_checkpoint of", source);
        let path = Path::from_iter([FOLDER, "_last_checkpoint"]);
        let bytes = match self.files().get(&path).await {
            Ok(found) => found.bytes().await.map_err(|source| failed(source.into()))?,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(source) => return Err(failed(source.into())),
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|source| failed(source.into()))
    }

    async fn checkpoint(&self, hint: &LastCheckpoint) -> Result<Vec<Action>, LakeError> {
        let version = hint.version;
        let failed = |source: Source| self.failed(&format!("read checkpoint {version} of"), source);
        let mut actions = Vec::new();
        for part in 1..=hint.parts.unwrap_or(1) {
            let name = match hint.parts {
                None => format!("{version:020}.checkpoint.parquet"),
                Some(parts) => format!("{version:020}.checkpoint.{part:010}.{parts:010}.parquet"),
            };
            let path = Path::from_iter([FOLDER, name.as_str()]);
            let found = self.files().get(&path).await.map_err(|source| failed(source.into()))?;
            let bytes = found.bytes().await.map_err(|source| failed(source.into()))?;
            let lines = checkpoint_lines(bytes).map_err(failed)?;
            actions.extend(get_actions(version as u64, &lines).map_err(|source| failed(source.into()))?);
        }
        Ok(actions)
    }

    /// The removals that the log still remembers.
    pub(crate) async fn tombstones(&self) -> Result<Vec<Remove>, LakeError> {
        let mut removed = Vec::new();
        let mut take = |actions: Vec<Action>| {
            removed.extend(actions.into_iter().filter_map(|action| match action {
                Action::Remove(remove) => Some(remove),
                _ => None,
            }));
        };
        let mut version = -1;
        if let Some((of, actions)) = self.newest_checkpoint().await? {
            take(actions);
            version = of;
        }
        while let Some(actions) = self.commit(version + 1).await? {
            take(actions);
            version += 1;
        }
        Ok(removed)
    }

    /// All files below the table, without those of the log.
    pub(crate) async fn list_files(&self) -> Result<Vec<object_store::ObjectMeta>, LakeError> {
        let store = self.files();
        let log = Path::from(FOLDER);
        let listed = store.list(None).try_collect::<Vec<_>>().await;
        let listed = listed.map_err(|source| self.failed("list the files of", source))?;
        Ok(listed.into_iter().filter(|file| !file.location.prefix_matches(&log)).collect())
    }
}

/// The actions in the bytes of a checkpoint, one JSON object a line, as in a commit.
fn checkpoint_lines(bytes: Bytes) -> Result<Bytes, Source> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)?;
    let schema = reader.parquet_schema();
    let leaves = (0..schema.num_columns()).filter(|&leaf| {
        let path = schema.column(leaf).path().clone();
        let parts = path.parts();
        CHECKPOINT_COLUMNS.contains(&parts[0].as_str()) && !parts.iter().any(|part| part.ends_with("_parsed"))
    });
    let mask = ProjectionMask::leaves(schema, leaves.collect::<Vec<_>>());
    let mut lines = Vec::new();
    for batch in reader.with_projection(mask).build()? {
        let mut writer = LineDelimitedWriter::new(&mut lines);
        writer.write(&batch?)?;
        writer.finish()?;
    }
    // A row of a kind of action that no state is made of leaves an empty object.
    let kept: Vec<&[u8]> =
        lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty() && *line != b"{}").collect();
    Ok(kept.join(&b'\n').into())
}

//! The Delta log of one table in its store: its commits, and the state that they add up to.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use deltalake_core::kernel::transaction::TransactionError;
use deltalake_core::kernel::{Action, Remove};
use deltalake_core::logstore::{CommitOrBytes, LogStoreRef, StorageConfig, get_actions, logstore_for};
use futures::TryStreamExt;
use kerntrail_common::durable;
use kerntrail_schemas::Table;
use object_store::ObjectStore;
use object_store::path::Path;
use url::Url;
use uuid::Uuid;

use crate::error::{LakeError, Source};
use crate::state::TableState;

/// Folder of the log below the table.
pub(crate) const FOLDER: &str = "_delta_log";
/// How often a log is read again that was cleaned up under the reader's eyes.
const READS: usize = 5;

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

    /// Takes the commits after `state`, as far as they are there without a gap.
    pub(crate) async fn catch_up(&self, state: &mut TableState) -> Result<(), LakeError> {
        while let Some(actions) = self.commit(state.version + 1).await? {
            state.apply(state.version + 1, actions)?;
        }
        Ok(())
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

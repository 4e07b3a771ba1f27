//! The Delta log of one table in its store: its commits, and the state that they add up to.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use deltalake_core::kernel::Action;
use deltalake_core::kernel::transaction::TransactionError;
use deltalake_core::logstore::{CommitOrBytes, LogStoreRef, StorageConfig, get_actions, logstore_for};
use futures::TryStreamExt;
use kerntrail_common::durable;
use kerntrail_schemas::Table;
use object_store::ObjectStore;
use object_store::path::Path;
use url::Url;
use uuid::Uuid;

use crate::checkpoint::{Removed, Wanted};
use crate::error::{BoxError, LakeError};
use crate::state::TableState;

/// Folder of the log below the table.
pub(crate) const FOLDER: &str = "_delta_log";
/// Attempts to read a log that is cleaned up meanwhile.
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
    pub(crate) fn failed(&self, operation: &str, source: impl Into<BoxError>) -> LakeError {
        LakeError::store(format!("{operation} {}", self.location()), source)
    }

    /// The actions of the commit of `version`; `None` when it does not exist yet, or was cleaned up.
    pub(crate) async fn commit(&self, version: i64) -> Result<Option<Vec<Action>>, LakeError> {
        let failed = |source| self.failed(&format!("read commit {version} of"), source);
        let Some(bytes) = self.store.read_commit_entry(version as u64).await.map_err(failed)? else {
            return Ok(None);
        };
        get_actions(version as u64, &bytes).map(Some).map_err(failed)
    }

    /// Writes `actions` as the commit of `version`, completely or not at all. `false` when that version exists.
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

    async fn create_local(&self, path: PathBuf, bytes: Vec<u8>) -> Result<bool, BoxError> {
        let created = tokio::task::spawn_blocking(move || {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            durable::create(&path, &bytes)
        });
        Ok(created.await??)
    }

    /// Makes a file of the table durable. In an object store it already is.
    pub(crate) async fn sync(&self, path: &str) -> Result<(), LakeError> {
        let Some(local) = self.local(path) else { return Ok(()) };
        let synced = tokio::task::spawn_blocking(move || durable::sync(&local)).await;
        let failed = |source: BoxError| self.failed(&format!("sync {path} of"), source);
        synced.map_err(|source| failed(source.into()))?.map_err(|source| failed(source.into()))
    }

    /// `path` below the table on the local disk; `None` in an object store.
    fn local(&self, path: &str) -> Option<PathBuf> {
        let folder = self.location().to_file_path().ok().filter(|_| self.location().scheme() == "file")?;
        Some(folder.join(path))
    }

    /// Loads the table at the latest version of the log; `None` if the table does not exist.
    pub(crate) async fn load(&self) -> Result<Option<TableState>, LakeError> {
        // The log can be cleaned up after `_last_checkpoint` was read and before what it names is.
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
        let mut state = match self.newest_checkpoint(Wanted::State).await? {
            Some(checkpoint) => TableState::restored(self.table, checkpoint)?,
            None => TableState::empty(self.table),
        };
        self.catch_up(&mut state).await?;
        Ok((state.version >= 0).then_some(state))
    }

    /// Applies the commits after `state`, up to the first gap.
    pub(crate) async fn catch_up(&self, state: &mut TableState) -> Result<(), LakeError> {
        while let Some(actions) = self.commit(state.version + 1).await? {
            state.apply(state.version + 1, actions)?;
        }
        Ok(())
    }

    /// The removals that the log still remembers.
    pub(crate) async fn removals(&self) -> Result<Vec<Removed>, LakeError> {
        let (mut version, mut removed) = match self.newest_checkpoint(Wanted::Removals).await? {
            Some(checkpoint) => (checkpoint.version, checkpoint.removed),
            None => (-1, Vec::new()),
        };
        while let Some(actions) = self.commit(version + 1).await? {
            version += 1;
            removed.extend(actions.into_iter().filter_map(|action| match action {
                Action::Remove(remove) => Some(Removed { path: remove.path, at: remove.deletion_timestamp }),
                _ => None,
            }));
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

//! One table: a handle with a snapshot of it.

use std::sync::{Arc, Mutex, PoisonError};

use datafusion::catalog::TableProvider;
use kerntrail_schemas::Table;
use tracing::{debug, info};

use crate::error::LakeError;
use crate::file::DataFile;
use crate::log::DeltaLog;
use crate::metrics::FILES;
use crate::progress::Progress;
use crate::provider::{self, FilesProvider};
use crate::shape;
use crate::state::{Passed, TableState};

/// What the handles of one table have in common.
pub(crate) struct Shared {
    log: DeltaLog,
    /// The newest state that any of them has seen.
    latest: Mutex<Option<Arc<TableState>>>,
}

impl Shared {
    pub(crate) fn new(log: DeltaLog) -> Self {
        Self { log, latest: Mutex::new(None) }
    }

    fn latest(&self) -> Option<Arc<TableState>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn publish(&self, state: &Arc<TableState>) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if latest.as_ref().is_none_or(|known| known.version < state.version) {
            *latest = Some(Arc::clone(state));
        }
    }
}

/// One table as of a version; it moves on by [`LakeTable::refresh`] and by what is written through it.
///
/// A clone is another handle at the same version. Any number of handles, in any number of processes, may write.
#[derive(Clone)]
pub struct LakeTable {
    shared: Arc<Shared>,
    state: Arc<TableState>,
}

impl LakeTable {
    pub(crate) async fn open(shared: Arc<Shared>) -> Result<Option<Self>, LakeError> {
        let state = match shared.latest() {
            Some(known) => known,
            None => match shared.log.load().await? {
                Some(loaded) => Arc::new(loaded),
                None => return Ok(None),
            },
        };
        let mut table = Self { shared, state };
        table.refresh().await?;
        Ok(Some(table))
    }

    pub(crate) async fn open_or_create(shared: Arc<Shared>) -> Result<Self, LakeError> {
        if Self::open(Arc::clone(&shared)).await?.is_none() {
            let log = &shared.log;
            let created = log.write_commit(0, &shape::creation(log.table)?).await?;
            info!(table = %log.table, created, "table made");
        }
        let missing = || LakeError::refused(shared.log.table, "the table vanished");
        let mut table = Self::open(Arc::clone(&shared)).await?.ok_or_else(missing)?;
        table.add_missing_columns().await?;
        Ok(table)
    }

    /// Which table.
    pub fn table(&self) -> Table {
        self.state.table
    }

    /// The version that this handle sees.
    pub fn version(&self) -> i64 {
        self.state.version
    }

    pub(crate) fn state(&self) -> &TableState {
        &self.state
    }

    pub(crate) fn state_mut(&mut self) -> &mut TableState {
        Arc::make_mut(&mut self.state)
    }

    pub(crate) fn log(&self) -> &DeltaLog {
        &self.shared.log
    }

    /// Lets the other handles know what this one knows.
    pub(crate) fn publish(&self) {
        self.shared.publish(&self.state);
        metrics::gauge!(FILES, "table" => self.table().name()).set(self.state.files.len() as f64);
    }

    /// Moves on to the latest version: reads the commits since, usually none or one.
    ///
    /// Errors: `Store`; `Refused` when the table has become one that this version of kerntrail does not understand.
    pub async fn refresh(&mut self) -> Result<(), LakeError> {
        self.take_commits().await.map(|_| ())
    }

    /// Moves on to the latest version and tells what the commits since this handle's did.
    pub(crate) async fn take_commits(&mut self) -> Result<Passed, LakeError> {
        let log = self.shared.log.clone();
        let before = Arc::clone(&self.state);
        if let Some(latest) = self.shared.latest().filter(|latest| latest.version > self.state.version) {
            self.state = latest;
        }
        loop {
            let next = self.version() + 1;
            let Some(actions) = log.commit(next).await? else { break };
            self.state_mut().apply(next, actions)?;
        }
        // Nothing follows, or what follows was cleaned up after a checkpoint while this handle slept.
        let checkpoint = log.checkpoint_version().await.unwrap_or_else(|error| {
            debug!(%error, "no word of a checkpoint");
            None
        });
        if checkpoint.is_some_and(|version| version > self.version()) {
            let missing = || LakeError::refused(self.state.table, "the table vanished");
            self.state = Arc::new(log.load().await?.ok_or_else(missing)?);
        } else if checkpoint.is_some() && checkpoint != self.state.checkpoint {
            self.state_mut().checkpoint = checkpoint;
        }
        self.publish();
        Ok(passed(&before, &self.state))
    }

    /// How far the source's `partition` (`<topic>/<n>`) had been taken at this handle's version.
    pub fn progress(&self, partition: &str) -> Progress {
        Progress::read(partition, &self.state.txns)
    }

    /// The rows at this handle's version, for DataFusion. Files are skipped by their statistics.
    pub fn provider(&self) -> Arc<dyn TableProvider> {
        self.provider_of(self.state.files.values().cloned().collect())
    }

    pub(crate) fn provider_of(&self, files: Vec<Arc<DataFile>>) -> Arc<dyn TableProvider> {
        Arc::new(FilesProvider::new(self.table(), self.log(), files))
    }

    /// The files at this handle's version: absolute paths of a local lake, URLs of another.
    pub fn files(&self) -> Vec<String> {
        self.state.files.keys().map(|path| provider::absolute(self.log().location(), path)).collect()
    }
}

/// What happened between two states of a table.
fn passed(before: &TableState, after: &TableState) -> Passed {
    let gone = before.files.keys().filter(|path| !after.files.contains_key(*path));
    Passed {
        removed: gone.map(|path| path.to_string()).collect(),
        reshaped: before.metadata.as_deref().map(|m| m.schema_string())
            != after.metadata.as_deref().map(|m| m.schema_string()),
    }
}

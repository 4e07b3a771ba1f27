//! One table: a handle with a snapshot of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::catalog::TableProvider;
use deltalake_core::kernel::Metadata;
use kerntrail_schemas::Table;
use tracing::{debug, info};

use crate::clock::Clock;
use crate::error::LakeError;
use crate::file::DataFile;
use crate::log::DeltaLog;
use crate::metrics::{FILES, PROGRESS_RECORDS};
use crate::progress::Progress;
use crate::provider::{self, FilesProvider};
use crate::shape;
use crate::state::TableState;

/// What the handles of one table have in common.
pub(crate) struct Shared {
    log: DeltaLog,
    clock: Clock,
    /// The newest state that any of them has seen.
    latest: Mutex<Option<Arc<TableState>>>,
    /// The metadata that a handle last found complete, or made so.
    complete: Mutex<Option<Arc<Metadata>>>,
    /// Whether the log says already that the table has columns of a newer release.
    noted_newer_columns: AtomicBool,
}

impl Shared {
    pub(crate) fn new(log: DeltaLog, clock: Clock) -> Self {
        Self {
            log,
            clock,
            latest: Mutex::default(),
            complete: Mutex::default(),
            noted_newer_columns: AtomicBool::new(false),
        }
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

    /// Loads the table at the latest version of the log, without expired progress; `None` if the table does not exist.
    async fn load(&self) -> Result<Option<Arc<TableState>>, LakeError> {
        let Some(mut state) = self.log.load().await? else { return Ok(None) };
        state.expire(self.clock.now());
        Ok(Some(Arc::new(state)))
    }
}

/// One table as of a version; it moves on by [`LakeTable::refresh`] and by what is written through it.
///
/// A clone is another handle at the same version, and stays there. Any number of handles, in any number of processes,
/// may write.
#[derive(Clone)]
pub struct LakeTable {
    shared: Arc<Shared>,
    state: Arc<TableState>,
}

impl LakeTable {
    pub(crate) async fn open(shared: Arc<Shared>) -> Result<Option<Self>, LakeError> {
        let state = match shared.latest() {
            Some(known) => known,
            None => match shared.load().await? {
                Some(loaded) => loaded,
                None => return Ok(None),
            },
        };
        let mut table = Self { shared, state };
        table.refresh().await?;
        Ok(Some(table))
    }

    pub(crate) async fn open_or_create(shared: Arc<Shared>) -> Result<Self, LakeError> {
        let mut table = match Self::open(Arc::clone(&shared)).await? {
            Some(table) => table,
            None => {
                let log = &shared.log;
                let created = log.write_commit(0, &shape::creation(log.table)?).await?;
                info!(table = %log.table, created, "created the table");
                let missing = || LakeError::refused(shared.log.table, "the table no longer exists");
                Self::open(Arc::clone(&shared)).await?.ok_or_else(missing)?
            }
        };
        // Only when the metadata has changed: this is on the way of every append.
        if !table.is_complete() {
            table.complete_shape().await?;
            *shared.complete.lock().unwrap_or_else(PoisonError::into_inner) = table.state.metadata.clone();
        }
        Ok(table)
    }

    fn is_complete(&self) -> bool {
        let complete = self.shared.complete.lock().unwrap_or_else(PoisonError::into_inner);
        matches!((&*complete, &self.state.metadata), (Some(complete), Some(current)) if Arc::ptr_eq(complete, current))
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

    /// The state itself, which later changes leave as it is.
    pub(crate) fn snapshot(&self) -> Arc<TableState> {
        Arc::clone(&self.state)
    }

    /// The state, to be changed. Other holders keep their version: a change copies only the path to what it changes.
    pub(crate) fn state_mut(&mut self) -> &mut TableState {
        Arc::make_mut(&mut self.state)
    }

    pub(crate) fn log(&self) -> &DeltaLog {
        &self.shared.log
    }

    /// The time that progress is recorded with, in milliseconds since the Unix epoch.
    pub(crate) fn now(&self) -> i64 {
        self.shared.clock.now()
    }

    /// Whether this is the first time that columns of a newer release are noted, by any handle of the table.
    pub(crate) fn note_newer_columns(&self) -> bool {
        !self.shared.noted_newer_columns.swap(true, Ordering::Relaxed)
    }

    /// Shares the state of this handle with the others.
    pub(crate) fn publish(&self) {
        self.shared.publish(&self.state);
        metrics::gauge!(FILES, "table" => self.table().name()).set(self.state.files.size() as f64);
        metrics::gauge!(PROGRESS_RECORDS, "table" => self.table().name()).set(self.state.txns.len() as f64);
    }

    /// Moves on to the latest version: reads the commits since, usually none or one.
    ///
    /// Errors: `Store`; `Refused` when the table has become one that this version of kerntrail does not understand.
    pub async fn refresh(&mut self) -> Result<(), LakeError> {
        if let Some(latest) = self.shared.latest().filter(|latest| latest.version > self.state.version) {
            self.state = latest;
        }
        loop {
            let next = self.version() + 1;
            let Some(actions) = self.log().commit(next).await? else { break };
            self.state_mut().apply(next, actions)?;
        }
        // Nothing follows, or what follows was cleaned up after a checkpoint while this handle slept.
        let checkpoint = self.log().checkpoint_version().await.unwrap_or_else(|error| {
            debug!(%error, "cannot read _last_checkpoint");
            None
        });
        if checkpoint.is_some_and(|version| version > self.version()) {
            let missing = || LakeError::refused(self.state.table, "the table no longer exists");
            self.state = self.shared.load().await?.ok_or_else(missing)?;
        } else if checkpoint.is_some() && checkpoint != self.state.checkpoint {
            self.passed_checkpoint(checkpoint);
        }
        self.publish();
        Ok(())
    }

    /// Notes that there is a `checkpoint`, which holds no expired progress; neither does this handle from now on.
    pub(crate) fn passed_checkpoint(&mut self, checkpoint: Option<i64>) {
        let now = self.now();
        let state = self.state_mut();
        state.checkpoint = checkpoint;
        state.expire(now);
    }

    /// How far the source's `partition` (`<topic>/<n>`) had been taken at this handle's version.
    ///
    /// Errors: `NewerProgress`, when a newer release records it.
    pub fn progress(&self, partition: &str) -> Result<Progress, LakeError> {
        self.state.progress_version()?;
        Ok(Progress::read(partition, &self.state.txns, self.now()))
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

//! What all sessions share: tables, slots for running queries, file footers already read, temporary disk space.

use std::path::PathBuf;
use std::sync::Arc;

use datafusion::error::DataFusionError;
use datafusion::execution::disk_manager::DiskManagerBuilder;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use tokio_util::sync::CancellationToken;

use crate::held::Holdings;
use crate::limits::Capacity;
use crate::memory::TotalMemory;
use crate::principal::Principal;
use crate::session::Session;
use crate::slots::Slots;
use crate::spill::SpillFiles;
use crate::tenants::Tenants;

/// The engine cannot start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The folder for spills.
    #[error("cannot create the spill folder {0:?}")]
    SpillFolder(PathBuf, #[source] std::io::Error),
    /// What queries share.
    #[error("cannot prepare the query engine")]
    Runtime(#[source] Box<DataFusionError>),
}

/// Runs queries of any number of sessions over the tables of its tenants.
pub struct Engine {
    pub(crate) tenants: Arc<dyn Tenants>,
    pub(crate) capacity: Capacity,
    pub(crate) runtime: Arc<RuntimeEnv>,
    pub(crate) slots: Arc<Slots>,
    pub(crate) memory: Arc<TotalMemory>,
    pub(crate) holdings: Arc<Holdings>,
}

impl Engine {
    /// An engine over the tables of `tenants`.
    ///
    /// Errors: the folder for spills cannot be created.
    pub fn new(tenants: Arc<dyn Tenants>, capacity: Capacity) -> Result<Arc<Self>, EngineError> {
        if let Some(folder) = &capacity.spill_dir {
            std::fs::create_dir_all(folder).map_err(|error| EngineError::SpillFolder(folder.clone(), error))?;
        }
        let failed = |error| EngineError::Runtime(Box::new(error));
        let spills = SpillFiles::new(capacity.spill_dir.clone(), capacity.spill_bytes).map_err(failed)?;
        let disk = DiskManagerBuilder::default().with_temp_file_factory(Arc::new(spills));
        let runtime = RuntimeEnvBuilder::new().with_disk_manager_builder(disk).build_arc().map_err(failed)?;
        let slots = Slots::new(capacity.max_running, capacity.threads);
        let memory = TotalMemory::new(capacity.total_memory);
        let holdings = Holdings::new(&capacity);
        Ok(Arc::new(Self { tenants, capacity, runtime, slots, memory, holdings }))
    }

    /// The session of `principal`.
    pub fn session(self: &Arc<Self>, principal: Principal) -> Session {
        Session::new(Arc::clone(self), principal)
    }

    /// Cancelled once a query goes on for several seconds after it was stopped. Only the end of the process ends it; until
    /// then it takes processor time from other queries, and one slot of [`Capacity::max_running`].
    pub fn overdue(&self) -> CancellationToken {
        self.slots.overdue()
    }
}

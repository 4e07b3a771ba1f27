//! Runs SQL: one DataFusion session per query, with its own memory, on the workers' threads.
//!
//! The way of a query: admitted (bounded number, a short wait) -> parsed and refused if it writes -> planned against
//! the newest snapshots -> made stoppable -> executed on threads of its own, at most two batches ahead of the reader
//! -> [`QueryStream`]. Dropping that stops all of it.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use datafusion::common::TableReference;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::{DataFrame, SessionConfig, SessionContext};
use datafusion::sql::parser::Statement;
use kerntrail_common::suggest::did_you_mean;
use kerntrail_lake::Lake;
use kerntrail_schemas::Table;
use tokio::time::Instant;

use crate::engine::error::{ErrorKind, QueryError};
use crate::engine::explain::is_explain;
use crate::engine::functions;
use crate::engine::guard;
use crate::engine::limits::{Bounds, Limits};
use crate::engine::metrics::failed;
use crate::engine::stop::Stop;
use crate::engine::stream::{QueryStream, Terms};
use crate::engine::workers::{Place, Places};
use crate::history::catalog::{HISTORY, History};
use crate::history::tables::Tables;

/// Consumers named in the log when memory runs out.
const TOP_CONSUMERS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4);

/// What a function makes at once is at most this part of a query's memory: several batches live at a time.
const BATCHES_IN_MEMORY: usize = 4;

/// The engine cannot start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The spill folder.
    #[error("cannot make the spill folder {0:?}")]
    SpillFolder(PathBuf, #[source] std::io::Error),
    /// What queries share.
    #[error("cannot prepare what queries share")]
    Runtime(#[source] Box<DataFusionError>),
}

/// Answers SQL over the tables of one tenant, within limits, without ever writing.
pub struct Engine {
    tables: Arc<dyn Tables>,
    limits: Limits,
    /// What queries share: footers already read, spill folder, object stores.
    shared: Arc<RuntimeEnv>,
    places: Arc<Places>,
}

impl Engine {
    /// An engine over `lake`.
    ///
    /// Errors: the spill folder cannot be made.
    pub fn new(lake: Arc<Lake>, limits: Limits) -> Result<Self, EngineError> {
        Self::over(lake, limits)
    }

    /// An engine over any tables.
    pub fn over(tables: Arc<dyn Tables>, limits: Limits) -> Result<Self, EngineError> {
        if let Some(folder) = &limits.spill_dir {
            std::fs::create_dir_all(folder).map_err(|error| EngineError::SpillFolder(folder.clone(), error))?;
        }
        let spill = limits
            .spill_dir
            .clone()
            .map_or(DiskManagerMode::OsTmpDirectory, |dir| DiskManagerMode::Directories(vec![dir]));
        let disk = DiskManagerBuilder::default().with_mode(spill).with_max_temp_directory_size(limits.spill_bytes);
        let shared = RuntimeEnvBuilder::new()
            .with_disk_manager_builder(disk)
            .build_arc()
            .map_err(|error| EngineError::Runtime(Box::new(error)))?;
        let places = Places::new(limits.max_running, limits.threads);
        Ok(Self { tables, limits, shared, places })
    }

    /// The limits that it holds queries to.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Name of the tenant whose tables it sees.
    pub fn tenant(&self) -> &str {
        self.tables.tenant()
    }

    /// A fresh session with memory of its own, for plans built in code. It sees one snapshot of each table: that of
    /// its first use. It is not read-only by itself: SQL from outside goes through [`Engine::query`].
    ///
    /// Errors: the memory pool cannot be made.
    pub fn session(&self) -> Result<SessionContext, QueryError> {
        let pool = TrackConsumersPool::new(FairSpillPool::new(self.limits.memory_bytes.get()), TOP_CONSUMERS);
        let runtime = RuntimeEnvBuilder::from_runtime_env(&self.shared).with_memory_pool(Arc::new(pool)).build_arc()?;
        let settings = |config: SessionConfig| {
            config
                .with_default_catalog_and_schema(self.tenant(), HISTORY)
                .with_create_default_catalog_and_schema(false)
                .with_information_schema(true)
                .with_target_partitions(self.limits.threads.get())
        };
        let session = kerntrail_session::build(settings, |state| state.with_runtime_env(runtime));
        functions::bound(&session, &session.state(), self.limits.memory_bytes.get() / BATCHES_IN_MEMORY);
        session.register_catalog(self.tenant(), Arc::new(History::new(Arc::clone(&self.tables))));
        Ok(session)
    }

    /// Answers `sql` within the engine's limits.
    pub async fn query(&self, sql: &str) -> Result<QueryStream, QueryError> {
        self.query_within(sql, &Bounds::default()).await
    }

    /// Answers `sql`: one statement that reads, over the tables as they are now, within the narrower of the engine's
    /// limits and `bounds`.
    ///
    /// Cancel-safe: dropping the future or the stream stops the work.
    pub async fn query_within(&self, sql: &str, bounds: &Bounds) -> Result<QueryStream, QueryError> {
        let timeout = self.limits.timeout(bounds);
        let answer = self.start(sql, bounds, timeout).await;
        answer.inspect_err(|error| failed(error.kind()))
    }

    async fn start(&self, sql: &str, bounds: &Bounds, timeout: Duration) -> Result<QueryStream, QueryError> {
        let deadline = Instant::now() + timeout;
        let place = self.admit(timeout).await?;
        let statement = guard::parse(sql)?;
        let (session, stop) = (self.session()?, place.stop());
        let planned = within(&place, deadline, timeout, async move {
            let plan = plan(&session, statement).await?;
            let explain = is_explain(&plan);
            let rows = execute(&session, plan, &stop).await?;
            Ok((rows, explain))
        });
        let (rows, explain) = planned.await?;
        let terms = Terms { deadline, timeout, max_rows: self.limits.max_rows(bounds), explain };
        QueryStream::start(place, rows, terms)
    }

    /// Takes a place among the running queries of one that may take `timeout`.
    async fn admit(&self, timeout: Duration) -> Result<Place, QueryError> {
        let place = self.places.take(self.limits.patience.min(timeout)).await;
        place.map_err(QueryError::internal)?.ok_or_else(|| {
            let running = self.limits.max_running;
            QueryError::new(
                ErrorKind::Busy,
                format!("{running} queries are running, as many as may, and others wait; ask again in a moment"),
            )
        })
    }

    /// Runs `work` in one session, as one query within the engine's limits.
    pub(crate) async fn with_session<T, W, F>(&self, work: W) -> Result<T, QueryError>
    where
        T: Send + 'static,
        W: FnOnce(SessionContext) -> F,
        F: Future<Output = Result<T, QueryError>> + Send + 'static,
    {
        let answer = async {
            let timeout = self.limits.timeout;
            let deadline = Instant::now() + timeout;
            let place = self.admit(timeout).await?;
            within(&place, deadline, timeout, work(self.session()?)).await
        };
        answer.await.inspect_err(|error| failed(error.kind()))
    }
}

/// Runs `work` on the threads of `place` until `deadline`.
async fn within<T: Send + 'static>(
    place: &Place,
    deadline: Instant,
    timeout: Duration,
    work: impl Future<Output = Result<T, QueryError>> + Send + 'static,
) -> Result<T, QueryError> {
    let stopped = || QueryError::new(ErrorKind::Busy, "the server is stopping");
    let task = place.run(work).ok_or_else(stopped)?;
    match tokio::time::timeout_at(deadline, task).await {
        Err(_) => Err(QueryError::timeout(timeout)),
        Ok(Err(join)) if join.is_cancelled() => Err(stopped()),
        Ok(Err(join)) => Err(QueryError::internal(join)),
        Ok(Ok(answer)) => answer,
    }
}

async fn plan(session: &SessionContext, statement: Statement) -> Result<LogicalPlan, QueryError> {
    let state = session.state();
    let named = state.resolve_table_references(&statement)?;
    let plan = state.statement_to_plan(statement).await.map_err(|error| {
        named.iter().find_map(|name| unknown_table(name, &error)).unwrap_or_else(|| QueryError::from(error))
    })?;
    guard::check_plan(&plan)?;
    Ok(plan)
}

/// A better text for `error` if it says that there is no table `name`.
fn unknown_table(name: &TableReference, error: &DataFusionError) -> Option<QueryError> {
    let text = error.to_string();
    let table = name.table();
    if !text.contains("not found") || !text.contains(table) || text.contains("column") {
        return None;
    }
    let hint = match did_you_mean(table, Table::ALL.iter().map(|table| table.name())) {
        hint if hint.is_empty() => "; SHOW TABLES lists those there are".to_owned(),
        hint => hint,
    };
    Some(QueryError::user(format!("there is no table `{name}`{hint}")))
}

async fn execute(
    session: &SessionContext,
    plan: LogicalPlan,
    stop: &Stop,
) -> Result<SendableRecordBatchStream, QueryError> {
    let frame = DataFrame::new(session.state(), plan);
    let tasks = Arc::new(frame.task_ctx());
    let plan = stop.guard(frame.create_physical_plan().await?)?;
    Ok(execute_stream(plan, tasks)?)
}

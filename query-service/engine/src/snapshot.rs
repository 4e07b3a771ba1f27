//! The tables as one query sees them.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session as PlanningSession;
use datafusion::common::TableReference;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};
use datafusion::prelude::{DataFrame, SessionConfig, SessionContext};
use datafusion::sql::parser::Statement;
use kerntrail_common::suggest::did_you_mean;

use crate::engine::Engine;
use crate::error::QueryError;
use crate::functions;
use crate::guard;
use crate::held::Held;
use crate::implied::ImpliedConditions;
use crate::in_memory::keep_joins_in_memory;
use crate::memory::QueryMemory;
use crate::pieces::unnest_in_pieces;
use crate::principal::Principal;
use crate::slots::Slot;
use crate::stop::Stop;
use crate::windows::account_for_windows;

/// What a function makes at once is at most this part of a query's memory: several batches live at a time. All queries
/// together share the process's memory in the same way.
const BATCHES_IN_MEMORY: usize = 4;

/// The tables of one tenant as one query sees them, each at the version of its first use, with the query's own memory.
/// Plans over them are refused if they would write, and end soon after the query does.
pub struct Snapshot(SessionContext);

impl Snapshot {
    /// Errors: `user` when there is no such tenant; the memory pool cannot be made.
    pub(crate) fn open(engine: &Engine, principal: &Principal, slot: &Slot) -> Result<Self, QueryError> {
        let tenant = principal.tenant.as_str();
        let catalog = engine.tenants.catalog(tenant);
        let catalog = catalog.ok_or_else(|| QueryError::user(format!("there is no tenant `{tenant}`")))?;
        let memory = principal.limits.memory_bytes;
        let pool = Arc::new(QueryMemory::new(memory, Arc::clone(&engine.memory)));
        let held = slot.account().map(|account| Held::begin(account, Arc::clone(&pool), Arc::clone(&engine.holdings)));
        let planner = GuardedPlanner { stop: slot.stop(), held };
        let runtime = RuntimeEnvBuilder::from_runtime_env(&engine.runtime).with_memory_pool(pool);
        let runtime = runtime.build_arc()?;
        let settings = |config: SessionConfig| {
            config
                .with_default_catalog_and_schema(tenant, engine.tenants.default_schema())
                .with_create_default_catalog_and_schema(false)
                .with_information_schema(true)
                .with_target_partitions(engine.capacity.threads.get())
        };
        // Of all queries that may run, every thread may make one at a time.
        let batches = engine.capacity.max_running.get() * engine.capacity.threads.get() * 2;
        let most = (memory.get() / BATCHES_IN_MEMORY).min(engine.memory.most() / batches);
        let context = kerntrail_session::build(settings, |state| {
            // Without formats and factories of files there is nothing to write them with.
            let state = state.with_file_formats(Vec::new()).with_table_factories(Default::default());
            let state = state.with_analyzer_rule(Arc::new(ImpliedConditions(Arc::clone(&engine.tenants))));
            let state =
                state.with_analyzer_rule(Arc::new(functions::BoundFunctions { most, most_over_window: 2 * most }));
            state.with_runtime_env(runtime).with_query_planner(Arc::new(planner))
        });
        functions::bound(&context, most);
        context.register_catalog(tenant, catalog);
        Ok(Self(context))
    }

    /// The table `name` of the default schema.
    pub async fn table(&self, name: &str) -> Result<DataFrame, QueryError> {
        Ok(self.0.table(name).await?)
    }

    /// The statement that `sql` is.
    ///
    /// Errors: it is not one statement, would write, is too large, or has a part that the engine does not carry out.
    pub(crate) fn parse(&self, sql: &str) -> Result<Statement, QueryError> {
        let state = self.0.state_ref();
        let state = state.read();
        let is_scalar = |name: &str| {
            // The planner makes these itself.
            let is_special = matches!(name, "unnest" | "struct" | "map");
            is_special
                || state.scalar_functions().contains_key(name)
                || state.higher_order_functions().contains_key(name)
        };
        guard::parse(sql, &is_scalar)
    }

    /// The plan of `statement`.
    ///
    /// Errors: a table that there is not, with the nearest name; what the planner refuses; a plan that writes.
    pub(crate) async fn plan(&self, statement: Statement) -> Result<LogicalPlan, QueryError> {
        let state = self.0.state();
        let named = state.resolve_table_references(&statement)?;
        let plan = state.statement_to_plan(statement).await;
        let plan = plan.map_err(|error| self.unknown_table(&named).unwrap_or_else(|| QueryError::from(error)))?;
        guard::check_plan(&plan)?;
        Ok(plan)
    }

    /// The rows of `plan`.
    pub(crate) async fn execute(&self, plan: LogicalPlan) -> Result<SendableRecordBatchStream, QueryError> {
        Ok(DataFrame::new(self.0.state(), plan).execute_stream().await?)
    }

    /// An error for the first of `named` that is neither a table nor a table function.
    fn unknown_table(&self, named: &[TableReference]) -> Option<QueryError> {
        let state = self.0.state();
        let is_known = |name: &&TableReference| {
            let schema = state.schema_for_ref((*name).clone());
            schema.is_ok_and(|schema| schema.table_exist(name.table()))
                || state.table_functions().contains_key(name.table())
        };
        let unknown = named.iter().find(|name| !is_known(name))?;
        let beside = state.schema_for_ref(TableReference::bare(unknown.table()));
        let tables = beside.map_or_else(|_| Vec::new(), |schema| schema.table_names());
        let hint = match did_you_mean(unknown.table(), tables.iter().map(String::as_str)) {
            hint if hint.is_empty() => "; SHOW TABLES lists the tables".to_owned(),
            hint => hint,
        };
        Some(QueryError::user(format!("there is no table `{unknown}`{hint}")))
    }
}

/// Refuses plans that write, makes all others stoppable, keeps some joins from spilling, accounts for the memory of windows
/// and for what is held without, and bounds the rows of batches. Every plan is executed through here.
#[derive(Debug)]
struct GuardedPlanner {
    stop: Stop,
    /// `None` once the query has ended.
    held: Option<Arc<Held>>,
}

#[async_trait]
impl QueryPlanner for GuardedPlanner {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        session: &dyn PlanningSession,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        guard::check_reads(plan)?;
        guard::check_constants(plan)?;
        let physical = DefaultPhysicalPlanner::default().create_physical_plan(plan, session).await?;
        let physical = keep_joins_in_memory(physical, session.runtime_env())?;
        let accounted = account_for_windows(unnest_in_pieces(physical)?)?;
        let accounted = match &self.held {
            Some(held) => held.guard(accounted, session.config().batch_size())?,
            None => accounted,
        };
        self.stop.guard(accounted)
    }
}

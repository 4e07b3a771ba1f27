//! A principal's session: the only way to the tables.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::engine::Engine;
use crate::error::{ErrorKind, QueryError};
use crate::explain::is_explain;
use crate::limits::{Bounds, Limits};
use crate::metrics::failed;
use crate::principal::Principal;
use crate::slots::Slot;
use crate::snapshot::Snapshot;
use crate::stream::{QueryStream, ResultLimits};

/// Reads the tables of a principal's tenant, within the principal's limits. Cheap to make; holds no memory or threads
/// while no query runs. Each query sees the tables as they are when it first uses them.
#[derive(Clone)]
pub struct Session {
    engine: Arc<Engine>,
    principal: Principal,
}

impl Session {
    pub(crate) fn new(engine: Arc<Engine>, principal: Principal) -> Self {
        Self { engine, principal }
    }

    /// On whose behalf it reads.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Answers `sql` within the principal's limits.
    pub async fn query(&self, sql: &str) -> Result<QueryStream, QueryError> {
        self.query_within(sql, &Bounds::default()).await
    }

    /// Answers `sql`, one statement that reads, within the narrower of the principal's limits and `bounds`.
    ///
    /// Cancel-safe: dropping the future or the stream stops the work.
    pub async fn query_within(&self, sql: &str, bounds: &Bounds) -> Result<QueryStream, QueryError> {
        let limits = self.principal.limits.within(bounds);
        let answer = self.start(sql, limits).await;
        answer.inspect_err(|error| failed(error.kind()))
    }

    async fn start(&self, sql: &str, limits: Limits) -> Result<QueryStream, QueryError> {
        let deadline = Instant::now() + limits.timeout.0;
        let slot = self.admit(limits.timeout.0).await?;
        let snapshot = Snapshot::open(&self.engine, &self.principal, &slot)?;
        let sql = sql.to_owned();
        // Parsing is recursive as well, so it happens on the query's threads, whose stacks are large.
        let planned = within(&slot, deadline, limits.timeout.0, async move {
            let statement = snapshot.parse(&sql)?;
            let plan = snapshot.plan(statement).await?;
            let explain = is_explain(&plan);
            Ok((snapshot.execute(plan).await?, explain))
        });
        let (rows, explain) = planned.await?;
        let terms = ResultLimits { deadline, timeout: limits.timeout.0, max_rows: limits.max_rows, explain };
        QueryStream::start(slot, rows, terms)
    }

    /// Runs `work`, which builds its own plans over a snapshot, as one query within the principal's limits of memory and time.
    ///
    /// Cancel-safe: dropping the future stops the work.
    pub async fn read<T, W, F>(&self, work: W) -> Result<T, QueryError>
    where
        T: Send + 'static,
        W: FnOnce(Snapshot) -> F,
        F: Future<Output = Result<T, QueryError>> + Send + 'static,
    {
        let answer = async {
            let timeout = self.principal.limits.timeout.0;
            let deadline = Instant::now() + timeout;
            let slot = self.admit(timeout).await?;
            let snapshot = Snapshot::open(&self.engine, &self.principal, &slot)?;
            within(&slot, deadline, timeout, work(snapshot)).await
        };
        answer.await.inspect_err(|error| failed(error.kind()))
    }

    /// Takes a slot for a query that may take `timeout`.
    async fn admit(&self, timeout: Duration) -> Result<Slot, QueryError> {
        let Principal { name, tenant, role, origin, .. } = &self.principal;
        tracing::debug!(principal = name, tenant, %role, %origin, "query");
        let slot = self.engine.slots.take(name, self.engine.capacity.patience.min(timeout)).await;
        slot.map_err(QueryError::internal)?.ok_or_else(|| {
            let running = self.engine.capacity.max_running;
            let message =
                format!("{running} queries are running, which is the maximum, and others wait; try again soon");
            QueryError::new(ErrorKind::Busy, message)
        })
    }
}

/// Runs `work` on the threads of `slot` until `deadline`.
async fn within<T: Send + 'static>(
    slot: &Slot,
    deadline: Instant,
    timeout: Duration,
    work: impl Future<Output = Result<T, QueryError>> + Send + 'static,
) -> Result<T, QueryError> {
    let stopped = || QueryError::new(ErrorKind::Busy, "the server is stopping");
    let task = slot.run(work).ok_or_else(stopped)?;
    match tokio::time::timeout_at(deadline, task).await {
        Err(_) => Err(QueryError::timeout(timeout)),
        Ok(Err(join)) if join.is_cancelled() => Err(stopped()),
        Ok(Err(join)) => Err(QueryError::internal(join)),
        Ok(Ok(answer)) => answer,
    }
}

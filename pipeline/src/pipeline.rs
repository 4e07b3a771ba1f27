//! The pipeline as others see it: run it, wait until it has caught up.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kerntrail_common::backoff::Backoff;
use kerntrail_lake::Lake;
use kerntrail_schemas::Table;
use kerntrail_transport::{Codec, EventLog, Holds, LogError, Position, Topic};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::PipelineConfig;
use crate::error::PipelineError;
use crate::{maintain, run};

/// The consumer group of all pipelines.
pub(crate) const GROUP: &str = "pipeline";
/// How often [`Pipeline::drain`] looks at the lake when nothing was committed here: another pipeline may have.
const LOOK: Duration = Duration::from_millis(200);

/// How long [`Pipeline::drain`] keeps retrying a log that fails, and the bounds of the first and of any wait in between.
const PATIENCE: Duration = Duration::from_secs(300);
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// What the pipeline is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not yet running, or running; the number rises with each commit.
    Alive(u64),
    /// It has ended.
    Ended,
}

/// Moves rows from the event log to the lake, each exactly once.
///
/// Any number of pipelines may run against one log and one lake; they share the partitions as a consumer group.
pub struct Pipeline {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) lake: Arc<Lake>,
    pub(crate) config: PipelineConfig,
    pub(crate) codec: Codec,
    pub(crate) holds: Holds,
    /// How many wait in [`Pipeline::drain`]; while there are any, nothing waits in a buffer.
    pub(crate) draining: AtomicUsize,
    pub(crate) phase: watch::Sender<Phase>,
}

impl Pipeline {
    /// A pipeline from `log` to `lake`; [`Pipeline::run`] starts it.
    pub fn new(log: Arc<dyn EventLog>, lake: Arc<Lake>, config: PipelineConfig) -> Self {
        let (draining, phase) = (AtomicUsize::new(0), watch::channel(Phase::Alive(0)).0);
        Self { log, lake, config, codec: Codec::current(), holds: Holds::default(), draining, phase }
    }

    /// Notes in `holds` which partitions wait for an upgrade.
    pub fn with_holds(self, holds: Holds) -> Self {
        Self { holds, ..self }
    }

    /// Decodes with `codec`, as a release with its schemas would.
    pub fn with_codec(self, codec: Codec) -> Self {
        Self { codec, ..self }
    }

    /// Runs until `cancel`, then commits what it holds. Compacts and vacuums the tables meanwhile.
    ///
    /// Dropping the future is as good as kill -9: nothing is lost or doubled, what was not committed is read again.
    ///
    /// Errors: as [`PipelineError`] says. A store or a log that fails for a while is waited for, not an error.
    pub async fn run(&self, cancel: CancellationToken) -> Result<(), PipelineError> {
        // A guard, so that a drain ends however this ends.
        let _ended = Ended(&self.phase);
        let upkeep = cancel.child_token();
        let _stop = upkeep.clone().drop_guard();
        let maintenance = maintain::run(self, upkeep);
        let moving = run::run(self, &cancel);
        tokio::pin!(maintenance, moving);
        tokio::select! {
            outcome = &mut moving => outcome,
            () = &mut maintenance => moving.await,
        }
    }

    /// Returns when everything that was in the log at the call is committed to the lake, by whichever pipeline.
    ///
    /// Errors: `Ended` when this pipeline ended before; `Held` when some of it waits for an upgrade; `Log` and `Lake` when
    /// they cannot be asked.
    pub async fn drain(&self) -> Result<(), PipelineError> {
        self.draining.fetch_add(1, Ordering::SeqCst);
        let _draining = Draining(&self.draining);
        let mut phase = self.phase.subscribe();
        let mut awaited = Vec::new();
        for topic in self.topics() {
            awaited.extend(self.end(&topic).await?);
        }
        loop {
            // Before the lake is asked, so that a commit in between wakes the wait below.
            let ended = *phase.borrow_and_update() == Phase::Ended;
            awaited = self.not_committed(awaited).await?;
            if awaited.is_empty() {
                return Ok(());
            }
            self.check_held(&awaited)?;
            if ended {
                return Err(PipelineError::Ended);
            }
            // The time-out is as good as news: another pipeline may have committed.
            let _ = tokio::time::timeout(LOOK, phase.changed()).await;
        }
    }

    /// The end of a topic, asked again while the log is away for a while, as a restarting broker is.
    async fn end(&self, topic: &Topic) -> Result<Vec<Position>, PipelineError> {
        let (deadline, mut backoff) = (Instant::now() + PATIENCE, Backoff::new(RETRY.0, RETRY.1));
        loop {
            match self.log.end(topic).await {
                Err(LogError::Failed { retriable: true, .. }) if Instant::now() < deadline => {
                    tokio::time::sleep(backoff.after_failure()).await;
                }
                answer => return answer.map_err(PipelineError::Log),
            }
        }
    }

    async fn not_committed(&self, awaited: Vec<Position>) -> Result<Vec<Position>, PipelineError> {
        let mut missing = Vec::new();
        for position in awaited.into_iter().filter(|position| position.next > 0) {
            let table = position.partition.topic.table;
            let failed = |source| PipelineError::Lake { table: table.name(), source };
            let existing = self.lake.existing(table).await.map_err(failed)?;
            let taken = match existing {
                Some(lake) => lake.progress(&position.partition.to_string()).map_err(failed)?.next_offset,
                None => 0,
            };
            if taken < position.next {
                missing.push(position);
            }
        }
        Ok(missing)
    }

    /// Errors: one of `awaited` comes after a message that waits for an upgrade.
    fn check_held(&self, awaited: &[Position]) -> Result<(), PipelineError> {
        for hold in self.holds.all().into_iter().filter(|hold| hold.reader == GROUP) {
            let Some(Position { partition, next: offset }) = hold.position() else { continue };
            if awaited.iter().any(|position| position.partition == partition && position.next > offset) {
                return Err(PipelineError::Held { partition, offset, newer: hold.newer });
            }
        }
        Ok(())
    }

    pub(crate) fn topics(&self) -> Vec<Topic> {
        Table::ALL.iter().map(|&table| Topic { tenant: self.config.tenant.clone(), table }).collect()
    }

    /// Wakes drains: something was committed, or is held.
    pub(crate) fn wake(&self) {
        self.phase.send_modify(|phase| {
            if let Phase::Alive(commits) = phase {
                *commits += 1;
            }
        });
    }
}

struct Ended<'a>(&'a watch::Sender<Phase>);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.send_replace(Phase::Ended);
    }
}

struct Draining<'a>(&'a AtomicUsize);

impl Drop for Draining<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

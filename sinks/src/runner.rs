//! A running sink: consumes as its own group, delivers, commits.
//!
//! Bounds: the rows of `concurrency` full requests, those of the message that filled them, and the messages of one
//! poll, not yet decoded. While they are not delivered nothing more is taken: the backlog stays in the event log.

mod intake;
mod taken;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kerntrail_schemas::Table;
use kerntrail_transport::{Consumer, Delivered, EventLog, Group, LogError, Polled, Position, Topic};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::{ConfigError, Settings, SinkConfig};
use crate::deliver::Delivery;
use crate::destination::connect;
use crate::dlq::{DlqError, Letters};
use crate::metrics;
use crate::retry::Backoff;
use intake::Intake;
use taken::Taken;

/// Longest wait of one poll while nothing is held.
const IDLE: Duration = Duration::from_millis(500);
/// Most messages of one poll; each has at most 1 MiB.
const MESSAGES: usize = 16;
/// Pause between two looks at how far behind the sink is.
const LAG_INTERVAL: Duration = Duration::from_secs(10);

/// How a sink is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkState {
    /// Nothing was delivered yet.
    Started,
    /// The destination takes events.
    Running,
    /// It does not, and may by itself.
    Retrying {
        /// What it said last, or why there was no answer.
        words: String,
    },
    /// Nothing is taken before somebody repairs something.
    Paused {
        /// What is wrong.
        alert: String,
    },
    /// [`Sink::run`] has returned.
    Stopped,
}

/// What ends a sink, or keeps it from starting.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// Its configuration is wrong.
    #[error("cannot use the configuration")]
    Config(#[source] ConfigError),
    /// Its dead letters cannot be used.
    #[error("cannot use the dead letters of sink {sink}")]
    Letters {
        /// The sink.
        sink: String,
        /// Why.
        #[source]
        source: DlqError,
    },
    /// The event log failed for good.
    #[error("sink {sink} cannot read the event log")]
    Log {
        /// The sink.
        sink: String,
        /// Why.
        #[source]
        source: LogError,
    },
}

/// A sink.
pub struct Sink {
    settings: Settings,
    log: Arc<dyn EventLog>,
    topics: Vec<Topic>,
    group: Group,
    dlq_dir: PathBuf,
    delivery: Delivery,
    state: watch::Sender<SinkState>,
}

impl Sink {
    /// The sink of `config` for the rows of `tenant` in `log`; dead letters go below `dlq_dir`. Connects to nothing.
    ///
    /// Errors: the configuration is wrong, or a folder or file cannot be used.
    pub fn new(config: &SinkConfig, log: Arc<dyn EventLog>, dlq_dir: &Path, tenant: &str) -> Result<Self, SinkError> {
        let settings = config.settings().map_err(SinkError::Config)?;
        let destination = connect(&settings).map_err(SinkError::Config)?;
        let letters = Letters::open(dlq_dir, &settings.name, settings.dead_letters)
            .map_err(|source| SinkError::Letters { sink: settings.name.clone(), source })?;
        let (state, _) = watch::channel(SinkState::Started);
        let topics = settings.tables.iter().map(|&table| Topic { tenant: tenant.to_owned(), table }).collect();
        let group = Group(format!("sink-{}", settings.name));
        let delivery = Delivery::new(settings.clone(), destination, Arc::new(letters), state.clone());
        Ok(Self { settings, log, topics, group, dlq_dir: dlq_dir.to_owned(), delivery, state })
    }

    /// How the sink is, now and on each change.
    pub fn state(&self) -> watch::Receiver<SinkState> {
        self.state.subscribe()
    }

    /// Gives the sink its place in the log, so that what is appended from now on waits for its first run.
    ///
    /// Errors: the event log failed.
    pub async fn register(&self) -> Result<(), SinkError> {
        let joined = self.log.subscribe(&self.group, &self.topics).await;
        joined.map(drop).map_err(|source| SinkError::Log { sink: self.settings.name.clone(), source })
    }

    /// Runs until `cancel`, then delivers what it holds for at most `drain_seconds` and commits what was delivered.
    ///
    /// Errors: the event log failed in a way that trying again does not help. Nothing is lost: what was not committed
    /// is taken again by the next run.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), SinkError> {
        let stop = CancellationToken::new();
        let ended = stop.clone().drop_guard();
        tokio::spawn(stop_after_drain(cancel.clone(), stop.clone(), self.settings.drain));
        let result = self.consume(&cancel, &stop).await;
        drop(ended);
        self.state.send_replace(SinkState::Stopped);
        result.map_err(|source| SinkError::Log { sink: self.settings.name.clone(), source })
    }

    async fn consume(&self, cancel: &CancellationToken, stop: &CancellationToken) -> Result<(), LogError> {
        let subscribe = || self.log.subscribe(&self.group, &self.topics);
        let Some(mut consumer) = self.persist(cancel, subscribe).await? else { return Ok(()) };
        tracing::info!(sink = self.settings.name, "the sink has started");
        let mut lag = Instant::now();
        let mut polled = VecDeque::new();
        let mut taken = Taken::open(&self.dlq_dir, &self.settings.name, &self.committed_tables().await?);
        while !cancel.is_cancelled() {
            let intake = self.take(consumer.as_mut(), &mut polled, &mut taken, cancel).await?;
            self.finish(intake, consumer.as_mut(), &mut taken, stop).await?;
            if Instant::now() >= lag {
                self.measure_lag().await;
                lag = Instant::now() + LAG_INTERVAL;
            }
        }
        tracing::info!(sink = self.settings.name, "the sink has stopped");
        Ok(())
    }

    /// Takes messages until there are enough, or the first has waited long enough, or `cancel`.
    ///
    /// `polled` are messages of an earlier poll that found no room.
    async fn take(
        &self,
        consumer: &mut dyn Consumer,
        polled: &mut VecDeque<Delivered>,
        taken: &mut Taken,
        cancel: &CancellationToken,
    ) -> Result<Intake<'_>, LogError> {
        let mut intake = Intake::new(&self.settings, self.delivery.destination());
        let mut backoff = self.backoff();
        let mut end: Option<Instant> = None;
        loop {
            while !intake.is_full()
                && let Some(message) = polled.pop_front()
            {
                let is_new = taken.take(message.partition.topic.table, &message.message.headers);
                intake.add(message, is_new);
            }
            if !intake.is_empty() {
                end.get_or_insert_with(|| Instant::now() + self.settings.batch_wait);
            }
            let wait = end.map_or(IDLE, |end| end.saturating_duration_since(Instant::now()));
            if intake.is_full() || wait.is_zero() {
                return Ok(intake);
            }
            let poll = tokio::select! {
                biased;
                () = cancel.cancelled() => return Ok(intake),
                poll = consumer.poll(MESSAGES, wait) => poll,
            };
            match poll {
                Ok(Polled::Messages(messages)) if messages.is_empty() && end.is_none() => return Ok(intake),
                Ok(Polled::Messages(messages)) => polled.extend(messages),
                Ok(Polled::Revoked(partitions)) => {
                    polled.retain(|message| !partitions.contains(&message.partition));
                    intake.forget(&partitions);
                    taken.forget_uncommitted();
                }
                Ok(Polled::Assigned(_)) => {}
                Err(LogError::Damaged { partition, offset, reason }) => {
                    consumer.seek(&Position { partition: partition.clone(), next: offset + 1 }).await?;
                    intake.skip(partition, offset, &reason);
                }
                Err(error) => self.wait_after(error, &mut backoff, cancel).await?,
            }
        }
    }

    /// Delivers what was taken and commits what is done of it.
    async fn finish(
        &self,
        mut intake: Intake<'_>,
        consumer: &mut dyn Consumer,
        taken: &mut Taken,
        stop: &CancellationToken,
    ) -> Result<(), LogError> {
        let mut undone = Vec::new();
        for (message, letter) in intake.letters() {
            if !self.delivery.keep(&letter, stop).await {
                undone.push(message);
            }
        }
        let left = self.delivery.deliver(intake.records(), stop).await;
        undone.extend(left.iter().map(|record| record.message));
        let done = intake.done(&undone);
        if done.positions.is_empty() {
            return Ok(());
        }
        match consumer.commit(&done.positions).await {
            Ok(()) => taken.commit(done.headers.into_iter()),
            Err(LogError::Failed { operation, source, retriable: true }) => {
                // The next commit covers it; until then a restart would send these rows again.
                let reason = crate::http::chain(source.as_ref());
                tracing::warn!(sink = self.settings.name, operation, reason, "cannot commit");
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The tables of which the group has committed something.
    async fn committed_tables(&self) -> Result<Vec<Table>, LogError> {
        let mut tables = Vec::new();
        for topic in &self.topics {
            if !self.log.committed(&self.group, topic).await?.is_empty() {
                tables.push(topic.table);
            }
        }
        Ok(tables)
    }

    /// Does `operation` again while trying again helps; `None` once cancelled.
    async fn persist<T, F: Future<Output = Result<T, LogError>>>(
        &self,
        cancel: &CancellationToken,
        operation: impl Fn() -> F,
    ) -> Result<Option<T>, LogError> {
        let mut backoff = self.backoff();
        while !cancel.is_cancelled() {
            match operation().await {
                Ok(value) => return Ok(Some(value)),
                Err(error) => self.wait_after(error, &mut backoff, cancel).await?,
            }
        }
        Ok(None)
    }

    /// Waits after an error of the event log that may pass; returns the others.
    async fn wait_after(
        &self,
        error: LogError,
        backoff: &mut Backoff,
        cancel: &CancellationToken,
    ) -> Result<(), LogError> {
        if !matches!(error, LogError::Failed { retriable: true, .. }) {
            return Err(error);
        }
        tracing::warn!(
            sink = self.settings.name,
            error = crate::http::chain(&error),
            "the event log fails; trying again"
        );
        let time = backoff.next(&mut StdRng::from_os_rng());
        tokio::select! {
            () = cancel.cancelled() => {}
            () = tokio::time::sleep(time) => {}
        }
        Ok(())
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(self.settings.backoff_initial, self.settings.backoff_max)
    }

    async fn measure_lag(&self) {
        for topic in &self.topics {
            let ends = self.log.end(topic).await;
            let committed = self.log.committed(&self.group, topic).await;
            let (Ok(ends), Ok(committed)) = (ends, committed) else { continue };
            let behind = |end: &Position| {
                let done = committed.iter().find(|position| position.partition == end.partition);
                (end.next - done.map_or(0, |position| position.next)).max(0)
            };
            let lag: i64 = ends.iter().map(behind).sum();
            let labels = [("sink", self.settings.name.clone()), ("table", topic.table.name().to_owned())];
            ::metrics::gauge!(metrics::LAG_MESSAGES, &labels).set(lag as f64);
        }
    }
}

/// Cancels `stop` some time after `cancel`; ends when `stop` is cancelled by others.
async fn stop_after_drain(cancel: CancellationToken, stop: CancellationToken, drain: Duration) {
    tokio::select! {
        () = stop.cancelled() => return,
        () = cancel.cancelled() => {}
    }
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(drain) => stop.cancel(),
    }
}

//! A running sink: reads as its own consumer group, delivers, commits.
//!
//! Bounds in memory: the rows of `concurrency` full requests, those of the message that filled them, and the messages
//! of one poll, not yet decoded. Until they are settled nothing more is read: the backlog stays in the event log.

mod delivered_batches;
mod gaps;
mod in_flight;
mod reader;
mod row_progress;
mod versioned;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kerntrail_transport::{Codec, EventLog, Group, Holds, LogError, Topic};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::{Settings, SinkConfig, SinkConfigError};
use crate::deliver::{Delivery, RowPlace, Stop};
use crate::dlq::{DlqError, Letters};
use crate::metrics;
use crate::state::{SinkState, StateReporter, StatusReader};
use in_flight::InFlight;
use reader::{LogSource, Reader};
use row_progress::RowProgress;

/// What the names of the consumer groups of sinks begin with.
pub const GROUP_PREFIX: &str = "sink-";

/// Why a sink ended or cannot start.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// Its configuration cannot be used.
    #[error("cannot use the configuration")]
    Config(#[source] Box<SinkConfigError>),
    /// Its dead letters cannot be used.
    #[error("cannot use the dead letters of sink {sink}")]
    Letters {
        /// The sink.
        sink: String,
        /// Why.
        #[source]
        source: DlqError,
    },
    /// The event log failed, and retrying does not help.
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
    state: Arc<StateReporter>,
    codec: Codec,
    holds: Holds,
}

impl Sink {
    /// The sink of `config` for the rows of `tenant` in `log`; dead letters go below `dlq_dir`. Connects to nothing.
    ///
    /// Errors: the configuration is wrong, or a folder or file cannot be used.
    pub fn new(config: &SinkConfig, log: Arc<dyn EventLog>, dlq_dir: &Path, tenant: &str) -> Result<Self, SinkError> {
        let settings = config.settings().map_err(|error| SinkError::Config(Box::new(error)))?;
        let destination = settings.connect().map_err(|error| SinkError::Config(Box::new(error)))?;
        let letters = Letters::open(dlq_dir, &settings.name, settings.delivery.dead_letters())
            .map_err(|source| SinkError::Letters { sink: settings.name.clone(), source })?;
        let state = Arc::new(StateReporter::new(&settings.name));
        let topics = settings.tables.iter().map(|&table| Topic { tenant: tenant.to_owned(), table }).collect();
        let group = Group(format!("{GROUP_PREFIX}{}", settings.name));
        let delivery = Delivery::new(settings.clone(), destination, Arc::new(letters), Arc::clone(&state));
        let (codec, holds) = (Codec::current(), Holds::default());
        Ok(Self { settings, log, topics, group, dlq_dir: dlq_dir.to_owned(), delivery, state, codec, holds })
    }

    /// Notes in `holds` which partitions wait for an upgrade.
    pub fn with_holds(self, holds: Holds) -> Self {
        Self { holds, ..self }
    }

    /// Decodes with `codec`, as a release with its schemas would.
    pub fn with_codec(self, codec: Codec) -> Self {
        Self { codec, ..self }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// The state of the sink, now and at each change.
    pub fn state(&self) -> watch::Receiver<SinkState> {
        self.state.subscribe()
    }

    /// A reader of the state, for whoever asks.
    pub fn status(&self) -> StatusReader {
        self.state.reader()
    }

    /// Registers the sink's consumer group, so that rows appended from now on are kept for its first run.
    ///
    /// Errors: the event log failed.
    pub async fn register(&self) -> Result<(), SinkError> {
        let joined = self.log.subscribe(&self.group, &self.topics).await;
        joined.map(drop).map_err(|source| SinkError::Log { sink: self.settings.name.clone(), source })
    }

    /// Runs until `cancel`, then delivers what it has read for at most `drain_seconds` and commits what was delivered.
    ///
    /// Errors: the event log failed, and retrying does not help. Nothing is lost: the next run reads again what was not
    /// committed.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), SinkError> {
        metrics::begin(&self.settings.name);
        self.state.measure(&SinkState::Started);
        let stop = Stop { asked: cancel, now: CancellationToken::new() };
        let ended = stop.now.clone().drop_guard();
        tokio::spawn(end_drain(stop.clone(), self.settings.delivery.drain()));
        let source = LogSource {
            settings: &self.settings,
            log: self.log.as_ref(),
            topics: &self.topics,
            group: &self.group,
            codec: &self.codec,
            holds: &self.holds,
        };
        let result = tokio::select! {
            result = self.consume(source, &stop) => result,
            never = source.watch_lag() => match never {},
        };
        drop(ended);
        self.state.report(SinkState::Stopped);
        result.map_err(|source| SinkError::Log { sink: self.settings.name.clone(), source })
    }

    async fn consume(&self, source: LogSource<'_>, stop: &Stop) -> Result<(), LogError> {
        let Some(mut reader) = Reader::join(source, &self.dlq_dir, &stop.asked).await? else { return Ok(()) };
        tracing::info!(sink = self.settings.name, "the sink has started");
        while !stop.asked.is_cancelled() {
            let mut in_flight = reader.take(self.delivery.destination(), &stop.asked).await?;
            let undone = self.finish(&mut in_flight, reader.rows(), stop).await;
            reader.commit(&in_flight.done(&undone)).await;
        }
        tracing::info!(sink = self.settings.name, "the sink has stopped");
        Ok(())
    }

    /// Delivers what was read, or writes it as dead letters. Returns the numbers of the messages that are not settled.
    async fn finish(&self, in_flight: &mut InFlight<'_>, rows: &mut RowProgress, stop: &Stop) -> Vec<usize> {
        let mut undone = Vec::new();
        for (message, letter) in in_flight.letters() {
            if !self.delivery.keep(&letter, stop).await {
                undone.push(message);
            }
        }
        let (keys, rows) = (in_flight.keys(), Mutex::new(rows));
        let settle = |settled: &[RowPlace]| rows.lock().unwrap_or_else(PoisonError::into_inner).settle(&keys, settled);
        let left = self.delivery.deliver(in_flight.records(), stop, &settle).await;
        undone.extend(left.iter().map(|record| record.message));
        undone
    }
}

/// Ends the drain `drain` after the sink was asked to stop.
async fn end_drain(stop: Stop, drain: Duration) {
    tokio::select! {
        () = stop.now.cancelled() => return,
        () = stop.asked.cancelled() => {}
    }
    tokio::select! {
        () = stop.now.cancelled() => {}
        () = tokio::time::sleep(drain) => stop.now.cancel(),
    }
}

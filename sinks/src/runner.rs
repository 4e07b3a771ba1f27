//! A running sink: consumes as its own group, delivers, commits.
//!
//! Bounds: the rows of `concurrency` full requests, those of the message that filled them, and the messages of one
//! poll, not yet decoded. While they are not delivered nothing more is taken: the backlog stays in the event log.

mod gaps;
mod intake;
mod reader;
mod taken;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kerntrail_transport::{Codec, EventLog, Group, Holds, LogError, Topic};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::{ConfigError, Settings, SinkConfig};
use crate::deliver::{Delivery, Stop};
use crate::destination::connect;
use crate::dlq::{DlqError, Letters};
use crate::metrics;
use intake::Intake;
use reader::{Reader, Source};

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
    codec: Codec,
    holds: Holds,
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
        metrics::begin(&self.settings.name);
        let stop = Stop { asked: cancel, now: CancellationToken::new() };
        let ended = stop.now.clone().drop_guard();
        tokio::spawn(end_drain(stop.clone(), self.settings.drain));
        let source = Source {
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
        self.state.send_replace(SinkState::Stopped);
        result.map_err(|source| SinkError::Log { sink: self.settings.name.clone(), source })
    }

    async fn consume(&self, source: Source<'_>, stop: &Stop) -> Result<(), LogError> {
        let Some(mut reader) = Reader::join(source, &self.dlq_dir, &stop.asked).await? else { return Ok(()) };
        tracing::info!(sink = self.settings.name, "the sink has started");
        while !stop.asked.is_cancelled() {
            let mut intake = reader.take(self.delivery.destination(), &stop.asked).await?;
            let undone = self.finish(&mut intake, stop).await;
            reader.commit(&intake.done(&undone)).await;
        }
        tracing::info!(sink = self.settings.name, "the sink has stopped");
        Ok(())
    }

    /// Delivers what was taken, or keeps it as letters. Returns the numbers of the messages that are not done.
    async fn finish(&self, intake: &mut Intake<'_>, stop: &Stop) -> Vec<usize> {
        let mut undone = Vec::new();
        for (message, letter) in intake.letters() {
            if !self.delivery.keep(&letter, stop).await {
                undone.push(message);
            }
        }
        let left = self.delivery.deliver(intake.records(), stop).await;
        undone.extend(left.iter().map(|record| record.message));
        undone
    }
}

/// Ends the drain of a sink that was asked to stop `drain` ago.
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

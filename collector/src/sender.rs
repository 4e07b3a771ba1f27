//! Appends messages to the event log, in order, and retries for as long as it takes.
//!
//! Invariant: a message leaves the queue only when the log has it. A full queue makes the collector wait; then the
//! kernel's ring fills up, and `event_loss` records what is lost.
//! Invariant: all events up to the time in the state file are in the log.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kerntrail_common::backoff::Backoff;
use kerntrail_common::error::chain;
use kerntrail_schemas::Table;
use kerntrail_transport::{EventLog, LogError, Message, Topic};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::clock::now_boot_ns;
use crate::metrics as names;
use crate::state::{self, LastRun};

/// Bounds of the first and of any wait between two attempts to append.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// Messages appended at once.
const AT_ONCE: usize = 32;

/// What goes to the log.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// Rows of a table.
    Rows(Table, Message),
    /// All events up to here were sent before.
    Until(LastRun),
}

/// The sending half of the queue.
pub(crate) struct Sender {
    queue: mpsc::Sender<Outgoing>,
    /// Appends nothing more once it is dropped.
    task: AbortOnDropHandle<Result<(), LogError>>,
}

/// The queue is closed: the task that empties it has ended with an error.
#[derive(Debug)]
pub(crate) struct Closed;

impl Sender {
    /// Starts the task that appends to `log`; at most `queue` messages wait.
    pub(crate) fn start(log: Arc<dyn EventLog>, tenant: String, queue: usize, state_dir: Option<PathBuf>) -> Self {
        let (sender, receiver) = mpsc::channel(queue.max(1));
        let appender = Appender { log, tenant, state_dir, state_failed: false };
        Self { queue: sender, task: AbortOnDropHandle::new(tokio::spawn(appender.run(receiver))) }
    }

    /// Queues `outgoing`, waiting while the queue is full.
    pub(crate) async fn send(&self, outgoing: Outgoing) -> Result<(), Closed> {
        if let Outgoing::Rows(_, message) = &outgoing {
            metrics::gauge!(names::ROWS_WAITING).increment(f64::from(message.headers.rows));
        }
        self.queue.send(outgoing).await.map_err(|_| Closed)
    }

    /// Waits until everything that was queued is in the log.
    ///
    /// Errors: the log rejected a message permanently.
    pub(crate) async fn finish(self) -> Result<(), LogError> {
        let Self { queue, task } = self;
        drop(queue);
        task.await.unwrap_or_else(|error| {
            Err(LogError::Failed {
                operation: "run the appending task".into(),
                source: Box::new(error),
                retriable: false,
            })
        })
    }
}

struct Appender {
    log: Arc<dyn EventLog>,
    tenant: String,
    state_dir: Option<PathBuf>,
    state_failed: bool,
}

impl Appender {
    async fn run(mut self, mut queue: mpsc::Receiver<Outgoing>) -> Result<(), LogError> {
        let mut waiting = Vec::with_capacity(AT_ONCE);
        while queue.recv_many(&mut waiting, AT_ONCE).await > 0 {
            let mut until = None;
            let mut rows: Vec<(Table, Vec<Message>)> = Vec::new();
            for outgoing in waiting.drain(..) {
                match outgoing {
                    Outgoing::Rows(table, message) => match rows.iter_mut().find(|(of, _)| *of == table) {
                        Some((_, messages)) => messages.push(message),
                        None => rows.push((table, vec![message])),
                    },
                    // What follows it in the queue is later, so it may be written once all of these are in.
                    Outgoing::Until(run) => until = Some(run),
                }
            }
            for (table, messages) in rows {
                self.append(table, messages).await?;
            }
            if let Some(run) = until {
                self.note(&run);
            }
        }
        Ok(())
    }

    /// Retries until it succeeds or fails permanently.
    async fn append(&self, table: Table, messages: Vec<Message>) -> Result<(), LogError> {
        let topic = Topic { tenant: self.tenant.clone(), table };
        let rows: u64 = messages.iter().map(|message| u64::from(message.headers.rows)).sum();
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        loop {
            match self.log.append(&topic, messages.clone()).await {
                Ok(()) => break,
                Err(error @ (LogError::Full { .. } | LogError::Failed { retriable: true, .. })) => {
                    metrics::counter!(names::APPEND_RETRIES).increment(1);
                    if backoff.failures() == 0 {
                        tracing::warn!(error = chain(&error), %topic, "the event log does not accept rows; retrying");
                    }
                }
                Err(error) => return Err(error),
            }
            tokio::time::sleep(backoff.after_failure()).await;
        }
        if backoff.failures() > 0 {
            tracing::info!(%topic, "the event log accepts rows again");
        }
        metrics::counter!(names::EVENTS_OUT, "table" => table.name()).increment(rows);
        metrics::gauge!(names::ROWS_WAITING).decrement(rows as f64);
        Ok(())
    }

    fn note(&mut self, run: &LastRun) {
        metrics::gauge!(names::LAG_SECONDS).set(now_boot_ns().saturating_sub(run.boot_ns) as f64 / 1e9);
        let Some(dir) = &self.state_dir else { return };
        match state::write(dir, run) {
            Ok(()) => self.state_failed = false,
            Err(error) => {
                // An old file only makes the next gap appear longer than it was.
                if !std::mem::replace(&mut self.state_failed, true) {
                    tracing::warn!(error = chain(&error), "cannot write the collector's state");
                }
            }
        }
    }
}

//! Slots for running queries, each with its own threads: an expensive query slows down neither the rest of the program
//! nor the next query.
//!
//! A slot has its own runtime, because an operator may compute for long without yielding its thread. Runtimes are
//! started when first needed, and reused once they are idle: a query that was stopped while it computes keeps its slot
//! until it notices. One that does not notice within [`OVERDUE`] is reported ([`Slots::overdue`]), since only the end of
//! the process ends it.

use std::future::Future;
use std::io;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::limits::STACK_BYTES;
use crate::metrics::Measured;
use crate::stop::Stop;
use crate::turns::{Turn, Turns};

/// Longest time that a stopped query may go on computing.
const OVERDUE: Duration = Duration::from_secs(5);
/// First and longest wait between two looks at the threads of a stopped query.
const LOOK: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(100));

/// The slots of all queries that may run at a time.
pub(crate) struct Slots {
    threads: NonZeroUsize,
    turns: Arc<Turns>,
    /// Started and idle.
    free: Mutex<Vec<Workers>>,
    overdue: CancellationToken,
}

impl Slots {
    /// `max` slots of `threads` threads each.
    pub(crate) fn new(max: NonZeroUsize, threads: NonZeroUsize) -> Arc<Self> {
        let (turns, free, overdue) = (Turns::new(max), Mutex::default(), CancellationToken::new());
        Arc::new(Self { threads, turns, free, overdue })
    }

    /// Cancelled once a stopped query has gone on computing for [`OVERDUE`].
    pub(crate) fn overdue(&self) -> CancellationToken {
        self.overdue.clone()
    }

    /// A slot for a query of `owner` as soon as it is its turn; `None` when that takes longer than `patience`, or too many wait
    /// already.
    ///
    /// Errors: no thread can be started.
    pub(crate) async fn take(self: &Arc<Self>, owner: &str, patience: Duration) -> io::Result<Option<Slot>> {
        let Some(turn) = self.turns.take(owner, patience).await else { return Ok(None) };
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let workers = free.map_or_else(|| Workers::start(self.threads), Ok)?;
        Ok(Some(Slot {
            held: Some((workers, turn)),
            slots: Arc::clone(self),
            home: Handle::current(),
            stop: Stop::default(),
            _measured: Measured::begin(),
        }))
    }

    fn give_back(&self, workers: Workers) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(workers);
    }

    /// Frees `turn` and `workers` once they are idle.
    async fn settle(self: Arc<Self>, workers: Workers, turn: Turn) {
        let stopped = Instant::now();
        let (mut wait, longest) = LOOK;
        while !workers.are_idle() {
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(longest);
            if stopped.elapsed() > OVERDUE && !self.overdue.is_cancelled() {
                tracing::error!("a query goes on {OVERDUE:?} after it was stopped");
                self.overdue.cancel();
            }
        }
        self.give_back(workers);
        drop(turn);
    }
}

/// A query's slot. Dropping it stops the query, and frees the slot when its threads are idle.
pub(crate) struct Slot {
    /// Its threads, and its turn; `None` while it is dropped.
    held: Option<(Workers, Turn)>,
    slots: Arc<Slots>,
    /// The runtime that waits for the threads.
    home: Handle,
    stop: Stop,
    _measured: Measured,
}

impl Slot {
    /// Runs `work` on the slot's threads; dropping the handle stops it.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<AbortOnDropHandle<T>> {
        let runtime = self.held.as_ref().and_then(|(workers, _)| workers.0.as_ref());
        runtime.map(|runtime| AbortOnDropHandle::new(runtime.spawn(work)))
    }

    /// Whether others wait who could have the slot, to be asked from anywhere.
    pub(crate) fn is_wanted(&self) -> Option<impl Fn() -> bool + Send + 'static> {
        self.held.as_ref().map(|(_, turn)| turn.is_wanted())
    }

    /// The switch that stops the query's operators.
    pub(crate) fn stop(&self) -> Stop {
        self.stop.clone()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some((workers, turn)) = self.held.take() {
            self.home.spawn(Arc::clone(&self.slots).settle(workers, turn));
        }
    }
}

/// A runtime that may be dropped anywhere, also on another runtime's thread.
struct Workers(Option<Runtime>);

impl Workers {
    fn start(threads: NonZeroUsize) -> io::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        builder
            .worker_threads(threads.get())
            .thread_name("query")
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()
            .map(|runtime| Self(Some(runtime)))
    }

    /// Whether no task runs or is about to.
    fn are_idle(&self) -> bool {
        let Some(runtime) = &self.0 else { return true };
        let metrics = runtime.metrics();
        // A thread counts each time it parks and each time it continues: it is parked when the number is odd.
        let parked = |worker| metrics.worker_park_unpark_count(worker) % 2 == 1;
        metrics.global_queue_depth() == 0 && (0..metrics.num_workers()).all(parked)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

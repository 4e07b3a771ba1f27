//! Slots for running queries, each with its own threads: an expensive query slows down neither the rest of the program
//! nor the next query.
//!
//! A slot has its own runtime, because an operator may compute for long without yielding its thread. Runtimes are
//! started when first needed and then reused.

use std::future::Future;
use std::io;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::AbortOnDropHandle;

use crate::metrics::Measured;
use crate::stop::Stop;

/// Queries that may wait for a slot; further ones are refused immediately.
const MAX_WAITING: usize = 64;

/// The slots of all queries that may run at a time, given out in the order of the requests.
pub(crate) struct Slots {
    threads: NonZeroUsize,
    turns: Arc<Semaphore>,
    queue: Semaphore,
    /// Started and idle.
    free: Mutex<Vec<Workers>>,
}

impl Slots {
    /// `max` slots of `threads` threads each.
    pub(crate) fn new(max: NonZeroUsize, threads: NonZeroUsize) -> Arc<Self> {
        let turns = Arc::new(Semaphore::new(max.get()));
        Arc::new(Self { threads, turns, queue: Semaphore::new(MAX_WAITING), free: Mutex::default() })
    }

    /// A slot as soon as one is free; `None` when that takes longer than `patience`, or too many wait already.
    ///
    /// Errors: no thread can be started.
    pub(crate) async fn take(self: &Arc<Self>, patience: Duration) -> io::Result<Option<Slot>> {
        let Some(turn) = self.turn(patience).await else { return Ok(None) };
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let workers = free.map_or_else(|| Workers::start(self.threads), Ok)?;
        Ok(Some(Slot {
            workers: Some(workers),
            slots: Arc::clone(self),
            stop: Stop::default(),
            _measured: Measured::begin(),
            _turn: turn,
        }))
    }

    async fn turn(&self, patience: Duration) -> Option<OwnedSemaphorePermit> {
        let turns = Arc::clone(&self.turns);
        if let Ok(turn) = Arc::clone(&turns).try_acquire_owned() {
            return Some(turn);
        }
        let _queued = self.queue.try_acquire().ok()?;
        tokio::time::timeout(patience, turns.acquire_owned()).await.ok()?.ok()
    }
}

/// A query's slot. Dropping it stops the query and frees the slot.
pub(crate) struct Slot {
    workers: Option<Workers>,
    slots: Arc<Slots>,
    stop: Stop,
    _measured: Measured,
    /// Returned after the workers.
    _turn: OwnedSemaphorePermit,
}

impl Slot {
    /// Runs `work` on the slot's threads; dropping the handle stops it.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<AbortOnDropHandle<T>> {
        let runtime = self.workers.as_ref().and_then(|workers| workers.0.as_ref());
        runtime.map(|runtime| AbortOnDropHandle::new(runtime.spawn(work)))
    }

    /// The switch that stops the query's operators.
    pub(crate) fn stop(&self) -> Stop {
        self.stop.clone()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.stop.stop();
        self.slots.free.lock().unwrap_or_else(PoisonError::into_inner).extend(self.workers.take());
    }
}

/// Planners recurse once for each operator of a chain; see [`crate::guard`] for the bound.
const STACK_BYTES: usize = 64 << 20;

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
}

impl Drop for Workers {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

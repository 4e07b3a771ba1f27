//! Threads of the queries' own: a hard query slows down neither the rest of the program nor the next query.
//!
//! Each running query has a place with a runtime of its own, because an operator may compute for long without giving
//! its thread back. Places are made when first needed and used again.

use std::future::Future;
use std::io;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::AbortOnDropHandle;

use crate::engine::metrics::Measured;
use crate::engine::stop::Stop;

/// Queries that may wait for a place; one more is refused at once.
const MAX_WAITING: usize = 64;

/// The places of all queries that may run at a time. Who waits for one gets it in the order of asking.
pub(crate) struct Places {
    threads: NonZeroUsize,
    turns: Arc<Semaphore>,
    queue: Semaphore,
    /// Made, and not taken at this moment.
    free: Mutex<Vec<Workers>>,
}

impl Places {
    /// `max` places of `threads` threads each.
    pub(crate) fn new(max: NonZeroUsize, threads: NonZeroUsize) -> Arc<Self> {
        let turns = Arc::new(Semaphore::new(max.get()));
        Arc::new(Self { threads, turns, queue: Semaphore::new(MAX_WAITING), free: Mutex::default() })
    }

    /// A place as soon as one is free; `None` when none is within `patience`, or too many wait already.
    ///
    /// Errors: no thread can be started.
    pub(crate) async fn take(self: &Arc<Self>, patience: Duration) -> io::Result<Option<Place>> {
        let Some(turn) = self.turn(patience).await else { return Ok(None) };
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let workers = free.map_or_else(|| Workers::start(self.threads), Ok)?;
        Ok(Some(Place {
            workers: Some(workers),
            places: Arc::clone(self),
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

/// A query's place. Dropping it stops the query and frees the place.
pub(crate) struct Place {
    workers: Option<Workers>,
    places: Arc<Places>,
    stop: Stop,
    _measured: Measured,
    /// Given back once the workers are.
    _turn: OwnedSemaphorePermit,
}

impl Place {
    /// Runs `work` on the place's threads; dropping the handle stops it.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<AbortOnDropHandle<T>> {
        let runtime = self.workers.as_ref().and_then(|workers| workers.0.as_ref());
        runtime.map(|runtime| AbortOnDropHandle::new(runtime.spawn(work)))
    }

    /// What tells the query's operators to stop.
    pub(crate) fn stop(&self) -> Stop {
        self.stop.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.stop.stop();
        self.places.free.lock().unwrap_or_else(PoisonError::into_inner).extend(self.workers.take());
    }
}

/// Planning a chain of operators goes as deep as the chain is long; see [`crate::engine::guard`] for its bound.
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

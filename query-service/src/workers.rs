//! Threads of the queries' own: a hard query slows down neither the rest of the program nor the next query.
//!
//! Each running query has a place with a runtime of its own, because an operator may compute for long without giving
//! its thread back. Places are made when first needed and used again.

use std::future::Future;
use std::io;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::{Builder, Runtime};
use tokio_util::task::AbortOnDropHandle;

use crate::metrics::Measured;
use crate::stop::Stop;

/// The places of all queries that may run at a time.
pub(crate) struct Places {
    threads: NonZeroUsize,
    max: NonZeroUsize,
    made: Mutex<Made>,
}

#[derive(Default)]
struct Made {
    free: Vec<Workers>,
    count: usize,
}

impl Places {
    /// `max` places of `threads` threads each.
    pub(crate) fn new(max: NonZeroUsize, threads: NonZeroUsize) -> Arc<Self> {
        Arc::new(Self { threads, max, made: Mutex::default() })
    }

    /// A free place; `None` when all are taken. Errors: no thread can be started.
    pub(crate) fn take(self: &Arc<Self>) -> io::Result<Option<Place>> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let workers = match made.free.pop() {
            Some(free) => free,
            None if made.count < self.max.get() => {
                let workers = Workers::start(self.threads)?;
                made.count += 1;
                workers
            }
            None => return Ok(None),
        };
        let measured = Measured::begin();
        Ok(Some(Place { workers: Some(workers), places: Arc::clone(self), stop: Stop::default(), _measured: measured }))
    }
}

/// A query's place. Dropping it stops the query and frees the place.
pub(crate) struct Place {
    workers: Option<Workers>,
    places: Arc<Places>,
    stop: Stop,
    _measured: Measured,
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
        let mut made = self.places.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.free.extend(self.workers.take());
    }
}

/// Planning a chain of operators goes as deep as the chain is long; see [`crate::guard`] for its bound.
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

//! Slots for running queries, each with its own threads: an expensive query slows down neither the rest of the program
//! nor the next query.
//!
//! A slot has its own runtime, because an operator may compute for long without yielding its thread. Runtimes are
//! started when first needed, and reused once they are idle: a query that was stopped while it computes keeps its slot
//! until it notices. One that goes on for too long is reported ([`Slots::overdue`]), since only the end of the process ends
//! it. What counts is how long its threads computed: on a busy machine they may hardly get a processor to notice with.

use std::collections::HashSet;
use std::future::Future;
use std::io;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::heap::{self, Account};
use crate::limits::STACK_BYTES;
use crate::metrics::Measured;
use crate::stop::Stop;
use crate::turns::{Turn, Turns};

/// Longest processor time that the threads of a stopped query may still use.
const OVERDUE: Duration = Duration::from_secs(5);
/// Longest time until they are idle, whatever keeps them.
const STUCK: Duration = Duration::from_secs(60);
/// First and longest wait between two looks at the threads of a stopped query.
const LOOK: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(100));

/// The slots of all queries that may run at a time.
pub(crate) struct Slots {
    threads: NonZeroUsize,
    turns: Arc<Turns>,
    /// Started and idle.
    free: Mutex<Vec<Workers>>,
    /// Of threads that have ended.
    accounts: Mutex<Vec<&'static Account>>,
    overdue: CancellationToken,
}

impl Slots {
    /// `max` slots of `threads` threads each.
    pub(crate) fn new(max: NonZeroUsize, threads: NonZeroUsize) -> Arc<Self> {
        let (turns, overdue) = (Turns::new(max), CancellationToken::new());
        Arc::new(Self { threads, turns, free: Mutex::default(), accounts: Mutex::default(), overdue })
    }

    /// Cancelled once a stopped query has gone on computing for [`OVERDUE`], or is not idle after [`STUCK`].
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
        let workers = free.map_or_else(|| self.start(), Ok)?;
        Ok(Some(Slot {
            held: Some((workers, turn)),
            slots: Arc::clone(self),
            home: Handle::current(),
            stop: Stop::default(),
            _measured: Measured::begin(),
        }))
    }

    fn start(&self) -> io::Result<Workers> {
        let known = self.accounts.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Workers::start(self.threads, known.unwrap_or_else(Account::new))
    }

    /// Threads whose query held much end, since only then the allocator gives back what it keeps for them.
    fn give_back(&self, workers: Workers) {
        if workers.account.was_large() {
            self.accounts.lock().unwrap_or_else(PoisonError::into_inner).push(workers.account);
            return;
        }
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(workers);
    }

    /// Frees `turn` and `workers` once they are idle.
    async fn settle(self: Arc<Self>, workers: Workers, turn: Turn) {
        let (stopped, computed) = (Instant::now(), workers.computed());
        let (mut wait, longest) = LOOK;
        while !workers.are_idle() {
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(longest);
            let (waited, since) = (stopped.elapsed(), workers.computed().saturating_sub(computed));
            if (since > OVERDUE || waited > STUCK) && !self.overdue.is_cancelled() {
                tracing::error!(
                    "a query is not idle {waited:.1?} after it was stopped; its threads computed for {since:.1?}"
                );
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
        let runtime = self.held.as_ref().and_then(|(workers, _)| workers.runtime.as_ref());
        runtime.map(|runtime| AbortOnDropHandle::new(runtime.spawn(work)))
    }

    /// Whether others wait who could have the slot, to be asked from anywhere.
    pub(crate) fn is_wanted(&self) -> Option<impl Fn() -> bool + Send + 'static> {
        self.held.as_ref().map(|(_, turn)| turn.is_wanted())
    }

    /// Where everything counts that its threads hold.
    pub(crate) fn account(&self) -> Option<&'static Account> {
        self.held.as_ref().map(|(workers, _)| workers.account)
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
struct Workers {
    runtime: Option<Runtime>,
    account: &'static Account,
    /// The kernel's ids of its threads.
    thread_ids: Arc<Mutex<HashSet<i32>>>,
}

impl Workers {
    fn start(threads: NonZeroUsize, account: &'static Account) -> io::Result<Self> {
        let thread_ids: Arc<Mutex<HashSet<i32>>> = Arc::default();
        let (started, ended) = (Arc::clone(&thread_ids), Arc::clone(&thread_ids));
        let mut builder = Builder::new_multi_thread();
        builder
            .worker_threads(threads.get())
            .thread_name("query")
            .thread_stack_size(STACK_BYTES)
            .on_thread_start(move || {
                heap::belong_to(account);
                started.lock().unwrap_or_else(PoisonError::into_inner).insert(own_thread_id());
            })
            .on_thread_stop(move || {
                ended.lock().unwrap_or_else(PoisonError::into_inner).remove(&own_thread_id());
            })
            .enable_all();
        let runtime = builder.build()?;
        Ok(Self { runtime: Some(runtime), account, thread_ids })
    }

    /// The processor time of its threads so far: the first field of `/proc/self/task/<id>/schedstat` (sched-stats.rst of the
    /// kernel's documentation), 0 where the kernel has no such file.
    fn computed(&self) -> Duration {
        let ids = self.thread_ids.lock().unwrap_or_else(PoisonError::into_inner);
        let of_thread = |id: &i32| {
            let text = std::fs::read_to_string(format!("/proc/self/task/{id}/schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        };
        Duration::from_nanos(ids.iter().filter_map(of_thread).sum())
    }

    /// Whether no task runs or is about to.
    fn are_idle(&self) -> bool {
        let Some(runtime) = &self.runtime else { return true };
        let metrics = runtime.metrics();
        // A thread counts each time it parks and each time it continues: it is parked when the number is odd.
        let parked = |worker| metrics.worker_park_unpark_count(worker) % 2 == 1;
        metrics.global_queue_depth() == 0 && (0..metrics.num_workers()).all(parked)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn own_thread_id() -> i32 {
    rustix::thread::gettid().as_raw_nonzero().get()
}

//! The loop: records in, rows out, until it is cancelled.
//!
//! Start: the programs are loaded before the collector is created. It first reads the processes that already ran,
//! parents before children, then the ring. What happened in between is in both, and the process table merges the two.
//! Stop: the programs leave the kernel, the ring is drained, and everything goes into the event log.

use std::sync::Arc;
use std::time::Duration;

use kerntrail_common::error::chain;
use kerntrail_ebpf::CpuCounters;
use kerntrail_ebpf::records::EXISTING_CPU;
use kerntrail_schemas::identity::StreamId;
use kerntrail_transport::{EventLog, LogError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::batch::{BatchError, BatchLimits, Batcher, RowNumber};
use crate::cgroups::Cgroups;
use crate::clock::{BootClock, now_boot_ns};
use crate::config::{CollectorConfig, Kube};
use crate::decode::Context;
use crate::ebpf_source::EbpfSource;
use crate::enrich::Enricher;
use crate::loss::{Loss, Losses};
use crate::mask::{BadRule, Mask};
use crate::metrics as names;
use crate::node::{Node, NodeError};
use crate::not_supported::NotSupportedRows;
use crate::pods::{self, Pods};
use crate::reap::{self, Reaper};
use crate::sender::{Closed, Outgoing, Sender};
use crate::source::{EventSource, SourceError, SourceRecord};
use crate::state::{self, LastRun};

/// How often losses are checked and the state is written when nothing happens.
const TICK: Duration = Duration::from_secs(1);
/// Greatest age of an event that is not in the ring yet because its program was interrupted, ns.
const IN_FLIGHT_NS: u64 = 10_000_000;

/// Why a collector did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum CollectorError {
    /// The kernel programs could not be loaded.
    #[error("cannot load the kernel programs")]
    Load(#[from] kerntrail_ebpf::LoadError),
    /// The node is not as configured.
    #[error("cannot read facts about the node")]
    Node(#[from] NodeError),
    /// A rule in the configuration is wrong.
    #[error("cannot compile the mask rules")]
    Mask(#[from] BadRule),
    /// The kernel side failed.
    #[error("cannot read events")]
    Source(#[from] SourceError),
    /// Rows could not become a message.
    #[error("cannot build a message")]
    Batch(#[from] BatchError),
    /// The event log rejects rows permanently.
    #[error("cannot append rows to the event log")]
    Log(#[from] LogError),
    /// The event log did not accept the last rows in time; the next run reports them as not seen.
    #[error("the event log did not accept the last rows within {0:?}")]
    DrainTimeout(Duration),
}

/// The agent of one node.
pub struct Collector<S = EbpfSource> {
    config: CollectorConfig,
    node: Node,
    source: S,
    stream: StreamId,
    started_ns: u64,
    clock: BootClock,
    cgroups: Cgroups,
    mask: Mask,
    pods: Arc<Pods>,
    ready: watch::Sender<bool>,
}

impl Collector<EbpfSource> {
    /// Loads the kernel programs: events are seen from now on, and wait in the kernel until [`Self::run`].
    ///
    /// Needs a tokio runtime; blocks for some tenths of a second. Errors: [`CollectorError::Load`] says what this
    /// machine lacks; nothing stays in the kernel.
    pub fn live(config: CollectorConfig) -> Result<Self, CollectorError> {
        let node = Node::read(&config)?;
        let started_ns = now_boot_ns();
        let source = EbpfSource::load(config.ring_bytes(), node.procfs.clone())?;
        Self::new(config, node, source, Cgroups::of_this_machine(), BootClock::of_this_machine(), started_ns)
    }
}

impl<S: EventSource> Collector<S> {
    /// A collector of the events of `source`, which numbers them since `started_ns` (CLOCK_BOOTTIME).
    ///
    /// Errors: a mask rule is not a regular expression.
    pub fn new(
        config: CollectorConfig,
        node: Node,
        source: S,
        cgroups: Cgroups,
        clock: BootClock,
        started_ns: u64,
    ) -> Result<Self, CollectorError> {
        Ok(Self {
            mask: Mask::new(&config.mask)?,
            stream: StreamId::of_collector(&node.boot_id, started_ns),
            config,
            node,
            source,
            started_ns,
            clock,
            cgroups,
            pods: Arc::default(),
            ready: watch::Sender::new(false),
        })
    }

    /// The stream that its events are numbered in.
    pub fn stream(&self) -> &StreamId {
        &self.stream
    }

    /// The pods of this node; the pod watch fills them.
    pub fn pods(&self) -> Arc<Pods> {
        Arc::clone(&self.pods)
    }

    /// Becomes true when the processes that already ran are in the process table and their rows were sent.
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// Collects until `cancel`, then drains: returns when every event seen is in `log`.
    ///
    /// Errors: the kernel side or the log failed permanently, or draining took longer than `drain_timeout`.
    pub async fn run(self, log: Arc<dyn EventLog>, cancel: CancellationToken) -> Result<(), CollectorError> {
        names::begin();
        let drain_timeout = self.config.drain_timeout;
        let watch = self.watch_pods(cancel.child_token());
        let deadline = cancel.clone();
        let done = tokio::select! {
            done = self.collect(log, cancel) => done,
            () = async { deadline.cancelled().await; tokio::time::sleep(drain_timeout).await } => {
                Err(CollectorError::DrainTimeout(drain_timeout))
            }
        };
        watch.cancel();
        done
    }

    /// Starts the pod watch, if it is wanted; the token ends it.
    fn watch_pods(&self, cancel: CancellationToken) -> CancellationToken {
        if self.config.kube != Kube::Off {
            let (pods, kube, node) = (self.pods(), self.config.kube.clone(), self.node.name.clone());
            tokio::spawn(pods::watch(pods, kube, node, cancel.clone()));
        }
        cancel
    }

    async fn collect(mut self, log: Arc<dyn EventLog>, cancel: CancellationToken) -> Result<(), CollectorError> {
        let context = Context { node: &self.node, clock: &self.clock, mask: &self.mask };
        let existing = self.source.existing(context)?;
        let (config, mut node) = (self.config, self.node);
        node.complete(&existing);
        let node = Arc::new(node);
        let sender = Sender::start(log, config.tenant.clone(), config.queue_batches, config.state_dir.clone());
        let mut work = Work {
            batcher: Batcher::new(&node, self.stream.clone(), BatchLimits::of(&config)),
            enricher: Enricher::new(
                Arc::clone(&node),
                self.pods,
                self.cgroups,
                self.mask,
                self.clock,
                config.max_processes,
            ),
            losses: Losses::new(self.started_ns),
            not_supported: NotSupportedRows::new(self.source.probes(), self.started_ns),
            reaper: Reaper::default(),
            source: self.source,
            stream: self.stream,
            node,
            sender,
            ticked_ns: self.started_ns,
            until_ns: self.started_ns,
            next_tick: tokio::time::Instant::now() + TICK,
        };
        match work.all(existing, &config, &cancel, &self.ready).await {
            Ok(()) => Ok(work.sender.finish().await?),
            // The queue is closed: its task has the error.
            Err(Ended::Closed) => Ok(work.sender.finish().await?),
            Err(Ended::Failed(error)) => {
                // Rows that were made are still delivered; the first error is returned.
                if let Err(second) = work.sender.finish().await {
                    tracing::error!(error = chain(&second), "the last rows are not in the event log");
                }
                Err(error)
            }
        }
    }
}

/// Why the loop ended.
enum Ended {
    Closed,
    Failed(CollectorError),
}

impl<E: Into<CollectorError>> From<E> for Ended {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

struct Work<S> {
    node: Arc<Node>,
    source: S,
    stream: StreamId,
    enricher: Enricher,
    batcher: Batcher,
    losses: Losses,
    not_supported: NotSupportedRows,
    reaper: Reaper,
    sender: Sender,
    /// Time of the last tick.
    ticked_ns: u64,
    /// All events up to here were taken.
    until_ns: u64,
    next_tick: tokio::time::Instant,
}

impl<S: EventSource> Work<S> {
    async fn all(
        &mut self,
        mut records: Vec<SourceRecord>,
        config: &CollectorConfig,
        cancel: &CancellationToken,
        ready: &watch::Sender<bool>,
    ) -> Result<(), Ended> {
        self.report_gap_since_last_run(config);
        let not_supported = self.not_supported.due(now_boot_ns(), &mut self.losses, self.enricher.clock());
        self.lose(not_supported.as_slice());
        records.sort_by_key(start);
        self.take_all(&mut records).await?;
        self.flush().await?;
        ready.send_replace(true);
        let not_supported = self.not_supported.names();
        tracing::info!(stream = %self.stream, processes = self.enricher.table().len(), ?not_supported, "collecting");
        while !cancel.is_cancelled() {
            let due = self.batcher.due().map_or(self.next_tick, |due| due.min(self.next_tick));
            // In this order: the last branch is taken only when the ring is empty.
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                came = self.source.next(self.enricher.context(), &mut records) => {
                    came?;
                    if records.is_empty() {
                        break;
                    }
                }
                () = tokio::time::sleep_until(due) => {
                    self.until_ns = self.until_ns.max(now_boot_ns().saturating_sub(IN_FLIGHT_NS));
                }
            }
            self.take_all(&mut records).await?;
            self.do_what_is_due().await?;
        }
        self.drain(records).await
    }

    /// Adds a row for the gap between the last run and this one, when the last run left a readable state.
    fn report_gap_since_last_run(&mut self, config: &CollectorConfig) {
        let Some(dir) = &config.state_dir else { return };
        match state::read(dir) {
            Ok(Some(last)) => {
                let loss = self.losses.collector_down(&last, self.enricher.clock());
                self.lose(&[loss]);
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(error = chain(&error), "the gap since the last run is unknown")
            }
        }
    }

    async fn take_all(&mut self, records: &mut Vec<SourceRecord>) -> Result<(), Ended> {
        for record in records.drain(..) {
            self.take(record);
            if self.batcher.is_full() {
                self.flush().await?;
            }
        }
        Ok(())
    }

    fn take(&mut self, record: SourceRecord) {
        if let Some(number) = record.number {
            self.losses.came(number);
            if number.cpu != EXISTING_CPU {
                self.until_ns = self.until_ns.max(number.boot_ns);
            }
        }
        match record.event {
            // It gets no row, but later rows of its process need it.
            Ok(event) if event.is_filtered() => self.enricher.note(&event),
            Ok(event) => {
                let actor = self.enricher.actor_of(&event);
                let number =
                    RowNumber { boot_ns: event.boot_ns, cpu: event.cpu.cast_signed(), seq: event.seq.cast_signed() };
                let row = event.kind.into_row();
                metrics::counter!(names::EVENTS_IN, "kind" => row.activity.name).increment(1);
                self.batcher.append(number, self.enricher.clock(), actor.as_ref(), &row);
            }
            Err(reason) => {
                tracing::debug!(reason, number = ?record.number, "a record cannot be read");
                let loss = self.losses.undecodable(record.number, now_boot_ns(), self.enricher.clock());
                self.lose(&[loss]);
            }
        }
    }

    fn lose(&mut self, losses: &[Loss]) {
        for loss in losses {
            self.batcher.append_loss(loss, self.enricher.clock());
        }
    }

    async fn do_what_is_due(&mut self) -> Result<(), Ended> {
        let now = tokio::time::Instant::now();
        if now >= self.next_tick {
            self.next_tick = now + TICK;
            self.tick();
        } else if self.batcher.due().is_none_or(|due| due > now) {
            return Ok(());
        }
        self.flush().await
    }

    fn tick(&mut self) {
        let now = now_boot_ns();
        self.enricher.refresh_clock(now);
        let counters = self.source.counters();
        count_filtered(&counters);
        let losses = self.losses.settled(now, &counters, self.enricher.clock());
        self.look_for_loss(losses, now);
        let not_supported = self.not_supported.due(now, &mut self.losses, self.enricher.clock());
        self.lose(not_supported.as_slice());
        let table = self.enricher.table();
        metrics::gauge!(names::PROCESSES).set(table.len() as f64);
        if self.reaper.is_due(now)
            && let Ok(alive) = reap::alive(&self.node.procfs)
        {
            let gone = table.keep_only(&alive, now);
            tracing::debug!(gone, "removed processes whose exit was not seen");
        }
        self.ticked_ns = now;
    }

    /// Adds rows for what is missing up to now. A process table that may hold ended processes is checked soon.
    fn look_for_loss(&mut self, mut losses: Vec<Loss>, now_ns: u64) {
        let missed = self.source.missed();
        losses.extend(self.losses.missed(missed, self.ticked_ns, now_ns, self.enricher.clock()));
        if !losses.is_empty() || self.enricher.table().is_full() {
            self.reaper.want();
        }
        let refused = self.enricher.table().take_refused();
        if refused > 0 {
            losses.push(self.losses.table_full(refused, self.ticked_ns, now_ns, self.enricher.clock()));
        }
        self.lose(&losses);
    }

    /// Sends all rows, then the time up to which they are complete.
    async fn flush(&mut self) -> Result<(), Ended> {
        let until = self.until_ns;
        for (table, message) in self.batcher.flush()? {
            self.send(Outgoing::Rows(table, message)).await?;
        }
        self.enricher.batch_ended();
        let run = LastRun {
            boot_id: self.node.boot_id.to_string(),
            stream: self.stream.to_string(),
            boot_ns: until,
            time: self.enricher.clock().utc(until),
        };
        self.send(Outgoing::Until(run)).await
    }

    async fn send(&mut self, outgoing: Outgoing) -> Result<(), Ended> {
        self.sender.send(outgoing).await.map_err(|Closed| Ended::Closed)
    }

    /// Stops the programs, takes what is left, and reports every number that is missing.
    async fn drain(&mut self, mut records: Vec<SourceRecord>) -> Result<(), Ended> {
        self.source.stop();
        let stopped_ns = now_boot_ns();
        loop {
            self.take_all(&mut records).await?;
            if self.source.take(self.enricher.context(), &mut records) == 0 {
                break;
            }
        }
        let counters = self.source.counters();
        count_filtered(&counters);
        let losses = self.losses.finish(stopped_ns, &counters, self.enricher.clock());
        self.look_for_loss(losses, stopped_ns);
        let not_supported = self.not_supported.finish(stopped_ns, &mut self.losses, self.enricher.clock());
        self.lose(not_supported.as_slice());
        self.until_ns = stopped_ns;
        self.flush().await?;
        tracing::info!(stream = %self.stream, "collected all events; stopped");
        Ok(())
    }
}

fn count_filtered(counters: &[CpuCounters]) {
    for record in kerntrail_ebpf::probes::records() {
        let filtered = counters.iter().map(|cpu| cpu.filtered[record.kind as usize]).sum();
        metrics::counter!(names::EVENTS_FILTERED, "kind" => record.name).absolute(filtered);
    }
}

/// Parents start before their children; what could not be read comes last.
fn start(record: &SourceRecord) -> (u64, u32) {
    match &record.event {
        Ok(event) => (event.task.process.start_boottime, event.task.process.tgid),
        Err(_) => (u64::MAX, u32::MAX),
    }
}

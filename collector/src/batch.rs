//! Rows become messages: one builder for each table, all flushed together.
//!
//! Invariant: batch numbers of a table rise by one from 0 within the stream.
//! Invariant: a flush takes all tables, so that one moment says up to where everything was sent.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use arrow::error::ArrowError;
use kerntrail_schemas::identity::StreamId;
use kerntrail_schemas::tables::{
    Actor, Envelope, KernelColumns, LossColumns, NetworkColumns, OwnColumns, ProcessColumns,
};
use kerntrail_schemas::{Table, TableBuilder};
use kerntrail_transport::Message;
use kerntrail_transport::codec::CodecError;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::config::CollectorConfig;
use crate::loss::Loss;
use crate::node::Node;
use crate::rows::Row;

/// Bytes of a row besides its strings, about.
const ROW_BYTES: usize = 320;
/// Bytes of an actor besides its strings, about.
const ACTOR_BYTES: usize = 420;
/// A message holds no more; bytes.
const LARGEST: usize = 1 << 20;

/// When a batch leaves.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Rows of one table.
    pub rows: usize,
    /// Bytes of one table's rows, estimated.
    pub bytes: usize,
    /// Age of the oldest row.
    pub wait: Duration,
}

impl Limits {
    /// The limits of `config`, with what a message can hold as the upper end.
    pub fn of(config: &CollectorConfig) -> Self {
        Self {
            rows: config.batch_rows.clamp(1, 65_536),
            bytes: config.batch_bytes.clamp(1, LARGEST),
            wait: Duration::from_millis(config.batch_wait_ms),
        }
    }
}

/// Rows that could not become a message; only a defect of this program does that.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// Columns of different lengths.
    #[error("cannot finish a batch of {table}")]
    Finish {
        /// The table.
        table: Table,
        /// Why.
        #[source]
        source: ArrowError,
    },
    /// The rows cannot be encoded.
    #[error("cannot encode a batch of {table}")]
    Encode {
        /// The table.
        table: Table,
        /// Why.
        #[source]
        source: CodecError,
    },
}

/// Collects rows.
pub struct Batcher {
    limits: Limits,
    envelope: Envelope,
    stream: StreamId,
    process: Pending<ProcessColumns>,
    kernel: Pending<KernelColumns>,
    network: Pending<NetworkColumns>,
    loss: Pending<LossColumns>,
    oldest: Option<Instant>,
}

impl Batcher {
    /// No rows yet; they will be of `stream`.
    pub fn new(node: &Node, stream: StreamId, limits: Limits) -> Self {
        let envelope = Envelope {
            cluster: node.cluster.clone(),
            node: Some(node.name.clone()),
            boot_id: Some(node.boot_id.clone()),
            source: Some("kernel"),
            stream: Some(stream.clone()),
            action: Some("observed"),
            count: Some(1),
            ..Envelope::default()
        };
        Self {
            limits,
            envelope,
            stream,
            process: Pending::default(),
            kernel: Pending::default(),
            network: Pending::default(),
            loss: Pending::default(),
            oldest: None,
        }
    }

    /// Appends the row of an event.
    pub fn append(&mut self, at: Place, clock: &Clock, actor: Option<&Arc<Actor>>, row: &Row) {
        self.fill("kernel", at, clock, row.activity(), 1);
        match row {
            Row::Process(_, own) => self.process.append(&self.envelope, actor, own, 0),
            Row::Kernel(_, own) => {
                let strings = [&own.source_path, &own.target_path, &own.fs_type];
                let bytes = strings.into_iter().flatten().map(String::len).sum();
                self.kernel.append(&self.envelope, actor, own, bytes);
            }
            Row::Network(_, own) => self.network.append(&self.envelope, actor, own, 64),
        }
    }

    /// Appends a row of `event_loss`.
    pub fn append_loss(&mut self, loss: &Loss, clock: &Clock) {
        self.fill("kerntrail", loss.place, clock, loss.activity, loss.count);
        self.loss.append(&self.envelope, None, &loss.columns, 0);
    }

    fn fill(&mut self, source: &'static str, at: Place, clock: &Clock, activity: &str, count: i64) {
        self.oldest.get_or_insert_with(Instant::now);
        let time = clock.utc(at.boot_ns);
        let envelope = &mut self.envelope;
        envelope.date = Some(time.day());
        envelope.time = Some(time);
        envelope.boot_ns = i64::try_from(at.boot_ns).ok();
        envelope.source = Some(source);
        envelope.cpu = Some(at.cpu);
        envelope.seq = Some(at.seq);
        envelope.count = Some(count);
        let text = envelope.activity.get_or_insert_default();
        text.clear();
        text.push_str(activity);
    }

    /// Rows that wait.
    pub fn rows(&self) -> usize {
        self.process.builder.rows()
            + self.kernel.builder.rows()
            + self.network.builder.rows()
            + self.loss.builder.rows()
    }

    /// When the oldest row has waited long enough.
    pub fn due(&self) -> Option<Instant> {
        self.oldest.map(|oldest| oldest + self.limits.wait)
    }

    /// Whether a table has as many rows or bytes as a message should have.
    pub fn is_full(&self) -> bool {
        let full = |rows: usize, bytes: usize| rows >= self.limits.rows || bytes >= self.limits.bytes;
        full(self.process.builder.rows(), self.process.bytes)
            || full(self.kernel.builder.rows(), self.kernel.bytes)
            || full(self.network.builder.rows(), self.network.bytes)
            || full(self.loss.builder.rows(), self.loss.bytes)
    }

    /// All rows that wait, as messages.
    pub fn flush(&mut self) -> Result<Vec<(Table, Message)>, BatchError> {
        self.oldest = None;
        let (envelope, stream) = (&self.envelope, &self.stream);
        let node = envelope.node.as_deref().unwrap_or_default();
        let mut messages = self.process.finish(node, stream)?;
        messages.extend(self.kernel.finish(node, stream)?);
        messages.extend(self.network.finish(node, stream)?);
        messages.extend(self.loss.finish(node, stream)?);
        Ok(messages)
    }
}

/// When a row's event was, and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// CLOCK_BOOTTIME, ns.
    pub boot_ns: u64,
    /// Processor that numbered it; -1 for numbers of the collector itself.
    pub cpu: i32,
    /// Number there.
    pub seq: i64,
}

/// Rows of one table that wait.
struct Pending<Own: OwnColumns> {
    builder: TableBuilder<Own>,
    bytes: usize,
    /// Addresses of the actors counted in `bytes`; the builder holds them, so none is used twice.
    counted: HashSet<usize>,
    next_batch: i64,
}

impl<Own: OwnColumns> Default for Pending<Own> {
    fn default() -> Self {
        Self { builder: TableBuilder::default(), bytes: 0, counted: HashSet::new(), next_batch: 0 }
    }
}

impl<Own: OwnColumns> Pending<Own> {
    fn append(&mut self, envelope: &Envelope, actor: Option<&Arc<Actor>>, own: &Own, own_bytes: usize) {
        self.builder.append(envelope, actor, own);
        self.bytes += ROW_BYTES + own_bytes;
        if let Some(actor) = actor.filter(|actor| self.counted.insert(Arc::as_ptr(actor).addr())) {
            self.bytes += bytes_of(actor);
        }
    }

    fn finish(&mut self, node: &str, stream: &StreamId) -> Result<Vec<(Table, Message)>, BatchError> {
        let table = Own::TABLE;
        let rows = self.builder.finish().map_err(|source| BatchError::Finish { table, source })?;
        let messages = Message::of_rows(&rows, node, stream, self.next_batch);
        let messages = messages.map_err(|source| BatchError::Encode { table, source })?;
        self.bytes = 0;
        self.counted.clear();
        self.next_batch += messages.len() as i64;
        Ok(messages.into_iter().map(|message| (table, message)).collect())
    }
}

/// Bytes of an actor, about; its long columns exactly.
fn bytes_of(actor: &Actor) -> usize {
    let lists = [&actor.args, &actor.parent_args, &actor.ancestor_uids, &actor.ancestor_paths];
    let lists: usize = lists.into_iter().flatten().flatten().map(|item| item.len() + 4).sum();
    let texts = [&actor.process_path, &actor.cmd_line, &actor.cwd, &actor.parent_path, &actor.image];
    let texts: usize = texts.into_iter().flatten().map(String::len).sum();
    let labels: usize = actor.pod_labels.iter().flatten().map(|(key, value)| key.len() + value.len() + 8).sum();
    ACTOR_BYTES + lists + texts + labels
}

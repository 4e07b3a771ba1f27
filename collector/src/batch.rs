//! Rows become messages: one builder per table, all flushed together.
//!
//! Invariant: batch numbers of a table rise by one from 0 within the stream.
//! Invariant: a flush sends the rows of all tables, so one time says up to when everything was sent.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::error::ArrowError;
use kerntrail_schemas::identity::StreamId;
use kerntrail_schemas::tables::{Actor, AnyColumns, Envelope, TableBuilders};
use kerntrail_schemas::{Activity, Table};
use kerntrail_transport::Message;
use kerntrail_transport::codec::{CodecError, MAX_ROWS};
use tokio::time::Instant;

use crate::clock::BootClock;
use crate::config::CollectorConfig;
use crate::event::EventRow;
use crate::loss::Loss;
use crate::node::Node;

/// Bytes of a row besides its strings, about.
const ROW_BYTES: usize = 320;
/// Bytes of an actor besides its strings, about.
const ACTOR_BYTES: usize = 420;
/// A message holds no more; bytes.
const LARGEST: usize = 1 << 20;

/// When a batch leaves.
#[derive(Clone, Copy, Debug)]
pub struct BatchLimits {
    /// Rows of one table.
    pub rows: usize,
    /// Bytes of one table's rows, estimated.
    pub bytes: usize,
    /// Age of the oldest row.
    pub wait: Duration,
}

impl BatchLimits {
    /// The limits of `config`, with what a message can hold as the upper end.
    pub fn of(config: &CollectorConfig) -> Self {
        Self {
            rows: config.batch_rows.clamp(1, MAX_ROWS),
            bytes: config.batch_bytes.clamp(1, LARGEST),
            wait: config.batch_interval.0,
        }
    }
}

/// Rows could not become a message: a defect of this program.
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
    limits: BatchLimits,
    envelope: Envelope,
    stream: StreamId,
    rows: TableBuilders,
    pending: BTreeMap<Table, Pending>,
    oldest: Option<Instant>,
}

impl Batcher {
    /// No rows yet; they will be of `stream`.
    pub fn new(node: &Node, stream: StreamId, limits: BatchLimits) -> Self {
        let envelope = Envelope {
            cluster: node.cluster.clone(),
            host_id: node.host_id.clone(),
            node: Some(node.name.clone()),
            boot_id: Some(node.boot_id.clone()),
            source: Some("kernel"),
            stream: Some(stream.clone()),
            action: Some("observed"),
            count: Some(1),
            ..Envelope::default()
        };
        let pending = Table::ALL.iter().map(|table| (*table, Pending::default())).collect();
        Self { limits, envelope, stream, rows: TableBuilders::default(), pending, oldest: None }
    }

    /// Appends the row of an event.
    pub fn append(&mut self, number: RowNumber, clock: &BootClock, actor: Option<&Arc<Actor>>, row: &EventRow) {
        self.fill("kernel", number, clock, row.activity, 1);
        self.push(actor, &row.columns);
    }

    /// Appends a row of `event_loss`.
    pub fn append_loss(&mut self, loss: &Loss, clock: &BootClock) {
        self.fill("kerntrail", loss.number, clock, loss.activity, loss.count);
        self.push(None, &AnyColumns::from(loss.columns.clone()));
    }

    fn push(&mut self, actor: Option<&Arc<Actor>>, own: &AnyColumns) {
        self.rows.append(&self.envelope, actor, own);
        self.pending.entry(own.table()).or_default().count(actor, own.text_bytes());
    }

    fn fill(
        &mut self,
        source: &'static str,
        number: RowNumber,
        clock: &BootClock,
        activity: &'static Activity,
        count: i64,
    ) {
        self.oldest.get_or_insert_with(Instant::now);
        let time = clock.utc(number.boot_ns);
        let envelope = &mut self.envelope;
        envelope.date = Some(time.day());
        envelope.time = Some(time);
        envelope.boot_ns = i64::try_from(number.boot_ns).ok();
        envelope.source = Some(source);
        envelope.cpu = Some(number.cpu);
        envelope.seq = Some(number.seq);
        envelope.count = Some(count);
        let text = envelope.activity.get_or_insert_default();
        text.clear();
        text.push_str(activity.name);
    }

    /// Rows that wait.
    pub fn rows(&self) -> usize {
        Table::ALL.iter().map(|table| self.rows.rows(*table)).sum()
    }

    /// When the oldest row has waited long enough.
    pub fn due(&self) -> Option<Instant> {
        self.oldest.map(|oldest| oldest + self.limits.wait)
    }

    /// Whether a table has as many rows or bytes as a message should have.
    pub fn is_full(&self) -> bool {
        self.pending
            .iter()
            .any(|(table, pending)| self.rows.rows(*table) >= self.limits.rows || pending.bytes >= self.limits.bytes)
    }

    /// All rows that wait, as messages.
    pub fn flush(&mut self) -> Result<Vec<(Table, Message)>, BatchError> {
        self.oldest = None;
        let node = self.envelope.node.as_deref().unwrap_or_default();
        let mut messages = Vec::new();
        for (&table, pending) in &mut self.pending {
            if self.rows.rows(table) == 0 {
                continue;
            }
            let rows = self.rows.finish(table).map_err(|source| BatchError::Finish { table, source })?;
            let encoded = Message::of_rows(&rows, node, &self.stream, pending.next_batch)
                .map_err(|source| BatchError::Encode { table, source })?;
            pending.flushed(encoded.len());
            messages.extend(encoded.into_iter().map(|message| (table, message)));
        }
        Ok(messages)
    }
}

/// Time and number of the event that a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowNumber {
    /// CLOCK_BOOTTIME, ns.
    pub boot_ns: u64,
    /// Processor that numbered it; -1 for numbers of the collector itself.
    pub cpu: i32,
    /// Number there.
    pub seq: i64,
}

/// How much of one table waits.
#[derive(Default)]
struct Pending {
    /// Estimated.
    bytes: usize,
    /// Addresses of the actors counted in `bytes`; the builder holds them, so none is used twice.
    counted: HashSet<usize>,
    next_batch: i64,
}

impl Pending {
    fn count(&mut self, actor: Option<&Arc<Actor>>, own_text: usize) {
        self.bytes += ROW_BYTES + own_text;
        if let Some(actor) = actor.filter(|actor| self.counted.insert(Arc::as_ptr(actor).addr())) {
            self.bytes += bytes_of(actor);
        }
    }

    fn flushed(&mut self, messages: usize) {
        self.bytes = 0;
        self.counted.clear();
        self.next_batch += messages as i64;
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

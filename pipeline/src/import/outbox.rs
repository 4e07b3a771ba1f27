//! Rows to messages in the event log: gathered by table and node, numbered, encoded, appended.
//!
//! Invariant: the messages of a stream and table are numbered without gaps from the last number that the lake has
//! taken. The log must have been drained into the lake before, and nobody else may import the same node meanwhile.
//! Invariant: what is appended again after an error has the number that it had.
//! Bounds: [`MOST_ROWS`] rows wait for their message to fill, [`MOST_READY`] bytes of messages to be appended.

use std::collections::{BTreeMap, HashMap};
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use kerntrail_common::backoff::Backoff;
use kerntrail_lake::Lake;
use kerntrail_schemas::identity::StreamId;
use kerntrail_schemas::tables::{Envelope, FileColumns, KernelColumns, NetworkColumns, ProcessColumns};
use kerntrail_schemas::{Table, TableBatch, TableBuilder};
use kerntrail_transport::{EventLog, LogError, Message, Partition, Topic};

use super::ImportError;
use super::format::{KeyedActor, Node, Own, Row};

/// Rows of a message.
const MESSAGE_ROWS: usize = 8192;
/// Rows waiting in all messages that are not full.
const MOST_ROWS: usize = 64 * 1024;
/// Bytes of messages that are appended together, with one sync to disk.
const MOST_READY: usize = 256 * 1024;
/// Attempts to append, where the log says that trying again may help.
const ATTEMPTS: u32 = 7;
/// Bounds of the first and of any wait for a full or failing log.
const RETRY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// Collects rows of one of the tables.
#[expect(clippy::large_enum_variant, reason = "one for each table and node, and none is small")]
enum Builder {
    Process(TableBuilder<ProcessColumns>),
    File(TableBuilder<FileColumns>),
    Kernel(TableBuilder<KernelColumns>),
    Network(TableBuilder<NetworkColumns>),
}

impl Builder {
    fn of(own: &Own) -> Self {
        match own {
            Own::Process(_) => Self::Process(TableBuilder::default()),
            Own::File(_) => Self::File(TableBuilder::default()),
            Own::Kernel(_) => Self::Kernel(TableBuilder::default()),
            Own::Network(_) => Self::Network(TableBuilder::default()),
        }
    }

    fn append(&mut self, envelope: &Envelope, actor: &KeyedActor, own: &Own) {
        let actor = Some((actor.key, &*actor.actor));
        match (self, own) {
            (Self::Process(builder), Own::Process(own)) => builder.append_keyed(envelope, actor, own),
            (Self::File(builder), Own::File(own)) => builder.append_keyed(envelope, actor, own),
            (Self::Kernel(builder), Own::Kernel(own)) => builder.append_keyed(envelope, actor, own),
            (Self::Network(builder), Own::Network(own)) => builder.append_keyed(envelope, actor, own),
            // A builder is made of a row of its table and found by that table.
            (_, own) => debug_assert!(false, "a row of {} in another table", own.table()),
        }
    }

    fn finish(&mut self) -> Result<TableBatch, arrow::error::ArrowError> {
        match self {
            Self::Process(builder) => builder.finish(),
            Self::File(builder) => builder.finish(),
            Self::Kernel(builder) => builder.finish(),
            Self::Network(builder) => builder.finish(),
        }
    }
}

/// Rows of one table and node that wait for more.
struct Waiting {
    node: Arc<Node>,
    builder: Builder,
    rows: usize,
    /// Of the latest row; the next one changes what differs, so that texts are not made anew for each.
    envelope: Envelope,
}

impl Waiting {
    fn of(row: &Row, source: &'static str) -> Self {
        let envelope = Envelope {
            node: Some(row.node.name.clone()),
            source: Some(source),
            stream: Some(row.node.stream.clone()),
            cpu: Some(0),
            ..Envelope::default()
        };
        Self { node: Arc::clone(&row.node), builder: Builder::of(&row.own), rows: 0, envelope }
    }

    fn add(&mut self, row: &Row, seq: i64) {
        let envelope = &mut self.envelope;
        envelope.date = Some(row.time.day());
        envelope.time = Some(row.time);
        envelope.seq = Some(seq);
        envelope.action = Some(row.action);
        envelope.count = Some(row.count);
        set(&mut envelope.activity, Some(row.activity));
        set(&mut envelope.policy, row.policy.as_deref());
        set(&mut envelope.cluster, row.cluster.as_deref());
        self.builder.append(envelope, &row.actor, &row.own);
        self.rows += 1;
    }
}

fn set(text: &mut Option<String>, value: Option<&str>) {
    if text.as_deref() != value {
        *text = value.map(str::to_owned);
    }
}

/// Takes rows and appends messages.
pub(crate) struct Outbox<'a> {
    log: &'a dyn EventLog,
    lake: &'a Lake,
    /// By table and node.
    waiting: BTreeMap<Table, BTreeMap<String, Waiting>>,
    waiting_rows: usize,
    full: Vec<(Table, Waiting)>,
    ready: BTreeMap<Table, Vec<Message>>,
    ready_bytes: usize,
    /// Last number used of each stream, by table.
    last: HashMap<Table, BTreeMap<String, i64>>,
}

impl<'a> Outbox<'a> {
    /// Appends to `log`; `lake` knows the numbers taken.
    pub(crate) fn new(log: &'a dyn EventLog, lake: &'a Lake) -> Self {
        Self {
            log,
            lake,
            waiting: BTreeMap::new(),
            waiting_rows: 0,
            full: Vec::new(),
            ready: BTreeMap::new(),
            ready_bytes: 0,
            last: HashMap::new(),
        }
    }

    /// Takes a row. True: it is time to [`Outbox::send`].
    pub(crate) fn put(&mut self, row: &Row, seq: i64, source: &'static str) -> bool {
        let table = row.own.table();
        let of_table = self.waiting.entry(table).or_default();
        if !of_table.contains_key(&row.node.name) {
            of_table.insert(row.node.name.clone(), Waiting::of(row, source));
        }
        let Some(waiting) = of_table.get_mut(&row.node.name) else { return false };
        waiting.add(row, seq);
        self.waiting_rows += 1;
        if waiting.rows >= MESSAGE_ROWS
            && let Some(full) = of_table.remove(&row.node.name)
        {
            self.full.push((table, full));
        }
        !self.full.is_empty() || self.waiting_rows >= MOST_ROWS
    }

    /// Makes messages of what is full, and appends them when they are enough.
    pub(crate) async fn send(&mut self) -> Result<(), ImportError> {
        if self.waiting_rows >= MOST_ROWS {
            self.pack_all().await?;
        }
        for (table, full) in mem::take(&mut self.full) {
            self.pack(table, full).await?;
        }
        if self.ready_bytes >= MOST_READY {
            self.append().await?;
        }
        Ok(())
    }

    /// Appends everything that waits.
    pub(crate) async fn finish(&mut self) -> Result<(), ImportError> {
        self.send().await?;
        self.pack_all().await?;
        self.append().await
    }

    async fn pack_all(&mut self) -> Result<(), ImportError> {
        for (table, of_table) in mem::take(&mut self.waiting) {
            for (_, waiting) in of_table {
                self.pack(table, waiting).await?;
            }
        }
        Ok(())
    }

    /// Makes messages of rows.
    async fn pack(&mut self, table: Table, mut waiting: Waiting) -> Result<(), ImportError> {
        self.waiting_rows -= waiting.rows;
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| ImportError::Encode { table, source };
        let rows = waiting.builder.finish().map_err(|error| failed(error.into()))?;
        let Node { name, stream, .. } = &*waiting.node;
        let last = self.last_batch(table, stream).await?;
        let messages = Message::of_rows(&rows, name, stream, *last + 1).map_err(|error| failed(error.into()))?;
        *last += messages.len() as i64;
        self.ready_bytes += messages.iter().map(|message| message.payload.len()).sum::<usize>();
        self.ready.entry(table).or_default().extend(messages);
        Ok(())
    }

    /// Number of the stream's last message, which the caller moves on; -1 before the first.
    async fn last_batch(&mut self, table: Table, stream: &StreamId) -> Result<&mut i64, ImportError> {
        if !self.last.contains_key(&table) {
            let found = self.lake.existing(table).await;
            let found = found.map_err(|error| ImportError::Known { table, source: error.into() })?;
            // A stream's last batch is recorded for the topic, whichever partition it came by.
            let partition = Partition { topic: self.topic(table), number: 0 }.to_string();
            self.last.insert(table, found.map(|found| found.progress(&partition).batches).unwrap_or_default());
        }
        Ok(self.last.entry(table).or_default().entry(stream.as_str().to_owned()).or_insert(-1))
    }

    fn topic(&self, table: Table) -> Topic {
        Topic { tenant: self.lake.tenant().to_owned(), table }
    }

    /// Appends the messages that are ready, waiting while the log is full.
    async fn append(&mut self) -> Result<(), ImportError> {
        self.ready_bytes = 0;
        for (table, messages) in mem::take(&mut self.ready) {
            let topic = self.topic(table);
            let (mut backoff, mut attempts) = (Backoff::new(RETRY.0, RETRY.1), 0);
            loop {
                match self.log.append(&topic, messages.clone()).await {
                    Ok(()) => break,
                    // Whoever reads the log makes room.
                    Err(LogError::Full { .. }) => {}
                    Err(LogError::Failed { retriable: true, .. }) if attempts < ATTEMPTS => attempts += 1,
                    Err(source) => return Err(ImportError::Append { table, source }),
                }
                tokio::time::sleep(backoff.after_failure()).await;
            }
        }
        Ok(())
    }
}

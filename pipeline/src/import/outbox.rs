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

use kerntrail_lake::Lake;
use kerntrail_schemas::identity::{ProcessUid, StreamId};
use kerntrail_schemas::tables::{
    Actor, Envelope, FileColumns, KernelColumns, NetworkColumns, OwnColumns, ProcessColumns,
};
use kerntrail_schemas::{Table, TableBatch, TableBuilder};
use kerntrail_transport::{EventLog, LogError, Message, Partition, Topic};

use super::ImportError;
use super::format::{Node, Own, Row};

/// Rows of a message.
const MESSAGE_ROWS: usize = 8192;
/// Rows waiting in all messages that are not full.
const MOST_ROWS: usize = 96 * 1024;
/// Bytes of messages that are appended together, with one sync to disk.
const MOST_READY: usize = 4 * 1024 * 1024;
/// Attempts to append, where the log says that trying again may help.
const ATTEMPTS: u32 = 6;
/// First wait for a full or failing log; it doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(20);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Collects rows of one of the tables.
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

    fn append(&mut self, envelope: &Envelope, actor: Option<&Arc<Actor>>, own: &Own) {
        fn into<T: OwnColumns>(builder: &mut TableBuilder<T>, envelope: &Envelope, actor: Option<&Arc<Actor>>, own: &T) {
            builder.append(envelope, actor, own);
        }
        match (self, own) {
            (Self::Process(builder), Own::Process(own)) => into(builder, envelope, actor, own),
            (Self::File(builder), Own::File(own)) => into(builder, envelope, actor, own),
            (Self::Kernel(builder), Own::Kernel(own)) => into(builder, envelope, actor, own),
            (Self::Network(builder), Own::Network(own)) => into(builder, envelope, actor, own),
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
    /// Processes among them, so that each is stored once.
    actors: HashMap<ProcessUid, Arc<Actor>>,
    rows: usize,
}

impl Waiting {
    /// The same actor as one that is stored already, or this one.
    fn shared(&mut self, actor: Arc<Actor>) -> Arc<Actor> {
        let Some(uid) = actor.process_uid else { return actor };
        let known = self.actors.entry(uid).or_insert_with(|| Arc::clone(&actor));
        if **known != *actor {
            *known = actor;
        }
        Arc::clone(known)
    }
}

/// Takes rows and appends messages.
pub(crate) struct Outbox<'a> {
    log: &'a dyn EventLog,
    lake: &'a Lake,
    waiting: BTreeMap<(Table, String), Waiting>,
    waiting_rows: usize,
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
            ready: BTreeMap::new(),
            ready_bytes: 0,
            last: HashMap::new(),
        }
    }

    /// Takes a row; appends messages when enough of them are full.
    pub(crate) async fn add(&mut self, row: Row, seq: i64, source: &'static str) -> Result<(), ImportError> {
        let Row { time, node, mut envelope, actor, own } = row;
        let table = own.table();
        envelope.date = Some(time.day());
        envelope.time = Some(time);
        envelope.node = Some(node.name.clone());
        envelope.source = Some(source);
        envelope.stream = Some(node.stream.clone());
        envelope.cpu = Some(0);
        envelope.seq = Some(seq);
        let place = (table, node.name.clone());
        let waiting = self.waiting.entry(place.clone()).or_insert_with(|| Waiting {
            node,
            builder: Builder::of(&own),
            actors: HashMap::new(),
            rows: 0,
        });
        let actor = actor.map(|actor| waiting.shared(actor));
        waiting.builder.append(&envelope, actor.as_ref(), &own);
        waiting.rows += 1;
        self.waiting_rows += 1;
        if waiting.rows >= MESSAGE_ROWS {
            if let Some(full) = self.waiting.remove(&place) {
                self.pack(table, full).await?;
            }
        } else if self.waiting_rows >= MOST_ROWS {
            self.pack_all().await?;
        }
        if self.ready_bytes >= MOST_READY {
            self.append().await?;
        }
        Ok(())
    }

    /// Appends everything that waits.
    pub(crate) async fn finish(&mut self) -> Result<(), ImportError> {
        self.pack_all().await?;
        self.append().await
    }

    async fn pack_all(&mut self) -> Result<(), ImportError> {
        for ((table, _), waiting) in mem::take(&mut self.waiting) {
            self.pack(table, waiting).await?;
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
            let (mut wait, mut attempts) = (FIRST_WAIT, 0);
            loop {
                match self.log.append(&topic, messages.clone()).await {
                    Ok(()) => break,
                    // Whoever reads the log makes room.
                    Err(LogError::Full { .. }) => {}
                    Err(LogError::Failed { retriable: true, .. }) if attempts < ATTEMPTS => attempts += 1,
                    Err(source) => return Err(ImportError::Append { table, source }),
                }
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(LONGEST_WAIT);
            }
        }
        Ok(())
    }
}

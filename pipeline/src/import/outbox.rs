//! Rows to messages in the event log: gathered by table and node, numbered, encoded, appended.
//!
//! Invariant: the messages of a stream and table are numbered without gaps from the last number in the lake, or from
//! the current time in microseconds where that number has expired. The log must have been drained into the lake before,
//! and no other import of the same node may run meanwhile.
//! Invariant: what is appended again after an error has the number that it had.
//! Bounds: [`MOST_ROWS`] rows wait for their message to fill, [`MOST_READY`] bytes of messages to be appended.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use arrow::error::ArrowError;
use kerntrail_common::backoff::Backoff;
use kerntrail_lake::{Lake, LakeError};
use kerntrail_schemas::Table;
use kerntrail_schemas::identity::StreamId;
use kerntrail_transport::{EventLog, LogError, Message, Partition, Topic};

use super::ImportError;
use super::batch_numbers::BatchNumbers;
use super::row::{ImportedRow, RowBuilder};
use super::scope::EventOrigin;

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

/// Rows of one table and origin that wait for more.
struct Waiting {
    origin: Arc<EventOrigin>,
    builder: Box<dyn RowBuilder>,
    rows: usize,
    /// Name and stream of the origin, lent to one row after the other, so that they are not copied for each.
    name: Option<String>,
    stream: Option<StreamId>,
}

impl Waiting {
    fn of(row: &ImportedRow) -> Self {
        let origin = Arc::clone(&row.origin);
        let (name, stream) = (Some(origin.name().to_owned()), Some(origin.stream().clone()));
        Self { builder: row.builder(), rows: 0, name, stream, origin }
    }

    fn add(&mut self, mut row: ImportedRow) -> Result<(), ArrowError> {
        let (is_node, numbered_here) = (row.origin.is_node(), row.envelope.stream.is_none());
        if is_node {
            row.envelope.node = self.name.take();
        }
        if numbered_here {
            row.envelope.stream = self.stream.take();
        }
        self.builder.append(&row)?;
        if is_node {
            self.name = row.envelope.node;
        }
        if numbered_here {
            self.stream = row.envelope.stream;
        }
        self.rows += 1;
        Ok(())
    }
}

/// Takes rows and appends messages.
pub(crate) struct Outbox<'a> {
    log: &'a dyn EventLog,
    lake: &'a Lake,
    /// By table and stream.
    waiting: BTreeMap<Table, BTreeMap<String, Waiting>>,
    waiting_rows: usize,
    full: Vec<(Table, Waiting)>,
    ready: BTreeMap<Table, Vec<Message>>,
    ready_bytes: usize,
    /// Batch numbers used, by table.
    numbers: HashMap<Table, BatchNumbers>,
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
            numbers: HashMap::new(),
        }
    }

    /// Takes a row. True: it is time to [`Outbox::send`].
    pub(crate) fn put(&mut self, row: ImportedRow) -> Result<bool, ImportError> {
        let (table, origin) = (row.table(), Arc::clone(&row.origin));
        let of_table = self.waiting.entry(table).or_default();
        let stream = origin.stream().as_str();
        if !of_table.contains_key(stream) {
            of_table.insert(stream.to_owned(), Waiting::of(&row));
        }
        let Some(waiting) = of_table.get_mut(stream) else { return Ok(false) };
        waiting.add(row).map_err(|error| ImportError::Encode { table, source: error.into() })?;
        self.waiting_rows += 1;
        if waiting.rows >= MESSAGE_ROWS
            && let Some(full) = of_table.remove(stream)
        {
            self.full.push((table, full));
        }
        Ok(!self.full.is_empty() || self.waiting_rows >= MOST_ROWS)
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
        let (name, stream) = (waiting.origin.name(), waiting.origin.stream());
        let last = self.last_batch(table, stream).await?;
        let messages = Message::of_rows(&rows, name, stream, *last + 1).map_err(|error| failed(error.into()))?;
        *last += messages.len() as i64;
        self.ready_bytes += messages.iter().map(|message| message.payload.len()).sum::<usize>();
        self.ready.entry(table).or_default().extend(messages);
        Ok(())
    }

    /// Number of the stream's last message, which the caller moves on; -1 before the first.
    async fn last_batch(&mut self, table: Table, stream: &StreamId) -> Result<&mut i64, ImportError> {
        let topic = self.topic(table);
        let numbers = match self.numbers.entry(table) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(vacant) => {
                let failed = |error: LakeError| ImportError::Known { table, source: error.into() };
                let found = self.lake.existing(table).await.map_err(failed)?;
                // A stream's last batch is recorded for the topic, whichever partition it came by.
                let partition = Partition { topic, number: 0 }.to_string();
                vacant.insert(BatchNumbers::of(found.as_ref(), &partition).map_err(failed)?)
            }
        };
        Ok(numbers.last_of(stream))
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
                    // Readers of the log make room.
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

//! The entries of the store and their keys.
//!
//! ```text
//! keyspace meta      't' name                                  -> topic id u32, number of partitions u32
//!                    'p' topic id u32, partition u32           -> oldest offset i64, next offset i64, bytes held u64
//!                    'g' length u16, group, topic id, partition -> committed offset i64; -1: subscribed, not committed
//! keyspace messages  topic id u32, partition u32, offset u64   -> record
//! ```
//! Numbers in keys are big endian, so that keys sort as they do; in values they are little endian.

use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};

use super::state::Extent;
use crate::log::{Group, Topic};

/// Key of a message.
pub(super) const KEY_BYTES: usize = 16;
/// Written but not yet sorted messages in memory; up to four such are on their way to the disk.
const MEMTABLE_BYTES: u64 = 8 << 20;
/// Blocks kept in memory for readers; a reader that is up to date reads from the memtable anyway.
const CACHE_BYTES: u64 = 8 << 20;
/// Least that the store allows.
const JOURNAL_BYTES: u64 = 64 << 20;
/// Written by the store once a new folder is complete.
const MARKER: &str = "version";

pub(super) type StoreError = Box<dyn std::error::Error + Send + Sync>;

pub(super) struct Store {
    db: Database,
    meta: Keyspace,
    messages: Keyspace,
}

/// What `meta` holds.
pub(super) enum Entry {
    Topic { name: String, id: u32, partitions: u32 },
    Extent { id: u32, partition: u32, extent: Extent },
    Committed { group: Group, id: u32, partition: u32, next: Option<i64> },
}

impl Store {
    pub(super) fn open(dir: &Path) -> Result<Self, StoreError> {
        // The first open was cut off: nothing was stored yet, and the store does not open what is half made.
        if dir.try_exists()? && !dir.join(MARKER).try_exists()? {
            std::fs::remove_dir_all(dir)?;
        }
        let db = Database::builder(dir)
            .cache_size(CACHE_BYTES)
            .max_journaling_size(JOURNAL_BYTES)
            .worker_threads(2)
            .open()?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
        let (meta, messages) = (db.keyspace("meta", options)?, db.keyspace("messages", options)?);
        Ok(Self { db, meta, messages })
    }

    pub(super) fn write(&self) -> Write<'_> {
        Write { store: self, batch: self.db.batch() }
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = Result<Entry, StoreError>> {
        self.meta.iter().map(|found| {
            let (key, value) = found.into_inner()?;
            entry(&key, &value).ok_or_else(|| format!("the entry {key:?} is malformed").into())
        })
    }

    /// Messages of a partition with offsets in `[from, to)`, in order.
    pub(super) fn messages(
        &self,
        id: u32,
        partition: u32,
        from: i64,
        to: i64,
    ) -> impl Iterator<Item = Result<(i64, fjall::Slice), StoreError>> {
        self.messages.range(message_key(id, partition, from)..message_key(id, partition, to.max(from))).map(|found| {
            let (key, value) = found.into_inner()?;
            let offset = key.get(8..).and_then(|bytes| bytes.try_into().ok()).map(i64::from_be_bytes);
            Ok((offset.ok_or("a message's key is malformed")?, value))
        })
    }
}

/// Changes that are applied atomically.
pub(super) struct Write<'a> {
    store: &'a Store,
    batch: OwnedWriteBatch,
}

impl Write<'_> {
    pub(super) fn topic(&mut self, topic: &Topic, id: u32, partitions: u32) {
        let key = [b"t", topic.to_string().as_bytes()].concat();
        self.batch.insert(&self.store.meta, key, [id.to_le_bytes(), partitions.to_le_bytes()].concat());
    }

    pub(super) fn extent(&mut self, id: u32, partition: u32, extent: Extent) {
        let value = [extent.low.to_le_bytes(), extent.next.to_le_bytes(), extent.bytes.to_le_bytes()].concat();
        self.batch.insert(&self.store.meta, partition_key(b"p", id, partition), value);
    }

    pub(super) fn committed(&mut self, group: &Group, id: u32, partition: u32, next: Option<i64>) {
        let value = next.unwrap_or(-1).to_le_bytes();
        self.batch.insert(&self.store.meta, group_key(group, id, partition), value);
    }

    pub(super) fn forget_committed(&mut self, group: &Group, id: u32, partition: u32) {
        self.batch.remove(&self.store.meta, group_key(group, id, partition));
    }

    pub(super) fn message(&mut self, id: u32, partition: u32, offset: i64, record: Vec<u8>) {
        self.batch.insert(&self.store.messages, message_key(id, partition, offset), record);
    }

    pub(super) fn remove_message(&mut self, id: u32, partition: u32, offset: i64) {
        self.batch.remove(&self.store.messages, message_key(id, partition, offset));
    }

    /// Survives a crash of the process, and once a later durable write returns, that of the machine.
    pub(super) fn commit(self) -> Result<(), StoreError> {
        Ok(self.batch.durability(Some(PersistMode::Buffer)).commit()?)
    }

    /// Survives a crash of the machine.
    pub(super) fn commit_durably(self) -> Result<(), StoreError> {
        Ok(self.batch.durability(Some(PersistMode::SyncData)).commit()?)
    }
}

fn partition_key(kind: &[u8; 1], id: u32, partition: u32) -> Vec<u8> {
    [&kind[..], &id.to_be_bytes(), &partition.to_be_bytes()].concat()
}

fn group_key(group: &Group, id: u32, partition: u32) -> Vec<u8> {
    let length = (group.0.len() as u16).to_be_bytes();
    [b"g", &length[..], group.0.as_bytes(), &id.to_be_bytes(), &partition.to_be_bytes()].concat()
}

fn message_key(id: u32, partition: u32, offset: i64) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    key[..4].copy_from_slice(&id.to_be_bytes());
    key[4..8].copy_from_slice(&partition.to_be_bytes());
    key[8..].copy_from_slice(&offset.max(0).to_be_bytes());
    key
}

fn entry(key: &[u8], value: &[u8]) -> Option<Entry> {
    let (kind, rest) = key.split_first()?;
    let number = |bytes: &[u8]| bytes.try_into().ok().map(u32::from_be_bytes);
    let small = |place: usize| value.get(place..place + 4)?.try_into().ok().map(u32::from_le_bytes);
    let large = |place: usize| value.get(place..place + 8)?.try_into().ok().map(i64::from_le_bytes);
    match kind {
        b't' => {
            Some(Entry::Topic { name: String::from_utf8(rest.to_vec()).ok()?, id: small(0)?, partitions: small(4)? })
        }
        b'p' => {
            let extent = Extent { low: large(0)?, next: large(8)?, bytes: large(16)? as u64 };
            Some(Entry::Extent { id: number(rest.get(..4)?)?, partition: number(rest.get(4..)?)?, extent })
        }
        b'g' => {
            let length = usize::from(u16::from_be_bytes(rest.get(..2)?.try_into().ok()?));
            let group = Group(String::from_utf8(rest.get(2..2 + length)?.to_vec()).ok()?);
            let place = rest.get(2 + length..)?;
            let next = large(0).filter(|next| *next >= 0);
            Some(Entry::Committed { group, id: number(place.get(..4)?)?, partition: number(place.get(4..)?)?, next })
        }
        _ => None,
    }
}

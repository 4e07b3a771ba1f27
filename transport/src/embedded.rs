//! The event log inside one process, on a key-value store (fjall): for a single machine, and as the collector's spool.
//!
//! Topics are made when first used, with the partitions that [`EmbeddedOptions`] say. A message stays until every group
//! that ever subscribed to its topic has committed past it, and for [`EmbeddedOptions::keep`] beyond, while there is
//! room; a topic that no group has subscribed to keeps everything. So nothing unread is ever removed: at
//! [`EmbeddedOptions::max_bytes`] appends are refused with [`LogError::Full`], until readers have caught up or a group
//! that is gone was [forgotten](EmbeddedLog::forget). [`EmbeddedOptions::expendable`] groups are the exception.
//!
//! Invariant: an append is one transaction of the store, with one fsync: all of its messages are there, or none.
//! Invariant: memory does not grow with what is held, only with topics, groups and members.
//! Invariant: one process at a time has the folder open.

mod consumer;
mod expired;
mod format;
mod groups;
mod record;
mod state;
mod store;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use kerntrail_common::lock::{FileLock, LockError};
use tokio::sync::Notify;
use xxhash_rust::xxh3::xxh3_64;

use crate::blocking::failed_for_good as failed;
use crate::log::{Consumer, EventLog, Group, LogError, Message, Partition, Position, Topic};
use crate::metrics::{EXPIRED_TOTAL, FULL_TOTAL, HELD_BYTES, appended};
use crate::newer::Newer;
use consumer::EmbeddedConsumer;
pub use expired::Expired;
use expired::ExpiredRows;
use state::State;
use store::Store;

/// Messages removed in one transaction.
const REMOVED_AT_ONCE: usize = 1024;

/// What the embedded log keeps, and how much.
#[derive(Clone, Debug)]
pub struct EmbeddedOptions {
    /// Bytes of messages held at most. The folder can take up to twice that and 200 MB more: removed messages
    /// leave the disk some time later, and the store writes ahead.
    pub max_bytes: u64,
    /// How long a message stays that all groups have read, if there is room.
    pub keep: Duration,
    /// Partitions of a topic made from now on; at least one. A topic keeps the number it was made with.
    pub partitions: u32,
    /// Prefix of the names of groups that must not block the others: when the log is full otherwise, the
    /// oldest messages that only they have not read are removed. They see the gap in the offsets, and
    /// [`EmbeddedLog::expired`] has the rows. `None`: no group.
    pub expendable: Option<String>,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self { max_bytes: 4 << 30, keep: Duration::ZERO, partitions: 1, expendable: None }
    }
}

/// Why the log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("{} is in use by another process{}", dir.display(), process.map(|id| format!(" ({id})")).unwrap_or_default())]
    InUse {
        /// The folder of the log.
        dir: PathBuf,
        /// Id of the process, where it is known.
        process: Option<u32>,
    },
    /// The folder or its lock cannot be made.
    #[error("cannot use the folder {}", dir.display())]
    Folder {
        /// The folder of the log.
        dir: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A newer release wrote the folder; it is left unchanged.
    #[error("cannot open the event log in {}: {newer}", dir.display())]
    Newer {
        /// The folder of the log.
        dir: PathBuf,
        /// Which version is newer.
        newer: Newer,
    },
    /// The store in the folder cannot be read.
    #[error("cannot open the event log in {}", dir.display())]
    Store {
        /// The folder of the log.
        dir: PathBuf,
        /// The store's own error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The embedded log. A clone is the same log; it is closed when the last clone and the last consumer are dropped.
#[derive(Clone)]
pub struct EmbeddedLog {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    options: EmbeddedOptions,
    /// Held while the store is changed; always taken before `state`.
    writer: Mutex<()>,
    state: Mutex<State>,
    /// Notified when messages arrive or the partitions of a member change.
    changed: Notify,
    expired: ExpiredRows,
    /// Dropped last: the store must be closed before another process opens it.
    _lock: FileLock,
}

impl EmbeddedLog {
    /// Opens the log in `dir`, which is made when absent. Reads as much as was written since the store last cleaned up,
    /// at most some 100 MB. A write that was cut off by a crash is undone.
    ///
    /// Errors: see [`OpenError`].
    pub async fn open(dir: impl Into<PathBuf>, options: EmbeddedOptions) -> Result<Self, OpenError> {
        let dir = dir.into();
        let shared = tokio::task::spawn_blocking(move || Shared::open(&dir, options)).await;
        let shared = shared.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Bytes of the messages that it holds.
    pub fn held_bytes(&self) -> u64 {
        self.shared.state().held_bytes()
    }

    /// Groups that have subscribed, and may hold back messages.
    pub fn groups(&self) -> Vec<Group> {
        self.shared.state().groups()
    }

    /// Waits until rows were removed before a group had read them, and returns what there is since the last call.
    pub async fn expired(&self) -> Vec<Expired> {
        loop {
            let counted = self.shared.expired.counted.notified();
            let expired = self.shared.expired.take();
            if !expired.is_empty() {
                return expired;
            }
            counted.await;
        }
    }

    /// Forgets the offsets of `group`, which will not read again: messages do not wait for it any longer. What it has not
    /// read counts as [expired](EmbeddedLog::expired).
    ///
    /// Errors: the group has a member, or the store fails.
    pub async fn forget(&self, group: &Group) -> Result<(), LogError> {
        let group = group.clone();
        self.blocking(move |shared| shared.forget(&group)).await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        let shared = Arc::clone(&self.shared);
        blocking(move || work(&shared)).await
    }
}

/// Runs `work` where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    crate::blocking::blocking("the event log", work).await
}

#[async_trait]
impl EventLog for EmbeddedLog {
    async fn append(&self, topic: &Topic, messages: Vec<Message>) -> Result<(), LogError> {
        let topic = topic.clone();
        self.blocking(move |shared| shared.append(&topic, &messages)).await
    }

    async fn subscribe(&self, group: &Group, topics: &[Topic]) -> Result<Box<dyn Consumer>, LogError> {
        let (joined, topics) = (group.clone(), topics.to_vec());
        let member = self.blocking(move |shared| shared.join(&joined, &topics)).await?;
        Ok(Box::new(EmbeddedConsumer::new(Arc::clone(&self.shared), group.clone(), member)))
    }

    async fn end(&self, topic: &Topic) -> Result<Vec<Position>, LogError> {
        let state = self.shared.state();
        Ok(match state.extents(topic) {
            Some(extents) => extents.map(|(partition, extent)| Position { partition, next: extent.next }).collect(),
            None => (0..self.shared.options.partitions.max(1) as i32)
                .map(|number| Position { partition: Partition { topic: topic.clone(), number }, next: 0 })
                .collect(),
        })
    }

    async fn oldest(&self, topic: &Topic) -> Result<Vec<Position>, LogError> {
        let state = self.shared.state();
        let low = |(partition, extent): (Partition, state::Extent)| Position { partition, next: extent.low };
        Ok(state.extents(topic).into_iter().flatten().map(low).collect())
    }

    async fn committed(&self, group: &Group, topic: &Topic) -> Result<Vec<Position>, LogError> {
        Ok(self.shared.state().committed(group, topic))
    }
}

impl Shared {
    fn open(dir: &Path, options: EmbeddedOptions) -> Result<Self, OpenError> {
        let lock = FileLock::take(&dir.join("lock")).map_err(|error| match error {
            LockError::Held { process } => OpenError::InUse { dir: dir.to_owned(), process },
            LockError::Io(source) => OpenError::Folder { dir: dir.to_owned(), source },
        })?;
        format::check(dir)?;
        let failed = |source| OpenError::Store { dir: dir.to_owned(), source };
        let store = Store::open(&dir.join("store")).map_err(failed)?;
        let state = State::load(&store).map_err(failed)?;
        metrics::gauge!(HELD_BYTES).set(state.held_bytes() as f64);
        let (writer, state, changed) = (Mutex::new(()), Mutex::new(state), Notify::new());
        Ok(Self { store, options, writer, state, changed, expired: ExpiredRows::default(), _lock: lock })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writing(&self) -> MutexGuard<'_, ()> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, topic: &Topic, messages: &[Message]) -> Result<(), LogError> {
        if messages.is_empty() {
            return Ok(());
        }
        let operation = || format!("append to {topic}");
        let _writing = self.writing();
        self.make(topic)?;
        let now = now_ms();
        let records = messages.iter().map(|message| record::encode(message, now)).collect::<Result<Vec<_>, _>>();
        let records = records.map_err(|reason| failed(operation(), reason))?;
        let held = |record: &Vec<u8>| (store::KEY_BYTES + record.len()) as u64;
        self.make_room(records.iter().map(held).sum())?;
        let Some((id, mut extents)) = self.state().topic(topic) else {
            return Err(failed(operation(), "the topic no longer exists"));
        };
        let mut write = self.store.write();
        for (message, record) in messages.iter().zip(records) {
            let number = partition_of(&message.headers.node, extents.len());
            let extent = &mut extents[number];
            extent.bytes += held(&record);
            write.message(id, number as u32, extent.next, record);
            extent.next += 1;
        }
        for (number, extent) in extents.iter().enumerate() {
            write.extent(id, number as u32, *extent);
        }
        write.commit_durably().map_err(|error| failed(operation(), error))?;
        self.publish(topic, extents);
        appended("embedded", topic.table.name(), messages);
        Ok(())
    }

    fn publish(&self, topic: &Topic, extents: Vec<state::Extent>) {
        let mut state = self.state();
        state.set_extents(topic, extents);
        metrics::gauge!(HELD_BYTES).set(state.held_bytes() as f64);
        drop(state);
        self.changed.notify_waiters();
    }

    /// Makes `topic` where it is not there; the caller writes.
    fn make(&self, topic: &Topic) -> Result<(), LogError> {
        if self.state().topic(topic).is_some() {
            return Ok(());
        }
        let (id, partitions) = (self.state().next_topic_id(), self.options.partitions.max(1));
        let mut write = self.store.write();
        write.topic(topic, id, partitions);
        write.commit().map_err(|error| failed(format!("create the topic {topic}"), error))?;
        self.state().add_topic(topic.clone(), id, partitions);
        Ok(())
    }

    /// Removes what all have read where `added` bytes do not fit otherwise. An empty log takes anything.
    fn make_room(&self, added: u64) -> Result<(), LogError> {
        let limit = self.options.max_bytes;
        let fits = |held: u64| held == 0 || held.saturating_add(added) <= limit;
        if fits(self.state().held_bytes()) {
            return Ok(());
        }
        self.trim(u64::MAX)?;
        let held = self.state().held_bytes();
        if fits(held) || self.expire(fits)? {
            return Ok(());
        }
        metrics::counter!(FULL_TOTAL).increment(1);
        Err(LogError::Full { held, limit })
    }

    /// Removes messages that all groups have read and that were appended before `cutoff` (ms since the Unix epoch).
    /// The caller writes.
    fn trim(&self, cutoff: u64) -> Result<(), LogError> {
        let partitions = self.state().read_by_all(|_| true);
        for (partition, floor) in partitions {
            while self.trim_some(&partition, floor, cutoff, &[])? {}
        }
        Ok(())
    }

    /// Removes the oldest messages that only expendable groups have not read, until it `fits`; whether it does then.
    /// The caller writes.
    fn expire(&self, fits: impl Fn(u64) -> bool) -> Result<bool, LogError> {
        let Some(beginning) = &self.options.expendable else { return Ok(false) };
        let is_expendable = |group: &Group| group.0.starts_with(beginning.as_str());
        let partitions = self.state().read_by_all(|group| !is_expendable(group));
        for (partition, floor) in partitions {
            let readers = self.state().starts(&partition, is_expendable);
            loop {
                let more = self.trim_some(&partition, floor, u64::MAX, &readers)?;
                tracing::warn!(%partition, "the event log is full: removed messages that a sink has not read");
                metrics::counter!(EXPIRED_TOTAL).increment(1);
                if fits(self.state().held_bytes()) {
                    return Ok(true);
                }
                if !more {
                    break;
                }
            }
        }
        Ok(false)
    }

    /// Removes the oldest messages of `partition` below `floor`; whether there may be more. They are counted for the
    /// `readers` that have not read them, each with the offset where it resumes.
    fn trim_some(
        &self,
        partition: &Partition,
        floor: i64,
        cutoff: u64,
        readers: &[(Group, i64)],
    ) -> Result<bool, LogError> {
        let operation = || format!("remove read messages of {partition}");
        let Some((id, mut extents)) = self.state().topic(&partition.topic) else { return Ok(false) };
        let number = partition.number as u32;
        let Some(extent) = extents.get_mut(number as usize) else { return Ok(false) };
        let mut write = self.store.write();
        let mut removed = 0;
        for found in self.store.messages(id, number, extent.low, floor) {
            let (offset, record) = found.map_err(|error| failed(operation(), error))?;
            if removed == REMOVED_AT_ONCE || record::appended_at(&record) > cutoff {
                break;
            }
            let unread = readers.iter().filter(|(_, next)| *next <= offset).map(|(group, _)| group);
            self.expired.count(&unread.collect::<Vec<_>>(), partition, &record);
            write.remove_message(id, number, offset);
            extent.low = offset + 1;
            extent.bytes = extent.bytes.saturating_sub((store::KEY_BYTES + record.len()) as u64);
            removed += 1;
        }
        if removed == 0 {
            return Ok(false);
        }
        write.extent(id, number, *extent);
        write.commit().map_err(|error| failed(operation(), error))?;
        self.publish(&partition.topic, extents);
        Ok(removed == REMOVED_AT_ONCE)
    }

    fn join(&self, group: &Group, topics: &[Topic]) -> Result<groups::MemberId, LogError> {
        let _writing = self.writing();
        for topic in topics {
            self.make(topic)?;
        }
        let mut write = self.store.write();
        let mut state = self.state();
        let partitions = state.partitions(topics);
        let new = state.unregistered(group, &partitions);
        for (partition, id) in &new {
            write.committed(group, *id, partition.number as u32, None);
        }
        write.commit().map_err(|error| failed(format!("register the group {}", group.0), error))?;
        state.register(group, new.into_iter().map(|(partition, _)| partition));
        let member = state.members.join(group, &partitions);
        drop(state);
        self.changed.notify_waiters();
        Ok(member)
    }

    fn leave(&self, group: &Group, member: groups::MemberId) {
        self.state().members.leave(group, member);
        self.changed.notify_waiters();
    }

    /// Stores offsets of `group`, then removes what nobody needs any longer.
    fn commit(&self, group: &Group, member: groups::MemberId, positions: &[Position]) -> Result<(), LogError> {
        let _writing = self.writing();
        let mut write = self.store.write();
        for Position { partition, next } in positions {
            let operation = || format!("commit offset {next} of {partition}");
            let mut state = self.state();
            if !state.members.owns(group, member, partition) {
                return Err(failed(operation(), "the partition is not assigned"));
            }
            let Some((id, _)) = state.topic(&partition.topic) else {
                return Err(failed(operation(), "there is no such topic"));
            };
            write.committed(group, id, partition.number as u32, Some(*next));
            state.set_committed(group, partition, *next);
        }
        write.commit().map_err(|error| failed(format!("commit offsets of {}", group.0), error))?;
        self.trim(now_ms().saturating_sub(self.options.keep.as_millis() as u64))
    }

    fn forget(&self, group: &Group) -> Result<(), LogError> {
        let operation = || format!("remove the group {}", group.0);
        let _writing = self.writing();
        let mut state = self.state();
        if state.members.is_joined(group) {
            return Err(failed(operation(), "the group has a member"));
        }
        let mut write = self.store.write();
        let mut unread = Vec::new();
        for (partition, id) in state.registered(group) {
            let number = partition.number as u32;
            write.forget_committed(group, id, number);
            let end = state.extent(&partition).map_or(0, |(_, extent)| extent.next);
            unread.push((id, state.start(group, &partition)..end, partition));
        }
        write.commit().map_err(|error| failed(operation(), error))?;
        state.forget(group);
        drop(state);
        for (id, offsets, partition) in unread {
            for found in self.store.messages(id, partition.number as u32, offsets.start, offsets.end) {
                let (_, record) = found.map_err(|error| failed(operation(), error))?;
                self.expired.count(&[group], &partition, &record);
            }
        }
        Ok(())
    }
}

/// Messages of a node share a partition, so they keep their order.
fn partition_of(node: &str, partitions: usize) -> usize {
    (xxh3_64(node.as_bytes()) % partitions.max(1) as u64) as usize
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

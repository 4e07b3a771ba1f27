//! What an event log offers: topics, partitions, offsets, consumer groups.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use kerntrail_schemas::Table;
use kerntrail_schemas::identity::StreamId;

use crate::newer::Newer;

/// A topic: one per tenant and table, named `kerntrail.<tenant>.<table>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic {
    /// Whose rows; Kafka ACLs isolate tenants.
    pub tenant: String,
    /// Which table's rows.
    pub table: Table,
}

impl Topic {
    /// The topic of this name; `None` where the name is not that of a topic of kerntrail.
    pub fn parse(name: &str) -> Option<Self> {
        let (tenant, table) = name.strip_prefix("kerntrail.")?.rsplit_once('.')?;
        let table = table.parse().ok()?;
        (!tenant.is_empty()).then(|| Self { tenant: tenant.to_owned(), table })
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kerntrail.{}.{}", self.tenant, self.table)
    }
}

/// One partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition {
    /// The topic.
    pub topic: Topic,
    /// Number within the topic, from 0.
    pub number: i32,
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.number)
    }
}

/// A place in a partition: the offset of the next message to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The partition.
    pub partition: Partition,
    /// Offset of the next message.
    pub next: i64,
}

/// What is known of a message without decoding it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headers {
    /// [`kerntrail_schemas::SCHEMA_VERSION`] of the writer.
    pub schema_version: u16,
    /// Node the rows come from; also the message's key.
    pub node: String,
    /// Who numbered the rows and the batches.
    pub stream: StreamId,
    /// Rises by one with each message of the stream and table. A resend has the same number, so that a
    /// consumer drops a number that it has already taken.
    pub batch: i64,
    /// Number of rows.
    pub rows: u32,
    /// Lowest and highest `seq` of the rows.
    pub seq_range: (i64, i64),
}

/// 1..N rows of one table, encoded by [`crate::codec`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What is known of it without decoding.
    pub headers: Headers,
    /// The encoded rows, at most 1 MiB.
    pub payload: Bytes,
}

/// A message as a consumer got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Its position.
    pub partition: Partition,
    /// Its offset there.
    pub offset: i64,
    /// The message.
    pub message: Message,
}

/// What a poll brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Polled {
    /// Messages, in order within each partition; empty when none came in time.
    Messages(Vec<Delivered>),
    /// The partitions that this consumer reads from now on; it resumes at the group's committed offsets
    /// (or the oldest message) unless it seeks. Delivered before any message of them.
    Assigned(Vec<Partition>),
    /// Partitions that another consumer of the group reads from now on: drop what was buffered of them.
    Revoked(Vec<Partition>),
}

/// Name of a consumer group: its members share the partitions, and its offsets survive restarts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group(pub String);

/// An event log.
#[async_trait]
pub trait EventLog: Send + Sync {
    /// Appends `messages` in order and returns when they are durable.
    ///
    /// Errors: `Full` when the log's bound is reached (nothing was appended; wait and try again), else as named.
    /// After another error some of the messages may be in the log, or get there later: append them again with the same
    /// batch numbers, before any that come after them. [`append_patiently`](crate::append_patiently) does.
    async fn append(&self, topic: &Topic, messages: Vec<Message>) -> Result<(), LogError>;

    /// Joins `group` as a reader of `topics`.
    async fn subscribe(&self, group: &Group, topics: &[Topic]) -> Result<Box<dyn Consumer>, LogError>;

    /// For each partition of `topic`, the offset that the next appended message will get.
    async fn end(&self, topic: &Topic) -> Result<Vec<Position>, LogError>;

    /// For each partition of `topic`, the offset of the oldest message, where a group that has committed nothing begins;
    /// none where that is not known.
    async fn oldest(&self, topic: &Topic) -> Result<Vec<Position>, LogError>;

    /// On whose behalf `group` has committed offsets of `topic`: what [`KafkaOptions::reader`](crate::KafkaOptions::reader) of
    /// those who committed last was. Empty for a log that only one program can read.
    async fn readers(&self, _group: &Group, _topic: &Topic) -> Result<BTreeSet<String>, LogError> {
        Ok(BTreeSet::new())
    }

    /// For each partition of `topic`, the offset that `group` committed; none where it has not.
    async fn committed(&self, group: &Group, topic: &Topic) -> Result<Vec<Position>, LogError>;
}

/// A member of a consumer group.
#[async_trait]
pub trait Consumer: Send + Sync {
    /// Waits at most `wait` for messages and returns at most `most` of them (at least one is allowed), or a change of
    /// assignment. Cancel-safe: a poll that is dropped has taken nothing.
    async fn poll(&mut self, most: usize, wait: Duration) -> Result<Polled, LogError>;

    /// Resumes `position.partition` at `position.next`, also when it was paused; the partition must be assigned.
    async fn seek(&mut self, position: &Position) -> Result<(), LogError>;

    /// Stops reading `partition` until it is sought or assigned again. It stays assigned, and prefetched messages are
    /// dropped, so the caller keeps the position at which to resume.
    async fn pause(&mut self, partition: &Partition) -> Result<(), LogError>;

    /// Stores positions for the group; a later subscription resumes there.
    ///
    /// Errors: a partition is not, or no longer, assigned to this member; else as named.
    async fn commit(&mut self, positions: &[Position]) -> Result<(), LogError>;
}

/// What failed in the event log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The log's bound is reached; nothing was appended.
    #[error("the event log is full ({held} of {limit} bytes)")]
    Full {
        /// Bytes held.
        held: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// An operation on the store or the broker failed.
    #[error("cannot {operation}")]
    Failed {
        /// What was tried, with topic and offset where they matter.
        operation: String,
        /// The store's or the broker's own error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
        /// Whether trying again may help.
        retriable: bool,
    },
    /// What was read is not a message of kerntrail: its headers are missing or malformed. [`Consumer::poll`] returns what
    /// precedes it first, then this error, then what follows it. A payload that does not decode is not this error.
    #[error("message {offset} of {partition} is damaged: {reason}")]
    Damaged {
        /// Its position.
        partition: Partition,
        /// Its offset.
        offset: i64,
        /// What is wrong with it.
        reason: String,
    },
    /// A newer release appended the message, in a form that this one does not know. [`Consumer::poll`] returns what
    /// precedes it first, then this error once, and pauses the partition there.
    #[error("message {offset} of {partition} cannot be read: {newer}")]
    Newer {
        /// Its position.
        partition: Partition,
        /// Its offset.
        offset: i64,
        /// What of it is newer.
        newer: Newer,
    },
}

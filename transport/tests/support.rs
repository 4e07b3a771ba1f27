//! What the tests share.

use std::time::Duration;

use bytes::Bytes;
use kerntrail_schemas::Table;
use kerntrail_schemas::identity::StreamId;
use kerntrail_transport::{
    Consumer, Delivered, EmbeddedLog, EmbeddedOptions, EventLog, Group, Headers, LogError, Message, Partition, Polled,
    Topic,
};
use tokio::time::Instant;

/// Longest wait for a state; nothing waits that long unless it is broken.
pub(crate) const LIMIT: Duration = Duration::from_secs(240);

pub(crate) fn topic(tenant: &str) -> Topic {
    Topic { tenant: tenant.to_owned(), table: Table::ProcessEvents }
}

pub(crate) fn group(name: &str) -> Group {
    Group(name.to_owned())
}

/// Message `batch` of `node`, whose only stream has its name.
pub(crate) fn message(node: &str, batch: i64) -> Message {
    sized(node, batch, 20)
}

pub(crate) fn sized(node: &str, batch: i64, bytes: usize) -> Message {
    let headers = Headers {
        schema_version: 1,
        node: node.to_owned(),
        stream: StreamId::new(format!("stream of {node}")),
        batch,
        rows: 3,
        seq_range: (batch * 3, batch * 3 + 2),
    };
    let mut payload = format!("{node} {batch} ").into_bytes();
    payload.resize(payload.len().max(bytes), b'x');
    Message { headers, payload: Bytes::from(payload) }
}

pub(crate) fn messages(node: &str, batches: std::ops::Range<i64>) -> Vec<Message> {
    batches.map(|batch| message(node, batch)).collect()
}

/// Polls until `done` says so of what has come.
pub(crate) async fn read_until(consumer: &mut dyn Consumer, done: impl Fn(&Seen) -> bool) -> Seen {
    let mut seen = Seen::default();
    let deadline = Instant::now() + LIMIT;
    while !done(&seen) {
        assert!(Instant::now() < deadline, "not done in time; so far: {seen:?}");
        match consumer.poll(100, Duration::from_millis(200)).await {
            Ok(Polled::Messages(messages)) => {
                let stray = messages.iter().find(|message| !seen.assigned.contains(&message.partition));
                assert!(stray.is_none(), "a message before its partition was assigned: {stray:?}");
                seen.messages.extend(messages);
            }
            Ok(Polled::Assigned(partitions)) => seen.assigned.extend(partitions),
            Ok(Polled::Revoked(partitions)) => seen.assigned.retain(|partition| !partitions.contains(partition)),
            Err(LogError::Damaged { partition, offset, .. }) => seen.damaged.push((partition, offset)),
            Err(error) => panic!("poll failed: {error:?}"),
        }
    }
    seen
}

/// What a consumer has got.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) messages: Vec<Delivered>,
    pub(crate) assigned: Vec<Partition>,
    pub(crate) damaged: Vec<(Partition, i64)>,
}

impl Seen {
    /// Batch numbers in the order they came.
    pub(crate) fn batches(&self) -> Vec<i64> {
        self.messages.iter().map(|delivered| delivered.message.headers.batch).collect()
    }
}

/// Reads `count` messages of a consumer whose partitions were assigned before.
pub(crate) async fn read_on(consumer: &mut dyn Consumer, count: usize) -> Seen {
    let mut seen = Seen::default();
    let deadline = Instant::now() + LIMIT;
    while seen.messages.len() < count {
        assert!(Instant::now() < deadline, "{count} messages are not there in time; so far: {seen:?}");
        if let Polled::Messages(messages) =
            consumer.poll(count - seen.messages.len(), Duration::from_millis(200)).await.unwrap()
        {
            seen.messages.extend(messages);
        }
    }
    seen
}

/// Reads `count` messages, from the first assignment on.
pub(crate) async fn read(consumer: &mut dyn Consumer, count: usize) -> Seen {
    let seen = read_until(consumer, |seen| seen.messages.len() >= count).await;
    assert_eq!(seen.messages.len(), count, "{seen:?}");
    seen
}

pub(crate) async fn subscribe(log: &dyn EventLog, name: &str, topic: &Topic) -> Box<dyn Consumer> {
    log.subscribe(&group(name), std::slice::from_ref(topic)).await.unwrap()
}

pub(crate) async fn open(dir: &std::path::Path, options: EmbeddedOptions) -> EmbeddedLog {
    EmbeddedLog::open(dir, options).await.unwrap()
}

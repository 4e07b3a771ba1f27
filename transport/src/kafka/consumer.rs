//! A member of a consumer group.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::KafkaOptions;
use super::client::{self, TIMEOUT, failed};
use super::headers;
use crate::blocking::failed_for_good;
use crate::log::{Consumer, Delivered, Group, LogError, Message, Partition, Polled, Position, Topic};

/// Payload bytes of one poll; at least one message comes even if it is larger.
const POLL_BYTES: usize = 16 << 20;
/// Between two attempts to seek in a partition that librdkafka has not begun to fetch.
const SEEK_AGAIN: Duration = Duration::from_millis(20);

pub(super) struct KafkaConsumer {
    inner: Arc<StreamConsumer<Membership>>,
    changes: Arc<Changes>,
    topics: HashMap<String, Topic>,
    /// On whose behalf it commits.
    reader: String,
    assigned: Vec<Partition>,
    /// Those of them that librdkafka does not fetch.
    paused: Vec<Partition>,
    /// Where reading goes on after a seek. A seek right after the assignment can be overtaken by librdkafka's own start, from
    /// the committed offset or the first message.
    sought: HashMap<Partition, i64>,
    /// Read already, and due after the changes that came before it.
    stash: VecDeque<Result<Delivered, LogError>>,
}

/// Changes of assignment, in order. librdkafka makes them while it is polled, and each poll hands them on.
#[derive(Default)]
struct Changes {
    waiting: Mutex<VecDeque<Change>>,
    arrived: Notify,
}

enum Change {
    Assigned(Vec<(String, i32)>),
    Revoked(Vec<(String, i32)>),
}

impl Changes {
    fn push(&self, change: Change) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back(change);
        self.arrived.notify_one();
    }

    fn pop(&self) -> Option<Change> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    fn is_empty(&self) -> bool {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

/// What librdkafka calls when the assignment changes.
struct Membership(Arc<Changes>);

impl ClientContext for Membership {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client::note(&error, reason);
    }
}

impl ConsumerContext for Membership {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(list) = rebalance {
            self.push(list, Change::Revoked);
        }
    }

    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => self.push(list, Change::Assigned),
            Rebalance::Revoke(_) => {}
            Rebalance::Error(error) => tracing::warn!(%error, "the consumer group failed to rebalance"),
        }
    }
}

impl Membership {
    fn push(&self, list: &TopicPartitionList, change: impl FnOnce(Vec<(String, i32)>) -> Change) {
        let partitions: Vec<_> =
            list.elements().iter().map(|place| (place.topic().to_owned(), place.partition())).collect();
        if !partitions.is_empty() {
            self.0.push(change(partitions));
        }
    }
}

impl KafkaConsumer {
    pub(super) fn join(options: &KafkaOptions, group: &Group, topics: &[Topic]) -> Result<Self, LogError> {
        let operation = || format!("join the group {}", group.0);
        let changes = Arc::new(Changes::default());
        let member = client::member(options, group).create_with_context(Membership(Arc::clone(&changes)));
        let inner: StreamConsumer<Membership> = member.map_err(|error| failed(operation(), error))?;
        let topics: HashMap<String, Topic> = topics.iter().map(|topic| (topic.to_string(), topic.clone())).collect();
        let names: Vec<&str> = topics.keys().map(String::as_str).collect();
        inner.subscribe(&names).map_err(|error| failed(operation(), error))?;
        let (assigned, paused, sought, stash) = (Vec::new(), Vec::new(), HashMap::new(), VecDeque::new());
        let reader = options.reader.clone();
        Ok(Self { inner: Arc::new(inner), changes, topics, reader, assigned, paused, sought, stash })
    }

    fn partition(&self, topic: &str, number: i32) -> Option<Partition> {
        Some(Partition { topic: self.topics.get(topic)?.clone(), number })
    }

    fn change(&mut self) -> Option<Polled> {
        let named = |list: Vec<(String, i32)>, of: &Self| -> Vec<Partition> {
            list.into_iter().filter_map(|(topic, number)| of.partition(&topic, number)).collect()
        };
        match self.changes.pop()? {
            Change::Assigned(list) => {
                let partitions = named(list, self);
                self.assigned.extend(partitions.iter().cloned());
                for partition in &partitions {
                    self.sought.remove(partition);
                    // It may be one that was paused, revoked and came back.
                    if let Err(error) = self.resume(partition) {
                        tracing::warn!(%partition, %error, "cannot resume a partition");
                    }
                }
                Some(Polled::Assigned(partitions))
            }
            Change::Revoked(list) => {
                let partitions = named(list, self);
                self.assigned.retain(|partition| !partitions.contains(partition));
                self.forget(|partition| partitions.contains(partition));
                Some(Polled::Revoked(partitions))
            }
        }
    }

    /// Has librdkafka fetch `partition` again, if it was paused.
    fn resume(&mut self, partition: &Partition) -> Result<(), KafkaError> {
        if let Some(number) = self.paused.iter().position(|paused| paused == partition) {
            self.inner.resume(&list_of_one(partition))?;
            self.paused.swap_remove(number);
        }
        Ok(())
    }

    /// Drops what was read ahead of some partitions.
    fn forget(&mut self, of: impl Fn(&Partition) -> bool) {
        self.stash.retain(|read| match read {
            Ok(Delivered { partition, .. })
            | Err(LogError::Damaged { partition, .. } | LogError::Newer { partition, .. }) => !of(partition),
            Err(_) => true,
        });
    }

    fn delivered(&self, message: &BorrowedMessage<'_>) -> Result<Delivered, LogError> {
        let partition = self.partition(message.topic(), message.partition()).ok_or_else(|| {
            failed_for_good("read", format!("received a message of {}, which is not assigned", message.topic()))
        })?;
        let offset = message.offset();
        match headers::read(message) {
            Ok(headers) => {
                let payload = Bytes::copy_from_slice(message.payload().unwrap_or_default());
                Ok(Delivered { partition, offset, message: Message { headers, payload } })
            }
            Err(reason) => Err(LogError::Damaged { partition, offset, reason }),
        }
    }

    /// Waits for something to read, or for a change.
    async fn wait(&mut self, deadline: Instant) {
        let changes = Arc::clone(&self.changes);
        let inner = Arc::clone(&self.inner);
        tokio::select! {
            received = inner.recv() => self.receive(received),
            () = changes.arrived.notified() => {}
            () = tokio::time::sleep_until(deadline) => {}
        }
    }

    fn receive(&mut self, received: Result<BorrowedMessage<'_>, KafkaError>) {
        let read = match received {
            Ok(message) => {
                client::note_back();
                let offset = message.offset();
                if let Some(partition) = self.partition(message.topic(), message.partition())
                    && let Some(next) = self.sought.get(&partition)
                {
                    if offset < *next {
                        return tracing::debug!(offset, "a message from before the position that was sought");
                    }
                    self.sought.remove(&partition);
                }
                self.delivered(&message)
            }
            // librdkafka retries by itself.
            Err(error) if is_passing(&error) => return tracing::debug!(%error, "reading from Kafka"),
            Err(error) => Err(failed("read from Kafka", error)),
        };
        self.stash.push_back(read);
    }

    /// Takes what is there, up to `most` messages, and stops before a change or an error.
    fn take(&mut self, most: usize) -> Option<Result<Polled, LogError>> {
        let mut messages = Vec::new();
        let mut bytes = 0;
        while messages.len() < most.max(1) && (bytes < POLL_BYTES || messages.is_empty()) {
            if self.stash.is_empty() {
                let inner = Arc::clone(&self.inner);
                if let Some(received) = inner.recv().now_or_never() {
                    self.receive(received);
                }
                // The message may belong to a partition that was assigned just now: the change goes first.
                if !self.changes.is_empty() {
                    break;
                }
            }
            match self.stash.pop_front() {
                Some(Ok(delivered)) => {
                    bytes += delivered.message.payload.len();
                    messages.push(delivered);
                }
                Some(Err(error)) if messages.is_empty() => return Some(Err(error)),
                Some(Err(error)) => {
                    self.stash.push_front(Err(error));
                    break;
                }
                None => break,
            }
        }
        (!messages.is_empty()).then_some(Ok(Polled::Messages(messages)))
    }
}

fn is_passing(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error,
        KafkaError::MessageConsumption(
            Code::BrokerTransportFailure
                | Code::AllBrokersDown
                | Code::OperationTimedOut
                | Code::Resolve
                | Code::NotCoordinator
                | Code::CoordinatorLoadInProgress
                | Code::CoordinatorNotAvailable
                | Code::UnknownTopicOrPartition
                | Code::LeaderNotAvailable
                | Code::NotLeaderForPartition
        )
    )
}

fn list_of_one(partition: &Partition) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(1);
    list.add_partition(&partition.topic.to_string(), partition.number);
    list
}

fn list_of(positions: &[Position]) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(positions.len());
    for Position { partition, next } in positions {
        list.add_partition_offset(&partition.topic.to_string(), partition.number, Offset::Offset(*next))?;
    }
    Ok(list)
}

#[async_trait]
impl Consumer for KafkaConsumer {
    async fn poll(&mut self, most: usize, wait: Duration) -> Result<Polled, LogError> {
        let deadline = Instant::now() + wait;
        loop {
            if let Some(change) = self.change() {
                return Ok(change);
            }
            if let Some(polled) = self.take(most) {
                return polled;
            }
            if !self.changes.is_empty() {
                continue;
            }
            if Instant::now() >= deadline {
                return Ok(Polled::Messages(Vec::new()));
            }
            self.wait(deadline).await;
        }
    }

    async fn seek(&mut self, position: &Position) -> Result<(), LogError> {
        let operation = format!("seek {} of {}", position.next, position.partition);
        if !self.assigned.contains(&position.partition) {
            return Err(failed_for_good(operation, "the partition is not assigned"));
        }
        // Before it seeks: librdkafka resumes where it paused.
        self.resume(&position.partition).map_err(|error| failed(operation.clone(), error))?;
        self.forget(|partition| *partition == position.partition);
        let deadline = Instant::now() + TIMEOUT;
        let topic = position.partition.topic.to_string();
        loop {
            let (inner, topic, number, next) =
                (Arc::clone(&self.inner), topic.clone(), position.partition.number, position.next);
            let seek = move || Ok(inner.seek(&topic, number, Offset::Offset(next), TIMEOUT));
            match client::blocking(seek).await? {
                Ok(()) => {
                    self.sought.insert(position.partition.clone(), position.next);
                    return Ok(());
                }
                // Right after it was assigned.
                Err(error) if Instant::now() < deadline && !is_final(&error) => {
                    tracing::debug!(%error, operation, "trying again");
                    tokio::time::sleep(SEEK_AGAIN).await;
                }
                Err(error) => return Err(failed(operation, error)),
            }
        }
    }

    async fn pause(&mut self, partition: &Partition) -> Result<(), LogError> {
        let operation = || format!("pause {partition}");
        if !self.assigned.contains(partition) {
            return Err(failed_for_good(operation(), "the partition is not assigned"));
        }
        // Tells librdkafka's own threads; no broker is asked.
        self.inner.pause(&list_of_one(partition)).map_err(|error| failed(operation(), error))?;
        self.forget(|read_ahead| read_ahead == partition);
        if !self.paused.contains(partition) {
            self.paused.push(partition.clone());
        }
        Ok(())
    }

    async fn commit(&mut self, positions: &[Position]) -> Result<(), LogError> {
        if positions.is_empty() {
            return Ok(());
        }
        let places: Vec<String> =
            positions.iter().map(|place| format!("{} of {}", place.next, place.partition)).collect();
        let operation = format!("commit offsets {}", places.join(", "));
        if let Some(stray) = positions.iter().find(|place| !self.assigned.contains(&place.partition)) {
            return Err(failed_for_good(operation, format!("{} is not assigned", stray.partition)));
        }
        let list = list_of(positions).map_err(|error| failed(operation.clone(), error))?;
        for mut place in list.elements() {
            place.set_metadata(&self.reader);
        }
        let inner = Arc::clone(&self.inner);
        client::blocking(move || inner.commit(&list, CommitMode::Sync).map_err(|error| failed(operation, error))).await
    }
}

fn is_final(error: &KafkaError) -> bool {
    matches!(error, KafkaError::Nul(_) | KafkaError::Canceled)
}

impl Drop for KafkaConsumer {
    fn drop(&mut self) {
        // Leaving the group waits for the broker's answer.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let inner = Arc::clone(&self.inner);
            drop(runtime.spawn_blocking(move || drop(inner)));
        }
    }
}

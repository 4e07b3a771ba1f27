//! The event log on Apache Kafka, or a system that speaks its protocol, through librdkafka.
//!
//! A message's key is its node, so a node's rows keep their order; its headers are Kafka headers (see [`mod@headers`]);
//! its payload is compressed already, so Kafka compresses nothing.
//!
//! Invariant: the producer is idempotent, waits for all in-sync replicas, and never gives up on a message that it took:
//! librdkafka's own timeout is off. Otherwise one message could time out and the next be delivered, and when the first
//! is sent again, consumers would drop it as known. For the same reason a message that brokers refuse for good fails the
//! producer as a whole, and a new one takes over. `append` gives up waiting after
//! [`KafkaOptions::delivery_timeout_s`]; what it leaves in the queue still arrives before whatever is appended later.
//! Invariant: offsets are committed only by [`Consumer::commit`].

mod client;
mod consumer;
mod headers;
mod properties;
mod topics;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use kerntrail_common::settings::{more_than_zero, not_empty};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer, PurgeConfig};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::log::{Consumer, EventLog, Group, LogError, Message, Partition, Position, Topic};
use crate::metrics::appended;
use client::{Context, failed, offline};
use consumer::KafkaConsumer;
use topics::Topics;

/// `[log.kafka]`: how to reach Kafka, and what to create there. Skipped fields are not settings.
#[derive(Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaOptions {
    /// Addresses of brokers, `host:port`, separated by commas.
    #[serde(rename = "bootstrap", deserialize_with = "not_empty")]
    pub bootstrap_servers: String,
    /// Name by which brokers know this program in their logs and quotas.
    #[serde(skip)]
    pub client_id: String,
    /// Partitions of topics that kerntrail creates.
    #[serde(deserialize_with = "more_than_zero")]
    #[schemars(range(min = 1, max = i32::MAX))]
    pub partitions: i32,
    /// Replicas of topics that kerntrail creates; 3 is usual on a cluster of three or more brokers.
    #[serde(deserialize_with = "more_than_zero")]
    #[schemars(range(min = 1, max = i32::MAX))]
    pub replication: i32,
    /// On whose behalf offsets are committed, for those who read with the same group; empty: nobody's.
    #[serde(skip)]
    pub reader: String,
    /// Longest time that `append` waits for brokers to acknowledge, in seconds.
    #[serde(skip)]
    pub delivery_timeout_s: u64,
    /// Further properties of librdkafka, such as `security.protocol`. Those that exactly-once delivery depends on
    /// are refused.
    #[serde(with = "properties")]
    #[schemars(with = "BTreeMap<String, String>")]
    pub properties: BTreeMap<String, String>,
}

impl KafkaOptions {
    /// Whether the value of the property `name` is a secret.
    pub fn is_secret(name: &str) -> bool {
        ["password", "secret", "key.pem", "oauthbearer.config"].iter().any(|part| name.contains(part))
    }
}

impl fmt::Debug for KafkaOptions {
    /// Names of properties only: values can be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaOptions")
            .field("bootstrap_servers", &self.bootstrap_servers)
            .field("client_id", &self.client_id)
            .field("partitions", &self.partitions)
            .field("replication", &self.replication)
            .field("reader", &self.reader)
            .field("delivery_timeout_s", &self.delivery_timeout_s)
            .field("properties", &self.properties.keys())
            .finish()
    }
}

impl Default for KafkaOptions {
    fn default() -> Self {
        Self {
            bootstrap_servers: "127.0.0.1:9092".to_owned(),
            client_id: "kerntrail".to_owned(),
            // What a single broker can create.
            partitions: 1,
            replication: 1,
            reader: String::new(),
            delivery_timeout_s: 30,
            properties: BTreeMap::new(),
        }
    }
}

/// Longest wait for the reason once a message was purged.
const PURGED: Duration = Duration::from_secs(2);

/// The event log on Kafka.
pub struct KafkaLog {
    shared: Arc<Shared>,
}

struct Shared {
    options: KafkaOptions,
    topics: Topics,
    producer: RwLock<FutureProducer<Context>>,
    /// Asks for offsets of groups that it does not join; one each, as the group is a setting of the client.
    watchers: Mutex<HashMap<Group, Arc<BaseConsumer<Context>>>>,
}

impl KafkaLog {
    /// Prepares the clients; brokers are looked for in the background.
    ///
    /// Errors: a property is not known to librdkafka, malformed, or one of those that may not be changed.
    pub fn new(options: KafkaOptions) -> Result<Self, LogError> {
        client::check(&options)?;
        let producer = RwLock::new(client::producer(&options)?);
        let topics = Topics::new(&options)?;
        let shared = Shared { options, topics, producer, watchers: Mutex::new(HashMap::new()) };
        Ok(Self { shared: Arc::new(shared) })
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        let shared = Arc::clone(&self.shared);
        client::blocking(move || work(&shared)).await
    }
}

impl Shared {
    fn producer(&self) -> FutureProducer<Context> {
        self.producer.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces a producer that has failed permanently; the appends that wait for it are retried.
    fn replace_if_fatal(&self, used: &FutureProducer<Context>) -> Result<(), LogError> {
        let Some((code, reason)) = used.client().fatal_error() else { return Ok(()) };
        let mut current = self.producer.write().unwrap_or_else(PoisonError::into_inner);
        if std::ptr::eq(current.client().native_ptr(), used.client().native_ptr()) {
            tracing::warn!(?code, reason, "the Kafka producer has failed; creating a new one");
            *current = client::producer(&self.options)?;
            // Appends that wait for it fail at once, and try the new one.
            used.purge(PurgeConfig::default().queue().inflight());
        }
        Ok(())
    }

    fn watcher(&self, group: &Group) -> Result<Arc<BaseConsumer<Context>>, LogError> {
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = watchers.get(group) {
            return Ok(Arc::clone(known));
        }
        let watcher = Arc::new(client::watcher(&self.options, Some(group))?);
        watchers.insert(group.clone(), Arc::clone(&watcher));
        Ok(watcher)
    }

    /// A position in each partition of `topic`, `of` the offsets of its oldest message and of the one after the newest.
    fn positions(&self, topic: &Topic, of: impl Fn((i64, i64)) -> i64) -> Result<Vec<Position>, LogError> {
        let name = topic.to_string();
        let positions = (0..self.topics.partitions(&name)?).map(|number| {
            let next = of(self.topics.offsets(&name, number)?);
            Ok(Position { partition: Partition { topic: topic.clone(), number }, next })
        });
        positions.collect()
    }

    fn committed(&self, group: &Group, topic: &Topic) -> Result<Vec<Position>, LogError> {
        self.offsets(group, topic).map(|offsets| offsets.into_iter().map(|(position, _)| position).collect())
    }

    /// What `group` has committed, each with the text that was committed with it.
    fn offsets(&self, group: &Group, topic: &Topic) -> Result<Vec<(Position, String)>, LogError> {
        let name = topic.to_string();
        let operation = || format!("read the offsets that {} has committed for {topic}", group.0);
        let mut list = TopicPartitionList::new();
        list.add_partition_range(&name, 0, self.topics.partitions(&name)? - 1);
        let offsets = self.watcher(group)?.committed_offsets(list, client::TIMEOUT);
        let offsets = offsets.map_err(|error| failed(operation(), error))?;
        let mut found = Vec::new();
        for place in offsets.elements() {
            place.error().map_err(|error| failed(operation(), error))?;
            if let Offset::Offset(next) = place.offset() {
                let partition = Partition { topic: topic.clone(), number: place.partition() };
                found.push((Position { partition, next }, place.metadata().to_owned()));
            }
        }
        Ok(found)
    }
}

/// Hands `message` to the producer; `None` when its queue has no room.
fn enqueue(
    producer: &FutureProducer<Context>,
    topic: &str,
    message: &Message,
) -> Result<Option<DeliveryFuture>, KafkaError> {
    let record = FutureRecord::to(topic)
        .key(message.headers.node.as_bytes())
        .payload(message.payload.as_ref())
        .headers(headers::write(&message.headers));
    match producer.send_result(record) {
        Ok(delivery) => Ok(Some(delivery)),
        Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => Ok(None),
        Err((error, _)) => Err(error),
    }
}

/// Hands all to the producer, as it has room, and waits until each is acknowledged or one is refused.
async fn deliver(producer: &FutureProducer<Context>, topic: &str, messages: &[Message]) -> Result<(), KafkaError> {
    let mut waiting: Vec<DeliveryFuture> = Vec::new();
    for message in messages {
        let mut enqueued = enqueue(producer, topic, message);
        while !matches!(enqueued, Ok(Some(_))) {
            let is_empty = waiting.is_empty();
            // Messages in flight make room when they complete, or their error says more precisely what is wrong.
            settle(std::mem::take(&mut waiting)).await?;
            match enqueued {
                Err(error) => return Err(error),
                Ok(None) if is_empty => return Err(KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)),
                Ok(_) => enqueued = enqueue(producer, topic, message),
            }
        }
        waiting.extend(enqueued?);
    }
    settle(waiting).await
}

/// Waits until each is acknowledged or one is refused. The refusal of one message has others purged, which may be seen first:
/// then the others are asked as well, since one of them says why.
async fn settle(waiting: Vec<DeliveryFuture>) -> Result<(), KafkaError> {
    let mut each: FuturesUnordered<_> = waiting.into_iter().map(outcome).collect();
    let mut purged = None;
    loop {
        let next = match &purged {
            None => each.next().await,
            Some(_) => tokio::time::timeout(PURGED, each.next()).await.unwrap_or_default(),
        };
        match next {
            Some(Err(error)) if is_consequence(&error) => purged = purged.or(Some(error)),
            Some(Err(error)) => return Err(error),
            Some(Ok(())) => {}
            None => return purged.map_or(Ok(()), Err),
        }
    }
}

async fn outcome(delivery: DeliveryFuture) -> Result<(), KafkaError> {
    match delivery.await {
        Ok(outcome) => outcome.map(drop).map_err(|(error, _)| error),
        Err(_) => Err(KafkaError::Canceled),
    }
}

/// Whether a message failed only since another one did.
fn is_consequence(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(error, KafkaError::Canceled)
        || matches!(error.rdkafka_error_code(), Some(Code::PurgeQueue | Code::PurgeInflight))
}

#[async_trait]
impl EventLog for KafkaLog {
    async fn append(&self, topic: &Topic, messages: Vec<Message>) -> Result<(), LogError> {
        let name = topic.to_string();
        let operation = || format!("append to {topic}");
        if !self.shared.topics.is_known(&name) {
            let name = name.clone();
            self.blocking(move |shared| shared.topics.ensure(&name)).await?;
        }
        let producer = self.shared.producer();
        let patience = Duration::from_secs(self.shared.options.delivery_timeout_s);
        match tokio::time::timeout(patience, deliver(&producer, &name, &messages)).await {
            Ok(Ok(())) => {
                client::note_back();
                appended("kafka", topic.table.name(), &messages);
                Ok(())
            }
            Ok(Err(error)) => {
                self.shared.replace_if_fatal(&producer)?;
                Err(failed(operation(), error))
            }
            Err(_) => Err(offline(operation(), patience)),
        }
    }

    async fn subscribe(&self, group: &Group, topics: &[Topic]) -> Result<Box<dyn Consumer>, LogError> {
        let (group, topics) = (group.clone(), topics.to_vec());
        let consumer = self.blocking(move |shared| {
            for topic in &topics {
                shared.topics.ensure(&topic.to_string())?;
            }
            KafkaConsumer::join(&shared.options, &group, &topics)
        });
        Ok(Box::new(consumer.await?))
    }

    async fn end(&self, topic: &Topic) -> Result<Vec<Position>, LogError> {
        let topic = topic.clone();
        self.blocking(move |shared| shared.positions(&topic, |(_, end)| end)).await
    }

    async fn oldest(&self, topic: &Topic) -> Result<Vec<Position>, LogError> {
        let topic = topic.clone();
        self.blocking(move |shared| shared.positions(&topic, |(oldest, _)| oldest)).await
    }

    async fn readers(&self, group: &Group, topic: &Topic) -> Result<BTreeSet<String>, LogError> {
        let (group, topic) = (group.clone(), topic.clone());
        let offsets = self.blocking(move |shared| shared.offsets(&group, &topic)).await?;
        Ok(offsets.into_iter().map(|(_, reader)| reader).filter(|reader| !reader.is_empty()).collect())
    }

    async fn committed(&self, group: &Group, topic: &Topic) -> Result<Vec<Position>, LogError> {
        let (group, topic) = (group.clone(), topic.clone());
        self.blocking(move |shared| shared.committed(&group, &topic)).await
    }
}

//! What Kafka's log promises beyond the contract, on a real broker.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use kerntrail_testbed::{Kafka, require};
use kerntrail_transport::{BatchFilter, EventLog, KafkaLog, KafkaOptions, LogError, Position, Topic, append_patiently};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use tempfile::TempDir;

use crate::contract::Bed;
use crate::support::{message, messages, read, read_until, sized, subscribe, topic};

/// The broker of all tests that leave it running; its process ends with that of the tests.
fn broker() -> Option<&'static str> {
    static BROKER: OnceLock<(Kafka, TempDir)> = OnceLock::new();
    require::java().then(|| {
        let (kafka, _) = BROKER.get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            (Kafka::start(folder.path()).unwrap(), folder)
        });
        static ADDRESS: OnceLock<String> = OnceLock::new();
        ADDRESS.get_or_init(|| kafka.bootstrap()).as_str()
    })
}

fn options(bootstrap: &str) -> KafkaOptions {
    // A consumer that a test drops without a word is given up soon.
    let properties = BTreeMap::from([("session.timeout.ms".to_owned(), "6000".to_owned())]);
    KafkaOptions {
        bootstrap_servers: bootstrap.to_owned(),
        partitions: 4,
        replication: 1,
        properties,
        ..KafkaOptions::default()
    }
}

pub(crate) struct KafkaBed {
    log: Arc<KafkaLog>,
    bootstrap: &'static str,
    tenant: String,
}

impl KafkaBed {
    /// `None` where there is no Java.
    pub(crate) fn new() -> Option<Self> {
        static TENANTS: AtomicUsize = AtomicUsize::new(0);
        let bootstrap = broker()?;
        let tenant = format!("t{}", TENANTS.fetch_add(1, Ordering::Relaxed));
        Some(Self { log: Arc::new(KafkaLog::new(options(bootstrap)).unwrap()), bootstrap, tenant })
    }
}

#[async_trait]
impl Bed for KafkaBed {
    fn log(&self) -> Arc<dyn EventLog> {
        self.log.clone()
    }

    fn tenant(&self) -> &str {
        &self.tenant
    }

    async fn restart(&mut self) {
        self.log = Arc::new(KafkaLog::new(options(self.bootstrap)).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_messages_do_not_block_a_partition() {
    let Some(bed) = KafkaBed::new() else { return };
    let topic = bed.topic();
    bed.log.append(&topic, messages("n", 0..1)).await.unwrap();
    let producer: FutureProducer = ClientConfig::new().set("bootstrap.servers", bed.bootstrap).create().unwrap();
    let headers = |schema: &str, batch: &str| {
        let all =
            [("kt-schema", schema), ("kt-stream", "s"), ("kt-batch", batch), ("kt-rows", "1"), ("kt-seq", "0..0")];
        all.iter().fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: Some(*value) }))
    };
    let strange = [
        FutureRecord::<str, str>::to("").payload("no key, no headers"),
        FutureRecord::to("").key("n").payload("no headers"),
        FutureRecord::to("").key("n").headers(headers("1", "seven")).payload("a batch number that is none"),
        FutureRecord::to("").key("n").headers(headers("70000", "1")).payload("a schema version that is none"),
        FutureRecord::to("").key("n").headers(OwnedHeaders::new()).payload("empty headers"),
    ];
    let name = topic.to_string();
    let partition = bed.log.end(&topic).await.unwrap().into_iter().find(|end| end.next == 1).unwrap().partition;
    let count = strange.len();
    for record in strange {
        let record = FutureRecord { topic: &name, partition: Some(partition.number), ..record };
        producer.send(record, Duration::from_secs(30)).await.unwrap();
    }
    bed.log.append(&topic, messages("n", 1..3)).await.unwrap();
    let mut consumer = subscribe(&*bed.log, "g", &topic).await;
    let seen = read_until(&mut *consumer, |seen| seen.messages.len() == 3).await;
    assert_eq!(seen.batches(), [0, 1, 2]);
    let expected: Vec<_> = (1..=count as i64).map(|offset| (partition.clone(), offset)).collect();
    assert_eq!(seen.damaged, expected);
}

#[tokio::test]
async fn properties_that_break_exactly_once_delivery_are_refused() {
    let with = |name: &str, value: &str| {
        let properties = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        KafkaLog::new(KafkaOptions { properties, ..KafkaOptions::default() }).err()
    };
    for (name, value) in
        [("acks", "1"), ("enable.auto.commit", "true"), ("no.such.property", "1"), ("linger.ms", "soon")]
    {
        let error = with(name, value).unwrap_or_else(|| panic!("{name}={value} was taken"));
        assert!(matches!(error, LogError::Failed { retriable: false, .. }), "{error:?}");
    }
    assert!(with("linger.ms", "20").is_none());
    let properties = BTreeMap::from([("sasl.password".to_owned(), "hush".to_owned())]);
    let shown = format!("{:?}", KafkaOptions { properties, ..KafkaOptions::default() });
    assert!(shown.contains("sasl.password") && !shown.contains("hush"), "{shown}");
}

/// The broker is stopped and started while messages flow, by an orderly end and by a kill.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_restart_neither_loses_nor_duplicates_messages() {
    if !require::java() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut kafka = Kafka::start(folder.path()).unwrap();
    let options = KafkaOptions { delivery_timeout_s: 2, ..options(&kafka.bootstrap()) };
    let log = Arc::new(KafkaLog::new(options).unwrap());
    let topic = topic("flow");
    let mut consumer = subscribe(&*log, "g", &topic).await;
    let mut next = 0;
    for kill in [false, true] {
        log.append(&topic, messages("n", next..next + 20)).await.unwrap();
        next += 20;
        if kill {
            kafka.kill()
        } else {
            kafka.stop().unwrap()
        }
        let refused = log.append(&topic, messages("n", next..next + 20)).await.unwrap_err();
        assert!(matches!(refused, LogError::Failed { retriable: true, .. }), "{refused:?}");
        let sender = {
            let (log, topic) = (Arc::clone(&log), topic.clone());
            let batches: Vec<_> = (next..next + 20).map(|batch| message("n", batch)).collect();
            tokio::spawn(async move { append_patiently(&*log, &topic, batches).await })
        };
        kafka.start_again().unwrap();
        sender.await.unwrap().unwrap();
        next += 20;
    }
    // Each is there, in order; what came twice is recognized.
    let mut filter = BatchFilter::default();
    let seen = read_until(&mut *consumer, |seen| seen.batches().contains(&(next - 1))).await;
    let taken: Vec<i64> = seen
        .messages
        .iter()
        .filter(|delivered| filter.take(&delivered.message.headers))
        .map(|delivered| delivered.message.headers.batch)
        .collect();
    assert_eq!(taken, (0..next).collect::<Vec<_>>());
    let last = seen.messages.last().unwrap();
    consumer.commit(&[Position { partition: last.partition.clone(), next: last.offset + 1 }]).await.unwrap();
}

/// Batch numbers that a consumer takes, up to `last`.
async fn taken(log: &KafkaLog, topic: &Topic, last: i64) -> Vec<i64> {
    let mut consumer = subscribe(log, "g", topic).await;
    let seen = read_until(&mut *consumer, |seen| seen.batches().contains(&last)).await;
    let mut filter = BatchFilter::default();
    let taken = seen.messages.iter().filter(|delivered| filter.take(&delivered.message.headers));
    taken.map(|delivered| delivered.message.headers.batch).collect()
}

/// One message a request, so that a refusal hits one of several.
fn one_by_one(bootstrap: &str) -> KafkaOptions {
    let mut options = options(bootstrap);
    options.properties.insert("batch.num.messages".to_owned(), "1".to_owned());
    options
}

/// Were a message accepted behind one that was refused, consumers would drop the other when it is sent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_message_overtakes_one_that_was_refused() {
    let Some(bed) = KafkaBed::new() else { return };
    let topic = bed.topic();
    let admin: AdminClient<_> = ClientConfig::new().set("bootstrap.servers", bed.bootstrap).create().unwrap();
    let name = topic.to_string();
    let small = NewTopic::new(&name, 4, TopicReplication::Fixed(1)).set("max.message.bytes", "2000");
    admin.create_topics([&small], &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
    let log = KafkaLog::new(one_by_one(bed.bootstrap)).unwrap();
    for first in [0, 5, 10] {
        let mut some = messages("n", first..first + 5);
        some[2] = sized("n", first + 2, 5_000);
        let error = log.append(&topic, some).await.unwrap_err();
        assert!(matches!(error, LogError::Failed { retriable: false, .. }), "{error:?}");
        append_patiently(&log, &topic, messages("n", first..first + 5)).await.unwrap();
    }
    assert_eq!(taken(&log, &topic, 14).await, (0..15).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_that_has_failed_is_replaced() {
    // librdkafka's own broker can be set to refuse. It does not check sequence numbers as Kafka does, so one request at
    // a time.
    let broker = MockCluster::new(1).unwrap();
    let topic = topic("refused");
    broker.create_topic(&topic.to_string(), 4, 1).unwrap();
    let mut options = one_by_one(&broker.bootstrap_servers());
    options.properties.insert("max.in.flight.requests.per.connection".to_owned(), "1".to_owned());
    let log = KafkaLog::new(options).unwrap();
    for first in [0, 5, 10] {
        broker.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED]);
        let error = log.append(&topic, messages("n", first..first + 5)).await.unwrap_err();
        assert!(matches!(error, LogError::Failed { retriable: false, .. }), "{error:?}");
        append_patiently(&log, &topic, messages("n", first..first + 5)).await.unwrap();
    }
    assert_eq!(taken(&log, &topic, 14).await, (0..15).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_message_fits() {
    let Some(bed) = KafkaBed::new() else { return };
    let mut large = message("n", 0);
    large.headers.node = "n".repeat(250);
    large.payload = vec![7; kerntrail_transport::codec::MAX_PAYLOAD_BYTES].into();
    bed.log.append(&bed.topic(), vec![large.clone()]).await.unwrap();
    let mut consumer = subscribe(&*bed.log, "g", &bed.topic()).await;
    assert_eq!(read(&mut *consumer, 1).await.messages[0].message, large);
}

//! Kafka: records survive a shutdown and a crash.

use std::time::Duration;

use kerntrail_testbed::{Kafka, require, wait};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Message, Offset, TopicPartitionList};

use crate::LIMIT;

fn produce(bootstrap: &str, value: &str) {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", bootstrap).set("acks", "all");
    let producer: BaseProducer = settings.create().unwrap();
    producer.send(BaseRecord::<(), str>::to("events").partition(0).payload(value)).unwrap();
    producer.flush(LIMIT).unwrap();
}

fn read(bootstrap: &str, count: usize) -> Vec<String> {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", bootstrap).set("group.id", "smoke");
    let consumer: BaseConsumer = settings.create().unwrap();
    let mut from = TopicPartitionList::new();
    from.add_partition_offset("events", 0, Offset::Beginning).unwrap();
    consumer.assign(&from).unwrap();
    let mut values = Vec::new();
    wait::until(&format!("{count} records"), LIMIT, || {
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
            values.push(String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned());
        }
        anyhow::ensure!(values.len() >= count, "{values:?}");
        Ok(())
    })
    .unwrap();
    values
}

#[test]
fn kafka_keeps_records_over_a_shutdown_and_a_crash() {
    if !require::java() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut kafka = Kafka::start(dir.path()).unwrap();
    let bootstrap = kafka.bootstrap();
    produce(&bootstrap, "one");
    assert_eq!(read(&bootstrap, 1), ["one"]);

    kafka.stop().unwrap();
    assert!(kafka.pid().is_none());
    kafka.start_again().unwrap();
    assert_eq!(kafka.bootstrap(), bootstrap);
    produce(&bootstrap, "two");
    kafka.kill();
    kafka.start_again().unwrap();
    assert_eq!(read(&bootstrap, 2), ["one", "two"]);
}

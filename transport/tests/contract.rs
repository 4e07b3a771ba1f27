//! What every event log promises. Each test runs on each implementation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kerntrail_transport::{BatchFilter, EventLog, LogError, Partition, Polled, Position, Topic};

use crate::support::{group, message, messages, read, read_on, read_until, subscribe, topic};

/// An implementation with topics of four partitions that no other test uses.
#[async_trait]
pub(crate) trait Bed: Send {
    fn log(&self) -> Arc<dyn EventLog>;
    fn tenant(&self) -> &str;
    /// Ends every client and opens the log again.
    async fn restart(&mut self);

    fn topic(&self) -> Topic {
        topic(self.tenant())
    }
}

macro_rules! for_each_log {
    ($($(#[$doc:meta])* async fn $name:ident($bed:ident: &mut dyn Bed) $body:block)*) => {
        $($(#[$doc])* async fn $name($bed: &mut dyn Bed) $body)*

        mod on_embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(&mut crate::embedded::EmbeddedBed::new().await).await;
            })*
        }

        mod on_kafka {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(mut bed) = crate::kafka::KafkaBed::new() {
                    super::$name(&mut bed).await;
                }
            })*
        }
    };
}

for_each_log! {
    async fn messages_of_a_node_keep_their_order(bed: &mut dyn Bed) {
        let (log, topic) = (bed.log(), bed.topic());
        let nodes = ["node-a", "node-b", "node-c", "node-d", "node-e"];
        for round in 0..4 {
            let mixed = (0..5).flat_map(|step| nodes.map(|node| message(node, round * 5 + step))).collect();
            log.append(&topic, mixed).await.unwrap();
        }
        let mut consumer = subscribe(&*log, "g", &topic).await;
        let seen = read(&mut *consumer, 100).await;
        let mut by_node: BTreeMap<&str, (Vec<i64>, BTreeSet<i32>)> = BTreeMap::new();
        for delivered in &seen.messages {
            let (batches, partitions) = by_node.entry(delivered.message.headers.node.as_str()).or_default();
            batches.push(delivered.message.headers.batch);
            partitions.insert(delivered.partition.number);
            assert_eq!(delivered.message, message(&delivered.message.headers.node, delivered.message.headers.batch));
        }
        assert_eq!(by_node.len(), nodes.len());
        for (node, (batches, partitions)) in by_node {
            assert_eq!(batches, (0..20).collect::<Vec<_>>(), "{node}");
            assert_eq!(partitions.len(), 1, "{node}");
        }
    }

    async fn each_group_sees_everything(bed: &mut dyn Bed) {
        let (log, topic) = (bed.log(), bed.topic());
        let mut early = subscribe(&*log, "early", &topic).await;
        log.append(&topic, messages("n", 0..10)).await.unwrap();
        let mut late = subscribe(&*log, "late", &topic).await;
        let expected: Vec<i64> = (0..10).collect();
        assert_eq!(read(&mut *early, 10).await.batches(), expected);
        assert_eq!(read(&mut *late, 10).await.batches(), expected);
    }

    async fn members_of_a_group_share_the_partitions(bed: &mut dyn Bed) {
        let (log, topic) = (bed.log(), bed.topic());
        let mut first = subscribe(&*log, "g", &topic).await;
        read_until(&mut *first, |seen| seen.assigned.len() == 4).await;
        let mut second = subscribe(&*log, "g", &topic).await;
        // The first must be asked to give up some before the second gets them.
        let mut given_up: Vec<Partition> = Vec::new();
        let mut gained: Vec<Partition> = Vec::new();
        while gained.len() < 2 {
            if let Polled::Revoked(partitions) = first.poll(10, Duration::from_millis(100)).await.unwrap() {
                given_up.extend(partitions);
            }
            if let Polled::Assigned(partitions) = second.poll(10, Duration::from_millis(100)).await.unwrap() {
                gained.extend(partitions);
            }
        }
        assert!(gained.iter().all(|partition| given_up.contains(partition)), "{gained:?} of {given_up:?}");
        let nodes: Vec<String> = (0..40).map(|node| format!("node-{node}")).collect();
        log.append(&topic, nodes.iter().map(|node| message(node, 0)).collect()).await.unwrap();
        let mut read: Vec<(String, bool)> = Vec::new();
        while read.len() < 40 {
            for (consumer, is_second) in [(&mut first, false), (&mut second, true)] {
                if let Polled::Messages(some) = consumer.poll(100, Duration::from_millis(50)).await.unwrap() {
                    for delivered in some {
                        assert_eq!(gained.contains(&delivered.partition), is_second, "read by the other: {delivered:?}");
                        read.push((delivered.message.headers.node, is_second));
                    }
                }
            }
        }
        let distinct: BTreeSet<&String> = read.iter().map(|(node, _)| node).collect();
        assert_eq!(distinct.len(), 40);
        assert!(read.iter().any(|(_, is_second)| *is_second) && read.iter().any(|(_, is_second)| !*is_second));
        drop(second);
        // What the second has read and not committed comes again, to the first.
        let rest = read_until(&mut *first, |seen| gained.iter().all(|partition| seen.assigned.contains(partition))).await;
        let back = read.iter().filter(|(_, is_second)| *is_second).count() - rest.messages.len();
        let mut again = read_on(&mut *first, back).await;
        again.messages.extend(rest.messages);
        assert!(again.messages.iter().all(|delivered| gained.contains(&delivered.partition)));
    }

    async fn committed_offsets_survive_a_restart(bed: &mut dyn Bed) {
        let topic = bed.topic();
        bed.log().append(&topic, messages("n", 0..10)).await.unwrap();
        let mut consumer = subscribe(&*bed.log(), "g", &topic).await;
        let seen = read(&mut *consumer, 10).await;
        let partition = seen.messages[6].partition.clone();
        let position = Position { partition: partition.clone(), next: seen.messages[6].offset };
        consumer.commit(std::slice::from_ref(&position)).await.unwrap();
        drop(consumer);
        bed.restart().await;
        let log = bed.log();
        assert_eq!(log.committed(&group("g"), &topic).await.unwrap(), [position]);
        assert_eq!(log.committed(&group("other"), &topic).await.unwrap(), []);
        log.append(&topic, messages("n", 10..12)).await.unwrap();
        let mut consumer = subscribe(&*log, "g", &topic).await;
        assert_eq!(read(&mut *consumer, 6).await.batches(), [6, 7, 8, 9, 10, 11]);
    }

    async fn a_paused_partition_waits_and_the_others_go_on(bed: &mut dyn Bed) {
        let (log, topic) = (bed.log(), bed.topic());
        let nodes: Vec<String> = (0..12).map(|node| format!("node-{node}")).collect();
        let of_all = |batch| nodes.iter().map(|node| message(node, batch)).collect::<Vec<_>>();
        log.append(&topic, of_all(0)).await.unwrap();
        let mut consumer = subscribe(&*log, "g", &topic).await;
        let seen = read(&mut *consumer, 12).await;
        let first = &seen.messages[0];
        let partition = first.partition.clone();
        let paused = seen.messages.iter().filter(|delivered| delivered.partition == partition).count();
        consumer.pause(&partition).await.unwrap();
        log.append(&topic, of_all(1)).await.unwrap();
        let others = read_on(&mut *consumer, 12 - paused).await;
        assert!(others.messages.iter().all(|delivered| delivered.partition != partition), "{others:?}");
        let nothing = consumer.poll(100, Duration::from_millis(300)).await.unwrap();
        assert_eq!(nothing, Polled::Messages(Vec::new()));
        // It is still this consumer's, which reads it on from where it wants.
        let position = Position { partition: partition.clone(), next: first.offset };
        consumer.commit(std::slice::from_ref(&position)).await.unwrap();
        consumer.seek(&position).await.unwrap();
        let again = read_on(&mut *consumer, 2 * paused).await;
        assert!(again.messages.iter().all(|delivered| delivered.partition == partition), "{again:?}");
        assert_eq!(again.messages[0].offset, first.offset);
    }

    async fn a_batch_sent_again_is_recognized(bed: &mut dyn Bed) {
        let (log, topic) = (bed.log(), bed.topic());
        log.append(&topic, messages("n", 0..3)).await.unwrap();
        log.append(&topic, messages("n", 1..3)).await.unwrap();
        log.append(&topic, messages("n", 3..4)).await.unwrap();
        let mut consumer = subscribe(&*log, "g", &topic).await;
        let mut filter = BatchFilter::default();
        let seen = read(&mut *consumer, 6).await;
        let taken = seen.messages.iter().filter(|delivered| filter.take(&delivered.message.headers));
        assert_eq!(taken.map(|delivered| delivered.message.headers.batch).collect::<Vec<_>>(), [0, 1, 2, 3]);
    }

    async fn a_consumer_reads_on_from_where_it_seeks(bed: &mut dyn Bed) {
        let (log, topic) = (bed.log(), bed.topic());
        log.append(&topic, messages("n", 0..20)).await.unwrap();
        let mut consumer = subscribe(&*log, "g", &topic).await;
        // Right after the assignment, before any message.
        let assigned = read_until(&mut *consumer, |seen| seen.assigned.len() == 4).await;
        let ends = log.end(&topic).await.unwrap();
        let full = ends.iter().find(|end| end.next == 20).unwrap().partition.clone();
        let mut position = Position { partition: full, next: 12 };
        consumer.seek(&position).await.unwrap();
        // What was read before the seek does not count.
        drop(assigned);
        assert_eq!(read_on(&mut *consumer, 8).await.batches(), (12..20).collect::<Vec<_>>());
        // Back, in the middle of reading.
        position.next = 3;
        consumer.seek(&position).await.unwrap();
        assert_eq!(read_on(&mut *consumer, 4).await.batches(), [3, 4, 5, 6]);
        position.next = 18;
        consumer.seek(&position).await.unwrap();
        assert_eq!(read_on(&mut *consumer, 2).await.batches(), [18, 19]);
    }

    async fn ends_and_commits_tell_the_lag(bed: &mut dyn Bed) {
        let (log, topic) = (bed.log(), bed.topic());
        let lag = async || -> i64 {
            let committed = log.committed(&group("g"), &topic).await.unwrap();
            let of = |partition: &Partition| committed.iter().find(|place| place.partition == *partition);
            let ends = log.end(&topic).await.unwrap();
            ends.iter().map(|end| end.next - of(&end.partition).map_or(0, |place| place.next)).sum()
        };
        let ends = log.end(&topic).await.unwrap();
        assert_eq!(ends.iter().map(|end| (end.partition.number, end.next)).collect::<Vec<_>>(), [(0, 0), (1, 0), (2, 0), (3, 0)]);
        log.append(&topic, messages("n", 0..5)).await.unwrap();
        assert_eq!(lag().await, 5);
        let mut consumer = subscribe(&*log, "g", &topic).await;
        let seen = read(&mut *consumer, 5).await;
        let last = &seen.messages[4];
        consumer.commit(&[Position { partition: last.partition.clone(), next: last.offset + 1 }]).await.unwrap();
        assert_eq!(lag().await, 0);
    }

    async fn a_partition_of_somebody_else_is_not_committed(bed: &mut dyn Bed) {
        let (log, topic) = (bed.log(), bed.topic());
        log.append(&topic, messages("n", 0..2)).await.unwrap();
        let mut consumer = subscribe(&*log, "g", &topic).await;
        read(&mut *consumer, 2).await;
        let elsewhere = Partition { topic: crate::support::topic("elsewhere"), number: 0 };
        let position = Position { partition: elsewhere, next: 1 };
        let error = consumer.commit(std::slice::from_ref(&position)).await.unwrap_err();
        assert!(matches!(error, LogError::Failed { retriable: false, .. }), "{error:?}");
        assert!(consumer.seek(&position).await.is_err());
    }

    async fn a_waiting_consumer_is_woken_by_an_append(bed: &mut dyn Bed) {
        let (log, topic) = (bed.log(), bed.topic());
        let mut consumer = subscribe(&*log, "g", &topic).await;
        read_until(&mut *consumer, |seen| seen.assigned.len() == 4).await;
        let waiting = tokio::spawn(async move { consumer.poll(10, crate::support::LIMIT * 10).await });
        log.append(&topic, messages("n", 0..1)).await.unwrap();
        let polled = tokio::time::timeout(crate::support::LIMIT, waiting).await.expect("it was not woken").unwrap();
        let Ok(Polled::Messages(got)) = polled else { panic!("{polled:?}") };
        assert_eq!(got[0].message, message("n", 0));
    }
}

//! The spool in front of a log that comes and goes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kerntrail_testbed::{Kafka, require};
use kerntrail_transport::{
    BatchFilter, Consumer, EmbeddedLog, EmbeddedOptions, EventLog, Group, Holds, KafkaLog, KafkaOptions, LogError,
    Message, Position, SpoolOptions, Spooled, Topic,
};
use tokio::sync::watch;

use crate::embedded::set_record_version;
use crate::support::{message, messages, open, read, read_until, sized, subscribe, topic};

/// What the log behind does with an append.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Takes,
    Fails,
    /// Takes the messages and says that it failed: the acknowledgement got lost.
    TakesAndFails,
}

/// An embedded log that fails on request.
struct Fickle {
    inner: EmbeddedLog,
    mood: watch::Receiver<Mood>,
}

fn lost() -> LogError {
    LogError::Failed { operation: "append".into(), source: "the log behind is away".into(), retriable: true }
}

#[async_trait]
impl EventLog for Fickle {
    async fn append(&self, topic: &Topic, messages: Vec<Message>) -> Result<(), LogError> {
        let mood = *self.mood.borrow();
        if mood != Mood::Fails {
            self.inner.append(topic, messages).await?;
        }
        if mood == Mood::Takes { Ok(()) } else { Err(lost()) }
    }

    async fn subscribe(&self, group: &Group, topics: &[Topic]) -> Result<Box<dyn Consumer>, LogError> {
        self.inner.subscribe(group, topics).await
    }

    async fn end(&self, topic: &Topic) -> Result<Vec<Position>, LogError> {
        self.inner.end(topic).await
    }

    async fn oldest(&self, topic: &Topic) -> Result<Vec<Position>, LogError> {
        self.inner.oldest(topic).await
    }

    async fn committed(&self, group: &Group, topic: &Topic) -> Result<Vec<Position>, LogError> {
        self.inner.committed(group, topic).await
    }
}

async fn fickle(dir: &Path, mood: Mood) -> (Arc<Fickle>, watch::Sender<Mood>) {
    let (change, mood) = watch::channel(mood);
    (Arc::new(Fickle { inner: open(dir, EmbeddedOptions::default()).await, mood }), change)
}

async fn spool(dir: &Path, max_bytes: u64, behind: Arc<dyn EventLog>) -> Spooled {
    let options = SpoolOptions { dir: dir.to_owned(), max_bytes, topics: vec![topic("t")], holds: Holds::default() };
    Spooled::start(options, behind).await.unwrap()
}

/// Opens a spool that another one has just left: what it began where it may block ends a moment later.
async fn spool_again(dir: &Path, behind: Arc<dyn EventLog>) -> Spooled {
    let deadline = tokio::time::Instant::now() + crate::support::LIMIT;
    loop {
        let options =
            SpoolOptions { dir: dir.to_owned(), max_bytes: 1 << 20, topics: vec![topic("t")], holds: Holds::default() };
        match Spooled::start(options, Arc::clone(&behind)).await {
            Ok(spool) => return spool,
            Err(error) => assert!(tokio::time::Instant::now() < deadline, "{error:?}"),
        }
    }
}

/// Batch numbers that a consumer takes, each once.
async fn taken(log: &dyn EventLog, last: i64) -> Vec<i64> {
    let mut consumer = subscribe(log, "g", &topic("t")).await;
    let seen = read_until(&mut *consumer, |seen| seen.batches().contains(&last)).await;
    let mut filter = BatchFilter::default();
    let taken = seen.messages.iter().filter(|delivered| filter.take(&delivered.message.headers));
    taken.map(|delivered| delivered.message.headers.batch).collect()
}

#[tokio::test]
async fn appends_do_not_wait_for_the_log_behind() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (behind, mood) = fickle(folders[0].path(), Mood::Fails).await;
    let spooled = spool(folders[1].path(), 1 << 20, behind.clone()).await;
    spooled.append(&topic("t"), messages("n", 0..30)).await.unwrap();
    assert_eq!(spooled.waiting().await.unwrap(), 30);
    mood.send(Mood::Takes).unwrap();
    spooled.flush().await.unwrap();
    assert_eq!(spooled.waiting().await.unwrap(), 0);
    let mut consumer = subscribe(&spooled, "g", &topic("t")).await;
    assert_eq!(read(&mut *consumer, 30).await.batches(), (0..30).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_lost_acknowledgement_duplicates_nothing_for_readers_that_check_batch_numbers() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (behind, mood) = fickle(folders[0].path(), Mood::TakesAndFails).await;
    let spooled = spool(folders[1].path(), 1 << 20, behind.clone()).await;
    spooled.append(&topic("t"), messages("n", 0..10)).await.unwrap();
    spooled.append(&topic("t"), messages("n", 10..20)).await.unwrap();
    // Wait until the log behind has some of them, while the spool does not know.
    while behind.end(&topic("t")).await.unwrap()[0].next == 0 {
        tokio::task::yield_now().await;
    }
    mood.send(Mood::Takes).unwrap();
    spooled.flush().await.unwrap();
    assert!(behind.end(&topic("t")).await.unwrap()[0].next > 20, "nothing was sent twice");
    assert_eq!(taken(&*behind, 19).await, (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn spooled_messages_survive_a_restart() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (behind, mood) = fickle(folders[0].path(), Mood::Fails).await;
    let spooled = spool(folders[1].path(), 1 << 20, behind.clone()).await;
    spooled.append(&topic("t"), messages("n", 0..10)).await.unwrap();
    spooled.stop().await;
    mood.send(Mood::Takes).unwrap();
    let spooled = spool_again(folders[1].path(), behind.clone()).await;
    spooled.append(&topic("t"), messages("n", 10..15)).await.unwrap();
    spooled.flush().await.unwrap();
    assert_eq!(taken(&*behind, 14).await, (0..15).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_full_spool_is_an_error_until_it_drains() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (behind, mood) = fickle(folders[0].path(), Mood::Fails).await;
    let spooled = spool(folders[1].path(), 11_000, behind.clone()).await;
    let mut full = 0;
    while spooled.append(&topic("t"), vec![sized("n", full, 1_000)]).await.is_ok() {
        full += 1;
    }
    let refused = spooled.append(&topic("t"), vec![sized("n", full, 1_000)]).await;
    assert!(matches!(refused, Err(LogError::Full { .. })) && full >= 8, "{full}: {refused:?}");
    mood.send(Mood::Takes).unwrap();
    spooled.flush().await.unwrap();
    spooled.append(&topic("t"), vec![sized("n", full, 1_000)]).await.unwrap();
    spooled.flush().await.unwrap();
    assert_eq!(taken(&*behind, full).await, (0..=full).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_message_of_a_newer_release_stays_in_the_spool_until_the_upgrade() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (behind, mood) = fickle(folders[0].path(), Mood::Fails).await;
    let spooled = spool(folders[1].path(), 1 << 20, behind.clone()).await;
    spooled.append(&topic("t"), messages("n", 0..3)).await.unwrap();
    spooled.stop().await;
    closed(folders[1].path()).await;
    set_record_version(folders[1].path(), 1, 2);
    mood.send(Mood::Takes).unwrap();
    let spooled = spool_again(folders[1].path(), behind.clone()).await;
    let held = spooled.flush().await;
    assert!(matches!(held, Err(LogError::Newer { offset: 1, .. })), "{held:?}");
    // Appending continues; what precedes it is sent, and what follows it waits in order.
    spooled.append(&topic("t"), messages("n", 3..4)).await.unwrap();
    while spooled.waiting().await.unwrap() > 3 {
        tokio::task::yield_now().await;
    }
    assert_eq!(taken(&*behind, 0).await, [0]);
    spooled.stop().await;
    closed(folders[1].path()).await;
    set_record_version(folders[1].path(), 1, 1);
    let spooled = spool_again(folders[1].path(), behind.clone()).await;
    spooled.flush().await.unwrap();
    assert_eq!(taken(&*behind, 3).await, [0, 1, 2, 3]);
}

/// Waits until the log in `dir` is closed: what it began where it may block ends a moment later.
async fn closed(dir: &Path) {
    let deadline = tokio::time::Instant::now() + crate::support::LIMIT;
    while let Err(error) = EmbeddedLog::open(dir, EmbeddedOptions::default()).await {
        assert!(tokio::time::Instant::now() < deadline, "{error:?}");
    }
}

#[tokio::test]
async fn a_topic_that_is_not_forwarded_is_refused() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (behind, _mood) = fickle(folders[0].path(), Mood::Takes).await;
    let spooled = spool(folders[1].path(), 1 << 20, behind).await;
    assert!(spooled.append(&topic("other"), vec![message("n", 0)]).await.is_err());
}

/// The whole of it: a spool in front of a broker that is away at first and killed in the middle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spool_in_front_of_kafka() {
    if !require::java() {
        return;
    }
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut kafka = Kafka::start(folders[0].path()).unwrap();
    let options = KafkaOptions {
        bootstrap_servers: kafka.bootstrap(),
        partitions: 2,
        replication: 1,
        delivery_timeout_s: 2,
        ..KafkaOptions::default()
    };
    kafka.stop().unwrap();
    let behind: Arc<dyn EventLog> = Arc::new(KafkaLog::new(options).unwrap());
    let spooled = spool(folders[1].path(), 1 << 20, Arc::clone(&behind)).await;
    spooled.append(&topic("t"), messages("n", 0..50)).await.unwrap();
    kafka.start_again().unwrap();
    tokio::time::timeout(Duration::from_secs(120), spooled.flush()).await.expect("not sent in time").unwrap();
    kafka.kill();
    spooled.append(&topic("t"), messages("n", 50..100)).await.unwrap();
    kafka.start_again().unwrap();
    tokio::time::timeout(Duration::from_secs(120), spooled.flush()).await.expect("not sent in time").unwrap();
    assert_eq!(taken(&*behind, 99).await, (0..100).collect::<Vec<_>>());
}

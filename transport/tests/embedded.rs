//! What the embedded log promises beyond the contract.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kerntrail_transport::embedded::OpenError;
use kerntrail_transport::{EmbeddedLog, EmbeddedOptions, EventLog, LogError, Polled, Position, append_patiently};
use tempfile::TempDir;

use crate::contract::Bed;
use crate::support::{group, messages, open, read, read_on, sized, subscribe, topic};

pub(crate) struct EmbeddedBed {
    folder: TempDir,
    log: Option<EmbeddedLog>,
}

fn four_partitions() -> EmbeddedOptions {
    EmbeddedOptions { partitions: 4, ..EmbeddedOptions::default() }
}

impl EmbeddedBed {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = Some(open(folder.path(), four_partitions()).await);
        Self { folder, log }
    }
}

#[async_trait]
impl Bed for EmbeddedBed {
    fn log(&self) -> Arc<dyn EventLog> {
        Arc::new(self.log.clone().expect("it is open"))
    }

    fn tenant(&self) -> &str {
        "t"
    }

    async fn restart(&mut self) {
        self.log = None;
        self.log = Some(open(self.folder.path(), four_partitions()).await);
    }
}

/// Holds about ten messages of 1,000 bytes.
fn small() -> EmbeddedOptions {
    EmbeddedOptions { max_bytes: 11_000, ..EmbeddedOptions::default() }
}

async fn fill(log: &EmbeddedLog) -> i64 {
    for batch in 0.. {
        match log.append(&topic("t"), vec![sized("n", batch, 1_000)]).await {
            Ok(()) => {}
            Err(LogError::Full { held, limit }) => {
                assert!(held <= limit && held == log.held_bytes(), "{held} of {limit}");
                return batch;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    unreachable!("it never fills up")
}

#[tokio::test]
async fn a_full_log_refuses_until_every_group_has_read() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path(), small()).await;
    let (mut fast, mut slow) = (subscribe(&log, "fast", &topic("t")).await, subscribe(&log, "slow", &topic("t")).await);
    let held = fill(&log).await;
    assert!(held >= 8, "only {held} fit");
    let seen = read(&mut *fast, held as usize).await;
    let all = Position { partition: seen.messages[0].partition.clone(), next: held };
    fast.commit(std::slice::from_ref(&all)).await.unwrap();
    let refused = log.append(&topic("t"), vec![sized("n", held, 1_000)]).await;
    assert!(matches!(refused, Err(LogError::Full { .. })), "{refused:?}");
    // A sender that waits gets through once the slow group has committed.
    let sender = {
        let log = log.clone();
        tokio::spawn(async move { append_patiently(&log, &topic("t"), vec![sized("n", held, 1_000)]).await })
    };
    read(&mut *slow, held as usize).await;
    slow.commit(std::slice::from_ref(&all)).await.unwrap();
    sender.await.unwrap().unwrap();
    assert_eq!(read_on(&mut *fast, 1).await.batches(), [held]);
    assert_eq!(read_on(&mut *slow, 1).await.batches(), [held]);
}

#[tokio::test]
async fn an_expendable_group_blocks_nobody_and_sees_the_gap() {
    let folder = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions { expendable: Some("sink-".into()), ..small() };
    let log = open(folder.path(), options).await;
    let mut storage = subscribe(&log, "storage", &topic("t")).await;
    let mut down = subscribe(&log, "sink-down", &topic("t")).await;
    let held = fill(&log).await;
    let seen = read(&mut *storage, held as usize).await;
    let partition = seen.messages[0].partition.clone();
    storage.commit(&[Position { partition: partition.clone(), next: held }]).await.unwrap();
    // What storage has read makes room, although the sink has not.
    log.append(&topic("t"), vec![sized("n", held, 1_000)]).await.unwrap();
    assert_eq!(read_on(&mut *storage, 1).await.batches(), [held]);
    let left = read(&mut *down, 1).await;
    assert_eq!((left.batches(), left.messages[0].offset), (vec![held], held), "the offset shows what is missing");
    let [expired] = &log.expired().await[..] else { panic!("one group did not get rows of one table") };
    let rows: u64 = seen.messages.iter().map(|message| u64::from(message.message.headers.rows)).sum();
    assert_eq!((&expired.group, expired.table), (&group("sink-down"), topic("t").table));
    assert_eq!((expired.messages, expired.rows), (held as u64, rows));
    assert!(expired.from_ms > 0 && expired.from_ms <= expired.to_ms, "{expired:?}");
    let oldest = log.oldest(&topic("t")).await.unwrap();
    assert_eq!(oldest[0].next, held, "a group that begins now begins there");
    // What the sink has read, it can deliver, although it has not committed it.
    for batch in held + 1..=2 * held {
        log.append(&topic("t"), vec![sized("n", batch, 1_000)]).await.unwrap();
        assert_eq!(read_on(&mut *storage, 1).await.batches(), [batch]);
        // All but the last.
        storage.commit(&[Position { partition: partition.clone(), next: batch }]).await.unwrap();
    }
    let [expired] = &log.expired().await[..] else { panic!("one group did not get rows of one table") };
    let oldest = log.oldest(&topic("t")).await.unwrap()[0].next;
    assert_eq!(expired.messages as i64, oldest - held - 1, "one of those that were removed was read: {expired:?}");
    // What storage has not read stays.
    let more = fill(&log).await;
    assert!(more < held, "nothing was refused");
}

#[tokio::test]
async fn a_topic_that_nobody_reads_keeps_everything() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path(), small()).await;
    let held = fill(&log).await;
    let mut consumer = subscribe(&log, "g", &topic("t")).await;
    assert_eq!(read(&mut *consumer, held as usize).await.batches(), (0..held).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_forgotten_group_does_not_retain_messages() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path(), small()).await;
    let gone = subscribe(&log, "gone", &topic("t")).await;
    let mut here = subscribe(&log, "here", &topic("t")).await;
    let held = fill(&log).await;
    let seen = read(&mut *here, held as usize).await;
    here.commit(&[Position { partition: seen.messages[0].partition.clone(), next: held }]).await.unwrap();
    assert!(log.forget(&group("gone")).await.is_err(), "it still has a member");
    drop(gone);
    log.forget(&group("gone")).await.unwrap();
    let [expired] = &log.expired().await[..] else { panic!("one group did not get rows of one table") };
    assert_eq!((&expired.group, expired.messages), (&group("gone"), held as u64));
    assert_eq!(log.groups(), [group("here")]);
    log.append(&topic("t"), vec![sized("n", held, 1_000)]).await.unwrap();
    assert_eq!(read_on(&mut *here, 1).await.batches(), [held]);
}

#[tokio::test]
async fn read_messages_are_kept_while_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path(), EmbeddedOptions { keep: Duration::from_secs(3600), ..small() }).await;
    let mut consumer = subscribe(&log, "g", &topic("t")).await;
    log.append(&topic("t"), (0..5).map(|batch| sized("n", batch, 1_000)).collect()).await.unwrap();
    let partition = read(&mut *consumer, 5).await.messages[0].partition.clone();
    consumer.commit(&[Position { partition: partition.clone(), next: 5 }]).await.unwrap();
    let mut late = subscribe(&log, "late", &topic("t")).await;
    assert_eq!(read(&mut *late, 5).await.batches(), [0, 1, 2, 3, 4]);
    late.commit(&[Position { partition, next: 5 }]).await.unwrap();
    // Now there is no room: what all have read goes.
    log.append(&topic("t"), (5..14).map(|batch| sized("n", batch, 1_000)).collect()).await.unwrap();
    let mut later = subscribe(&log, "later", &topic("t")).await;
    assert_eq!(read(&mut *later, 9).await.batches(), (5..14).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_seek_skips_removed_messages() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path(), EmbeddedOptions::default()).await;
    let mut consumer = subscribe(&log, "g", &topic("t")).await;
    log.append(&topic("t"), messages("n", 0..8)).await.unwrap();
    let partition = read(&mut *consumer, 8).await.messages[0].partition.clone();
    consumer.commit(&[Position { partition: partition.clone(), next: 5 }]).await.unwrap();
    consumer.seek(&Position { partition, next: 0 }).await.unwrap();
    assert_eq!(read_on(&mut *consumer, 3).await.batches(), [5, 6, 7]);
}

#[tokio::test]
async fn a_topic_keeps_its_number_of_partitions() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path(), four_partitions()).await;
    log.append(&topic("t"), messages("n", 0..1)).await.unwrap();
    drop(log);
    let log = open(folder.path(), EmbeddedOptions::default()).await;
    assert_eq!(log.end(&topic("t")).await.unwrap().len(), 4);
    assert_eq!(log.end(&topic("new")).await.unwrap().len(), 1);
}

#[tokio::test]
async fn only_one_process_at_a_time_can_open_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path(), EmbeddedOptions::default()).await;
    match EmbeddedLog::open(folder.path(), EmbeddedOptions::default()).await {
        Err(error @ OpenError::InUse { process, .. }) => {
            assert_eq!(process, Some(std::process::id()));
            assert!(error.to_string().contains("is in use by another process"), "{error}");
        }
        Err(error) => panic!("{error:?}"),
        Ok(_) => panic!("it was opened twice"),
    }
    drop(log);
    open(folder.path(), EmbeddedOptions::default()).await;
}

#[tokio::test]
async fn an_interrupted_first_open_is_started_over() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("store")).unwrap();
    std::fs::write(folder.path().join("store/0.jnl"), b"half made").unwrap();
    let log = open(folder.path(), EmbeddedOptions::default()).await;
    log.append(&topic("t"), messages("n", 0..1)).await.unwrap();
}

#[tokio::test]
async fn a_folder_that_is_not_a_log_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("store")).unwrap();
    std::fs::write(folder.path().join("store/version"), b"nonsense").unwrap();
    let error = EmbeddedLog::open(folder.path(), EmbeddedOptions::default()).await.err().expect("it opened");
    assert!(matches!(error, OpenError::Store { .. }), "{error:?}");
}

/// Gives the record at `offset` of the first partition of the first topic another version, as a newer release would have
/// written it. Nobody has the log open.
pub(crate) fn set_record_version(dir: &std::path::Path, offset: u64, version: u8) {
    let store = fjall::Database::builder(dir.join("store")).open().unwrap();
    let messages = store.keyspace("messages", fjall::KeyspaceCreateOptions::default).unwrap();
    let key = [&[0; 8][..], &offset.to_be_bytes()].concat();
    let mut record = messages.get(&key).unwrap().unwrap().to_vec();
    record[0] = version;
    messages.insert(key, record).unwrap();
    store.persist(fjall::PersistMode::SyncAll).unwrap();
}

#[tokio::test]
async fn a_record_of_a_newer_release_holds_its_partition_until_the_upgrade() {
    let folder = tempfile::tempdir().unwrap();
    let one_partition = EmbeddedOptions::default;
    let other = topic("other");
    let log = open(folder.path(), one_partition()).await;
    log.append(&topic("t"), messages("n", 0..4)).await.unwrap();
    log.append(&other, messages("n", 0..2)).await.unwrap();
    drop(log);
    set_record_version(folder.path(), 2, 2);
    let read_all = async |expected: &[(&str, i64)], newer: bool| {
        let log = open(folder.path(), one_partition()).await;
        let mut consumer = log.subscribe(&group("g"), &[topic("t"), other.clone()]).await.unwrap();
        let (mut seen, mut held) = (Vec::new(), 0);
        // One more look than there is to see.
        let mut looks = 2;
        while looks > 0 {
            match consumer.poll(100, Duration::from_millis(50)).await {
                Ok(Polled::Messages(some)) if some.is_empty() => looks -= 1,
                Ok(Polled::Messages(some)) => {
                    seen.extend(some.iter().map(|found| (found.partition.topic.tenant.clone(), found.offset)));
                }
                Ok(_) => {}
                Err(LogError::Newer { partition, offset, newer }) => {
                    assert_eq!(
                        (partition.topic, offset, newer.to_string().contains("record version 2")),
                        (topic("t"), 2, true)
                    );
                    held += 1;
                }
                Err(error) => panic!("{error}"),
            }
        }
        seen.sort();
        let expected: Vec<_> = expected.iter().map(|(tenant, offset)| ((*tenant).to_owned(), *offset)).collect();
        assert_eq!((seen, held), (expected, i32::from(newer)));
    };
    read_all(&[("other", 0), ("other", 1), ("t", 0), ("t", 1)], true).await;
    set_record_version(folder.path(), 2, 1);
    read_all(&[("other", 0), ("other", 1), ("t", 0), ("t", 1), ("t", 2), ("t", 3)], false).await;
}

#[tokio::test]
async fn a_folder_of_a_newer_release_is_left_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let format = folder.path().join("format");
    let log = open(folder.path(), EmbeddedOptions::default()).await;
    log.append(&topic("t"), messages("n", 0..2)).await.unwrap();
    drop(log);
    assert_eq!(std::fs::read_to_string(&format).unwrap(), "1\n");
    std::fs::write(&format, "2\n").unwrap();
    let refused = EmbeddedLog::open(folder.path(), EmbeddedOptions::default()).await.err().unwrap();
    assert!(matches!(refused, OpenError::Newer { .. }), "{refused:?}");
    assert!(refused.to_string().contains("log version 2 is newer than 1"), "{refused}");
    assert_eq!(std::fs::read_to_string(&format).unwrap(), "2\n");
    // A folder that was written before there was a version.
    std::fs::remove_file(&format).unwrap();
    let log = open(folder.path(), EmbeddedOptions::default()).await;
    assert_eq!(read(&mut *subscribe(&log, "g", &topic("t")).await, 2).await.batches(), [0, 1]);
    assert_eq!(std::fs::read_to_string(&format).unwrap(), "1\n");
}

#[tokio::test]
async fn a_topic_of_a_newer_release_is_left_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path(), EmbeddedOptions::default()).await;
    log.append(&topic("t"), messages("n", 0..2)).await.unwrap();
    let held = log.held_bytes();
    drop(log);
    // Renamed in the store, as if for a table that this release does not have.
    let rename = |from: &str, to: &str| {
        let store = fjall::Database::builder(folder.path().join("store")).open().unwrap();
        let meta = store.keyspace("meta", fjall::KeyspaceCreateOptions::default).unwrap();
        let value = meta.get(from).unwrap().unwrap();
        meta.insert(to, value).unwrap();
        meta.remove(from).unwrap();
        store.persist(fjall::PersistMode::SyncAll).unwrap();
    };
    rename("tkerntrail.t.process_events", "tkerntrail.t.table_of_tomorrow");
    let log = open(folder.path(), EmbeddedOptions::default()).await;
    assert_eq!(log.held_bytes(), held);
    log.append(&topic("u"), messages("n", 5..6)).await.unwrap();
    assert_eq!(read(&mut *subscribe(&log, "g", &topic("u")).await, 1).await.batches(), [5]);
    drop(log);
    rename("tkerntrail.t.table_of_tomorrow", "tkerntrail.t.process_events");
    let log = open(folder.path(), EmbeddedOptions::default()).await;
    assert_eq!(read(&mut *subscribe(&log, "g", &topic("t")).await, 2).await.batches(), [0, 1]);
}

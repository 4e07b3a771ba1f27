//! Killed at any point and run again, every record is in the lake exactly once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use kerntrail_transport::{Consumer, Group, LogError, Message, Position, Topic};
use tokio::sync::Notify;

use super::*;

/// What a log does with an append.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Act {
    Take,
    /// Takes all, and never answers: the importer is killed here.
    TakeAndHang,
    /// Takes nothing, and never answers.
    Hang,
    /// Takes the first messages, and never answers.
    TakeHalfAndHang,
    Full,
    /// Takes the first messages and says that it failed.
    TakeHalfAndFail,
    Refuse,
}

/// A log whose appends go as `acts` say, then well.
pub(super) struct Acting {
    log: MemoryLog,
    acts: Vec<Act>,
    appends: AtomicUsize,
    pub(super) hanging: Notify,
}

impl Acting {
    pub(super) fn new(log: &MemoryLog, acts: &[Act]) -> Self {
        Self { log: log.clone(), acts: acts.to_vec(), appends: AtomicUsize::new(0), hanging: Notify::new() }
    }

    async fn hang(&self) -> Result<(), LogError> {
        self.hanging.notify_one();
        std::future::pending().await
    }
}

#[async_trait]
impl EventLog for Acting {
    async fn append(&self, topic: &Topic, mut messages: Vec<Message>) -> Result<(), LogError> {
        let act = self.acts.get(self.appends.fetch_add(1, Ordering::SeqCst)).copied().unwrap_or(Act::Take);
        if matches!(act, Act::TakeHalfAndHang | Act::TakeHalfAndFail) {
            messages.truncate(messages.len() / 2);
        }
        let failed = |retriable| LogError::Failed { operation: "append".into(), source: "x".into(), retriable };
        match act {
            Act::Hang => return self.hang().await,
            Act::Full => return Err(LogError::Full { held: 1, limit: 1 }),
            Act::Refuse => return Err(failed(false)),
            _ => self.log.append(topic, messages).await?,
        }
        match act {
            Act::TakeAndHang | Act::TakeHalfAndHang => self.hang().await,
            Act::TakeHalfAndFail => Err(failed(true)),
            _ => Ok(()),
        }
    }

    async fn subscribe(&self, group: &Group, topics: &[Topic]) -> Result<Box<dyn Consumer>, LogError> {
        self.log.subscribe(group, topics).await
    }

    async fn end(&self, topic: &Topic) -> Result<Vec<Position>, LogError> {
        self.log.end(topic).await
    }

    async fn oldest(&self, topic: &Topic) -> Result<Vec<Position>, LogError> {
        self.log.oldest(topic).await
    }

    async fn committed(&self, group: &Group, topic: &Topic) -> Result<Vec<Position>, LogError> {
        self.log.committed(group, topic).await
    }
}

/// Nodes enough that each append holds several messages.
fn input() -> String {
    (0..300).map(|number| exec(["a", "b", "c", "d"][number as usize % 4], number) + "\n").collect::<String>() + ESCAPE
}

/// Sequence numbers of every table, which must not repeat, and how many rows there are.
pub(super) async fn all_once(importing: &Importing) -> usize {
    let mut ids = BTreeSet::new();
    let mut rows = 0;
    for table in Table::ALL {
        for row in importing.rows(*table, "stream, seq").await {
            rows += 1;
            assert!(ids.insert(row.clone()), "{row:?} is there twice");
        }
    }
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_and_run_again() {
    use Act::*;
    let cases: &[&[Act]] = &[
        &[Hang],
        &[TakeAndHang],
        &[TakeHalfAndHang],
        &[Take, Hang],
        &[Take, TakeAndHang],
        &[Take, Take, TakeHalfAndHang],
        &[Take, Take, Take, TakeAndHang],
    ];
    for acts in cases {
        let importing = Importing::new();
        let acting = Acting::new(&importing.log, acts);
        let running = importing.import_to(&acting, importing.options("x"), Cursor::new(input()));
        tokio::select! {
            report = running => panic!("{acts:?}: {report:?}"),
            () = acting.hanging.notified() => {}
        }
        importing.drain().await;
        let before = all_once(&importing).await as u64;
        let report = importing.import("x", input()).await;
        assert_eq!(report.rows, 300 + ESCAPE_ROWS - before, "{acts:?}");
        // One record has two rows.
        assert!((before.saturating_sub(1)..=before).contains(&report.already_there), "{acts:?}: {report:?}");
        assert_eq!(all_once(&importing).await as u64, 300 + ESCAPE_ROWS, "{acts:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_waits_for_a_log_that_is_full_or_fails_temporarily() {
    use Act::*;
    for acts in [&[Full, Full, Take][..], &[TakeHalfAndFail, TakeHalfAndFail], &[Take, Full, TakeHalfAndFail]] {
        let importing = Importing::new();
        let acting = Acting::new(&importing.log, acts);
        let report = importing.import_to(&acting, importing.options("x"), Cursor::new(input())).await.unwrap();
        assert_eq!(report.rows, 300 + ESCAPE_ROWS);
        assert!(acting.appends.load(Ordering::SeqCst) > acts.iter().filter(|act| **act != Take).count());
        importing.drain().await;
        assert_eq!(all_once(&importing).await as u64, 300 + ESCAPE_ROWS, "{acts:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_refuses_is_an_error_and_loses_nothing() {
    let importing = Importing::new();
    let acting = Acting::new(&importing.log, &[Act::Take, Act::Refuse]);
    let failed = importing.import_to(&acting, importing.options("x"), Cursor::new(input())).await;
    assert!(matches!(failed, Err(ImportError::Append { .. })), "{failed:?}");
    importing.drain().await;
    importing.import("x", input()).await;
    assert_eq!(all_once(&importing).await as u64, 300 + ESCAPE_ROWS);
}

/// Numbers of messages go on from what the lake holds, without gaps, over imports and nodes.
#[tokio::test(flavor = "multi_thread")]
async fn later_imports_continue_the_batch_numbers() {
    let importing = Importing::new();
    for part in 0..3 {
        let text: String = (part * 10..part * 10 + 10).map(|number| exec("a", number) + "\n").collect();
        importing.import("x", text + &exec("b", part)).await;
    }
    let mut consumer = {
        let topic = crate::support::topic(Table::ProcessEvents);
        importing.log.subscribe(&Group("test".into()), &[topic]).await.unwrap()
    };
    let mut numbers: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    while numbers.values().map(Vec::len).sum::<usize>() < 6 {
        if let kerntrail_transport::Polled::Messages(messages) =
            consumer.poll(100, std::time::Duration::from_secs(5)).await.unwrap()
        {
            assert!(!messages.is_empty(), "only {numbers:?}");
            for message in messages {
                let headers = message.message.headers;
                assert_eq!(headers.stream.as_str(), format!("tetragon:{}", headers.node));
                numbers.entry(headers.node).or_default().push(headers.batch);
            }
        }
    }
    assert_eq!(numbers, BTreeMap::from([("a".to_owned(), vec![0, 1, 2]), ("b".to_owned(), vec![0, 1, 2])]));
}

/// Other consumers may remember numbers that the lake has forgotten, and would drop messages that begin with them again.
#[tokio::test(flavor = "multi_thread")]
async fn an_expired_stream_is_numbered_from_the_clock() {
    let importing = Importing::new();
    importing.import("x", exec("a", 0)).await;
    let month_later = || chrono::Utc::now().timestamp_millis() + 31 * 86_400_000;
    let lake = Lake::open(importing.path().join("lake").to_str().unwrap(), "acme").unwrap();
    let importing = Importing { lake: Arc::new(lake.with_clock(month_later)), ..importing };
    let partition = crate::support::place(Table::ProcessEvents, 0).to_string();
    let table = importing.lake.existing(Table::ProcessEvents).await.unwrap().unwrap();
    assert!(table.progress(&partition).unwrap().batches.is_empty());

    let before = chrono::Utc::now().timestamp_micros();
    let report = importing.import("x", exec("a", 0) + "\n" + &exec("a", 1)).await;
    assert_eq!((report.rows, report.already_there), (1, 1));
    let table = importing.lake.existing(Table::ProcessEvents).await.unwrap().unwrap();
    let batches = table.progress(&partition).unwrap().batches;
    assert!(batches["tetragon:a"] > before, "{batches:?}");
    importing.import("x", exec("a", 2)).await;
    let table = importing.lake.existing(Table::ProcessEvents).await.unwrap().unwrap();
    assert_eq!(table.progress(&partition).unwrap().batches["tetragon:a"], batches["tetragon:a"] + 1);
}

//! Progress of streams that ended long ago expires; offsets never do.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::{Array, AsArray};
use expect_test::expect_file;
use kerntrail_lake::{EventKey, Lake, LakeError, LakeTable, Progress};
use kerntrail_schemas::Table;
use kerntrail_schemas::cell::Micros;
use kerntrail_schemas::identity::StreamId;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

use crate::support::{NOON, TempLake, make_checkpoint, processes, seqs, taken};

const DAY_MS: i64 = 86_400_000;
/// The form of progress that this version writes, and the one before it.
const GOLDEN: [&str; 2] = ["tests/golden/progress_1.jsonl", "tests/golden/progress_2.jsonl"];

fn now() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

/// Offsets `offsets` of `topic/0`, with the last batch numbers of streams.
fn progress(offsets: std::ops::Range<i64>, batches: &[(&str, i64)]) -> Progress {
    let batches = batches.iter().map(|(stream, batch)| ((*stream).to_owned(), *batch)).collect();
    Progress { batches, ..taken(offsets) }
}

fn batches(table: &LakeTable) -> BTreeMap<String, i64> {
    table.progress("topic/0").unwrap().batches
}

/// The appIds in the checkpoint of `version`.
fn app_ids(temp: &TempLake, version: i64) -> Vec<String> {
    let log = temp.table_folder(Table::ProcessEvents).join("_delta_log");
    let file = std::fs::File::open(log.join(format!("{version:020}.checkpoint.parquet"))).unwrap();
    let mut ids = Vec::new();
    for batch in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
        let batch = batch.unwrap();
        let txns = batch.column_by_name("txn").unwrap().as_struct();
        let names = txns.column_by_name("appId").unwrap().as_string::<i32>();
        // A row of another kind of action has no appId, whatever the field of the missing struct holds.
        ids.extend((0..txns.len()).filter(|row| txns.is_valid(*row)).map(|row| names.value(row).to_owned()));
    }
    ids.sort();
    ids
}

#[tokio::test]
async fn a_stream_without_commits_expires_and_the_offset_stays() {
    let temp = TempLake::new();
    let clock = Arc::new(AtomicI64::new(now() - 60 * DAY_MS));
    let lake = temp.again().with_clock({
        let clock = Arc::clone(&clock);
        move || clock.load(Ordering::SeqCst)
    });
    let mut table = lake.table(Table::ProcessEvents).await.unwrap();
    table.append(vec![processes(0, 2, NOON)], &[progress(0..2, &[("ended", 1), ("quiet", 4)])]).await.unwrap();
    let snapshot = table.clone();
    clock.fetch_add(20 * DAY_MS, Ordering::SeqCst);
    table.append(vec![], &[progress(2..3, &[("running", 7)])]).await.unwrap();
    assert_eq!(batches(&table), [("ended".into(), 1), ("quiet".into(), 4), ("running".into(), 7)].into());

    clock.fetch_add(10 * DAY_MS - 1, Ordering::SeqCst);
    assert_eq!(batches(&table).len(), 3, "not yet");
    clock.fetch_add(1, Ordering::SeqCst);
    for handle in [&table, &lake.existing(Table::ProcessEvents).await.unwrap().unwrap()] {
        assert_eq!(batches(handle), [("running".into(), 7)].into());
        assert_eq!(handle.progress("topic/0").unwrap().next_offset, 3);
    }
    assert_eq!(snapshot.progress("topic/0").unwrap().next_offset, 2, "an old handle still sees its own version");

    // A stream that was only quiet goes on with its own numbers.
    table.append(vec![], &[progress(3..4, &[("quiet", 5)])]).await.unwrap();
    assert_eq!(batches(&table), [("quiet".into(), 5), ("running".into(), 7)].into());
    let error = table.append(vec![], &[progress(4..5, &[("quiet", 3)])]).await.unwrap_err();
    assert!(matches!(&error, LakeError::Conflict { recorded: 5, expected: 3, .. }), "{error}");
}

#[tokio::test]
async fn a_checkpoint_leaves_out_what_has_expired_and_keeps_every_offset() {
    let temp = TempLake::new();
    let old = temp.again().with_clock(|| now() - 40 * DAY_MS);
    let mut table = old.table(Table::ProcessEvents).await.unwrap();
    for seq in 0..50 {
        let stream = format!("boot+{seq}");
        table.append(vec![], &[progress(seq..seq + 1, &[(&stream, 0)])]).await.unwrap();
    }
    assert_eq!(batches(&table).len(), 50);
    let mut rejected = Progress { partition: "rejected/topic/0".into(), next_offset: 9, ..Progress::default() };
    rejected.batches.clear();
    table.append(vec![], &[rejected]).await.unwrap();

    let mut table = temp.again().table(Table::ProcessEvents).await.unwrap();
    assert_eq!(batches(&table).len(), 0);
    for seq in 50..100 {
        table.append(vec![], &[progress(seq..seq + 1, &[("alive", seq)])]).await.unwrap();
    }
    assert!(table.checkpoint().await.unwrap());
    assert_eq!(app_ids(&temp, table.version()), ["rejected/topic/0", "topic/0", "topic/stream/alive"]);
    for reader in [&table, &temp.again().existing(Table::ProcessEvents).await.unwrap().unwrap()] {
        assert_eq!(batches(reader), [("alive".into(), 99)].into());
        assert_eq!(reader.progress("topic/0").unwrap().next_offset, 100);
        assert_eq!(reader.progress("rejected/topic/0").unwrap().next_offset, 9);
    }
    // Delta's own reader has the same.
    let url = url::Url::from_directory_path(temp.table_folder(Table::ProcessEvents)).unwrap();
    let delta = deltalake_core::open_table(url).await.unwrap();
    let (store, state) = (delta.log_store(), delta.snapshot().unwrap());
    for (app_id, expected) in [("topic/0", Some(99)), ("topic/stream/alive", Some(99)), ("topic/stream/boot+7", None)] {
        assert_eq!(state.transaction_version(store.as_ref(), app_id).await.unwrap(), expected, "{app_id}");
    }
}

/// A table whose log records progress in version 1 of the format: golden lines after the first commit.
async fn table_of_version_1(temp: &TempLake) {
    temp.lake.table(Table::ProcessEvents).await.unwrap();
    let log = temp.table_folder(Table::ProcessEvents).join("_delta_log");
    let first = log.join("00000000000000000000.json");
    let mut lines = Vec::new();
    for line in std::fs::read_to_string(&first).unwrap().lines() {
        let mut action: Value = serde_json::from_str(line).unwrap();
        if let Some(properties) = action.pointer_mut("/metaData/configuration") {
            let properties = properties.as_object_mut().unwrap();
            properties.remove("kerntrail.progressVersion").unwrap();
            properties.remove("delta.setTransactionRetentionDuration").unwrap();
        }
        lines.push(action.to_string());
    }
    std::fs::write(&first, lines.join("\n")).unwrap();
    std::fs::copy(GOLDEN[0], log.join("00000000000000000001.json")).unwrap();
}

/// The configuration of the latest metadata in the log.
fn properties(log: &Path) -> Value {
    let mut commits: Vec<_> = std::fs::read_dir(log).unwrap().map(|entry| entry.unwrap().path()).collect();
    commits.sort();
    let lines = commits.iter().rev().filter(|path| path.extension().is_some_and(|e| e == "json")).flat_map(|path| {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>()
    });
    lines.filter_map(|action| action.pointer("/metaData/configuration").cloned()).next().unwrap()
}

#[tokio::test]
async fn a_table_of_the_first_version_gets_a_retention_and_offsets_that_do_not_expire() {
    let temp = TempLake::new();
    table_of_version_1(&temp).await;
    let expected: BTreeMap<String, i64> = [("59a5a6c4+17".into(), 3), ("tetragon:node".into(), 12)].into();
    let reader = temp.again().existing(Table::ProcessEvents).await.unwrap().unwrap();
    assert_eq!((reader.version(), reader.progress("topic/0").unwrap().next_offset), (1, 7));
    assert_eq!(batches(&reader), expected, "without a retention nothing expires");

    // The streams' last commits are years back by the golden file.
    let mut table = temp.again().table(Table::ProcessEvents).await.unwrap();
    assert_eq!((table.version(), table.progress("topic/0").unwrap().next_offset), (2, 7));
    assert_eq!((table.progress("topic/1").unwrap().next_offset, batches(&table).len()), (4, 0));
    let properties = properties(&temp.table_folder(Table::ProcessEvents).join("_delta_log"));
    assert_eq!(properties["delta.setTransactionRetentionDuration"], "interval 30 days");
    assert_eq!(properties["kerntrail.progressVersion"], "2");
    assert_eq!(properties["delta.logRetentionDuration"], "interval 6 hours", "the others are still there");
    // Once only.
    assert_eq!(temp.again().table(Table::ProcessEvents).await.unwrap().version(), 2);

    // Now any writer may make a checkpoint.
    make_checkpoint(&temp, Table::ProcessEvents, 2).await;
    assert_eq!(app_ids(&temp, 2), ["topic/0", "topic/1"]);
    table.append(vec![processes(0, 1, NOON)], &[progress(7..8, &[])]).await.unwrap();
    let reader = temp.again().existing(Table::ProcessEvents).await.unwrap().unwrap();
    assert_eq!(
        (reader.progress("topic/0").unwrap().next_offset, reader.progress("topic/1").unwrap().next_offset),
        (8, 4)
    );
}

#[tokio::test]
async fn a_configured_retention_is_kept() {
    let temp = TempLake::new();
    table_of_version_1(&temp).await;
    let log = temp.table_folder(Table::ProcessEvents).join("_delta_log");
    let text = std::fs::read_to_string(log.join("00000000000000000000.json")).unwrap();
    let text = text.replace(
        r#""delta.logRetentionDuration""#,
        r#""delta.setTransactionRetentionDuration":"interval 5200 weeks","delta.logRetentionDuration""#,
    );
    std::fs::write(log.join("00000000000000000000.json"), text).unwrap();
    let table = temp.again().table(Table::ProcessEvents).await.unwrap();
    assert_eq!((table.version(), batches(&table).len()), (2, 2));
    assert_eq!(properties(&log)["delta.setTransactionRetentionDuration"], "interval 5200 weeks");
}

#[tokio::test]
async fn offsets_recorded_by_an_older_writer_survive_our_checkpoint() {
    let temp = TempLake::new();
    let mut table = temp.lake.table(Table::ProcessEvents).await.unwrap();
    let log = temp.table_folder(Table::ProcessEvents).join("_delta_log");
    let older = json!({"txn": {"appId": "topic/0", "version": 4, "lastUpdated": now() - 40 * DAY_MS}});
    std::fs::write(log.join("00000000000000000001.json"), older.to_string()).unwrap();
    for offset in 5..105 {
        let partition = Progress { partition: "topic/1".into(), ..taken(offset - 5..offset - 4) };
        table.append(vec![], &[partition]).await.unwrap();
    }
    assert!(table.checkpoint().await.unwrap());
    assert_eq!(app_ids(&temp, table.version()), ["topic/0", "topic/1"]);
    let reader = temp.again().existing(Table::ProcessEvents).await.unwrap().unwrap();
    assert_eq!(reader.progress("topic/0").unwrap().next_offset, 5);
}

#[tokio::test]
async fn progress_of_a_newer_version_is_refused() {
    let temp = TempLake::new();
    let mut table = temp.lake.table(Table::ProcessEvents).await.unwrap();
    table.append(vec![processes(0, 1, NOON)], &[progress(0..1, &[])]).await.unwrap();
    let first = temp.table_folder(Table::ProcessEvents).join("_delta_log/00000000000000000000.json");
    let text = std::fs::read_to_string(&first).unwrap();
    let newer = text.replace(r#""kerntrail.progressVersion":"2""#, r#""kerntrail.progressVersion":"3""#);
    assert_ne!(newer, text);
    std::fs::write(&first, newer).unwrap();
    let error = temp.again().table(Table::ProcessEvents).await.map(|_| ()).unwrap_err();
    let newer = |error: &LakeError| matches!(error, LakeError::NewerProgress { found: 3, known: 2, .. });
    assert!(newer(&error) && error.to_string().contains("version 3"), "{error}");
    // Rows can be read; progress can be neither read nor recorded.
    let mut reader = temp.again().existing(Table::ProcessEvents).await.unwrap().unwrap();
    assert_eq!(seqs(reader.provider()).await, [0]);
    assert!(newer(&reader.progress("topic/0").unwrap_err()));
    assert!(newer(&reader.append(vec![processes(1, 1, NOON)], &[progress(1..2, &[])]).await.unwrap_err()));
    assert_eq!(reader.version(), 1);
}

#[tokio::test]
async fn progress_is_written_in_the_form_of_its_version() {
    let temp = TempLake::new();
    let lake = temp.again().with_clock(|| 1_764_000_000_123);
    let mut table = lake.table(Table::ProcessEvents).await.unwrap();
    let other = Progress { partition: "topic/1".into(), next_offset: 4, ..Progress::default() };
    let written = progress(0..7, &[("59a5a6c4+17", 3), ("tetragon:node", 12)]);
    table.append(vec![], &[written, other]).await.unwrap();
    let commit = temp.table_folder(Table::ProcessEvents).join("_delta_log/00000000000000000001.json");
    let commit = std::fs::read_to_string(commit).unwrap();
    let records: String =
        commit.lines().filter(|line| line.contains("\"txn\"")).map(|line| format!("{line}\n")).collect();
    expect_file![concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/progress_2.jsonl")].assert_eq(&records);
}

#[tokio::test]
async fn an_event_that_is_sent_again_after_its_streams_progress_has_expired_is_found() {
    let temp = TempLake::new();
    let then = NOON / 1000;
    let mut table = temp.again().with_clock(move || then).table(Table::ProcessEvents).await.unwrap();
    table.append(vec![processes(0, 10, NOON)], &[progress(0..1, &[("stream", 0)])]).await.unwrap();
    assert!(!table.may_have_expired(Some(Micros(NOON))));

    let later = temp.again().with_clock(move || then + 31 * DAY_MS);
    let table = later.existing(Table::ProcessEvents).await.unwrap().unwrap();
    assert_eq!(batches(&table).len(), 0);
    let fresh = NOON + 17 * DAY_MS * 1000;
    for (time, expected) in [(Some(Micros(NOON)), true), (None, true), (Some(Micros(fresh)), false)] {
        assert_eq!(table.may_have_expired(time), expected, "{time:?}");
    }
    let day = Some(Micros(NOON).day());
    let key = |stream: &str, cpu, seq| EventKey { day, stream: StreamId::new(stream), cpu: Some(cpu), seq };
    for (key, expected) in [
        (key("stream", 0, Some(7)), true),
        (key("stream", 0, Some(10)), false),
        (key("stream", 1, Some(7)), false),
        (key("other", 0, Some(7)), false),
        (key("stream", 0, None), false),
        (EventKey { day: None, ..key("stream", 0, Some(7)) }, false),
    ] {
        assert_eq!(table.holds_event(&key).await.unwrap(), expected, "{key:?}");
    }
    assert_eq!(seqs(table.provider()).await.len(), 10);
}

#[tokio::test]
async fn a_schema_upgrade_that_fails_or_is_killed_keeps_every_offset() {
    use crate::faulty_store::{Fault, Spot, faulty};
    for fault in [Fault::FailBefore, Fault::FailAfter, Fault::StopBefore, Fault::StopAfter] {
        let temp = TempLake::new();
        table_of_version_1(&temp).await;
        let (url, faults) = faulty(temp.folder.path());
        faults.arm([Spot { path_has: "_delta_log", nth: 0, fault }]);
        let lake = Lake::open(&url, "acme").unwrap();
        tokio::select! {
            _ = lake.table(Table::ProcessEvents) => {}
            () = faults.stopped() => {}
        }
        assert!(faults.all_happened(), "{fault:?}");
        let mut table = Lake::open(&url, "acme").unwrap().table(Table::ProcessEvents).await.unwrap();
        assert_eq!((table.version(), table.progress("topic/0").unwrap().next_offset), (2, 7), "{fault:?}");
        table.append(vec![], &[progress(7..8, &[("new", 0)])]).await.unwrap();
        make_checkpoint(&temp, Table::ProcessEvents, 3).await;
        let reader = temp.again().existing(Table::ProcessEvents).await.unwrap().unwrap();
        assert_eq!(
            (reader.progress("topic/0").unwrap().next_offset, reader.progress("topic/1").unwrap().next_offset),
            (8, 4),
            "{fault:?}"
        );
        assert_eq!(batches(&reader), [("new".into(), 0)].into(), "{fault:?}");
    }
}

//! What a handle sees: its own version, whatever is committed later, and the same from a checkpoint as from the log.

use std::time::Duration;

use kerntrail_lake::{CompactOptions, LakeError, LakeTable, Progress};
use kerntrail_schemas::Table;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::support::{DAY, NOON, TempLake, all_rows, make_checkpoint, processes, seqs, taken};

/// All that a handle reveals of its version.
#[derive(Debug, PartialEq)]
struct Seen {
    version: i64,
    files: Vec<String>,
    rows: Vec<String>,
    progress: Progress,
}

async fn seen(table: &LakeTable) -> Seen {
    Seen {
        version: table.version(),
        files: table.files(),
        rows: all_rows(table).await,
        progress: table.progress("topic/0").unwrap(),
    }
}

fn eager() -> CompactOptions {
    CompactOptions { small_files: 1, ..CompactOptions::default() }
}

async fn append(table: &mut LakeTable, seq: i64, streams: i64) {
    let mut progress = taken(seq..seq + 1);
    progress.batches = [(format!("stream {}", seq % streams), seq)].into();
    table.append(vec![processes(seq, 1, NOON - seq % 3 * DAY)], &[progress]).await.unwrap();
}

#[tokio::test]
async fn a_readers_snapshot_is_not_changed_by_later_commits() {
    let temp = TempLake::new();
    let mut writer = temp.lake.table(Table::ProcessEvents).await.unwrap();
    let mut readers = Vec::new();
    for seq in 0..20 {
        append(&mut writer, seq, 4).await;
        if seq == 12 {
            writer.compact(&eager()).await.unwrap();
        }
        let reader = temp.lake.existing(Table::ProcessEvents).await.unwrap().unwrap();
        let expected = seen(&reader).await;
        readers.push((reader, expected));
    }
    writer.compact(&eager()).await.unwrap();
    assert_eq!(seqs(writer.provider()).await.len(), 20);
    for (seq, (mut reader, expected)) in readers.into_iter().enumerate() {
        assert_eq!(expected.rows.len(), seq + 1);
        assert_eq!(seen(&reader).await, expected);
        reader.refresh().await.unwrap();
        assert_eq!(reader.version(), writer.version());
    }
}

#[tokio::test]
async fn a_checkpoint_gives_the_same_as_the_log() {
    let temp = TempLake::new();
    let mut table = temp.lake.table(Table::ProcessEvents).await.unwrap();
    for seq in 0..30 {
        append(&mut table, seq, 7).await;
    }
    table.compact(&eager()).await.unwrap();
    for seq in 30..40 {
        append(&mut table, seq, 7).await;
    }
    let version = table.version();
    let from_log = seen(&temp.again().existing(Table::ProcessEvents).await.unwrap().unwrap()).await;
    assert_eq!(from_log, seen(&table).await);
    make_checkpoint(&temp, Table::ProcessEvents, version).await;
    let log = temp.table_folder(Table::ProcessEvents).join("_delta_log");
    for version in 0..=version {
        std::fs::remove_file(log.join(format!("{version:020}.json"))).unwrap();
    }
    let mut reader = temp.again().table(Table::ProcessEvents).await.unwrap();
    assert_eq!(seen(&reader).await, from_log);
    append(&mut reader, 40, 7).await;
    let vacuumed = reader.vacuum(Duration::ZERO).await.unwrap();
    assert!(vacuumed.files > 0, "the checkpoint remembers removals: {vacuumed:?}");
    assert_eq!(seqs(reader.provider()).await, (0..41).collect::<Vec<_>>());
}

/// Something that is done to a table.
#[derive(Clone, Copy, Debug)]
enum Deed {
    /// Rows, by the handle of this number, which may be behind.
    Append(usize),
    Compact,
    Checkpoint,
    Vacuum,
    /// The handle of this number moves on.
    Refresh(usize),
    /// The handle of this number is reopened, as after a restart.
    Reopen(usize),
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        6 => (0..3usize).prop_map(Deed::Append),
        1 => Just(Deed::Compact),
        1 => Just(Deed::Checkpoint),
        1 => Just(Deed::Vacuum),
        1 => (0..3usize).prop_map(Deed::Refresh),
        2 => (0..3usize).prop_map(Deed::Reopen),
    ]
}

/// Does `deeds` with three handles, each as another process has it; the model is the number of rows.
async fn check(deeds: &[Deed]) {
    let temp = TempLake::new();
    let mut handles = Vec::new();
    for _ in 0..3 {
        handles.push(temp.again().table(Table::ProcessEvents).await.unwrap());
    }
    let mut rows = 0;
    for deed in deeds {
        match *deed {
            Deed::Append(handle) => {
                let table = &mut handles[handle];
                let next = table.progress("topic/0").unwrap().next_offset;
                let mut progress = taken(next..next + 1);
                progress.batches = [("stream".to_owned(), next)].into();
                let appended = table.append(vec![processes(next, 1, NOON)], &[progress]).await;
                match appended {
                    Ok(_) if next == rows => rows += 1,
                    Err(LakeError::Conflict { .. }) if next < rows => {}
                    other => panic!("at {rows} rows, from {next}: {other:?}"),
                }
            }
            Deed::Compact => drop(handles[0].compact(&eager()).await.unwrap()),
            Deed::Checkpoint => {
                make_checkpoint(&temp, Table::ProcessEvents, {
                    handles[0].refresh().await.unwrap();
                    handles[0].version()
                })
                .await
            }
            Deed::Vacuum => drop(handles[0].vacuum(Duration::ZERO).await.unwrap()),
            Deed::Refresh(handle) => handles[handle].refresh().await.unwrap(),
            Deed::Reopen(handle) => handles[handle] = temp.again().table(Table::ProcessEvents).await.unwrap(),
        }
    }
    let mut views = Vec::new();
    for handle in &mut handles {
        handle.refresh().await.unwrap();
        assert_eq!(seqs(handle.provider()).await, (0..rows).collect::<Vec<_>>());
        assert_eq!(handle.progress("topic/0").unwrap().next_offset, rows);
        views.push(seen(handle).await);
    }
    views.push(seen(&temp.again().existing(Table::ProcessEvents).await.unwrap().unwrap()).await);
    assert!(views.windows(2).all(|pair| pair[0] == pair[1]), "{views:#?}");
}

#[test]
fn operations_in_any_order_keep_each_row_once_for_every_reader() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let config = ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&prop::collection::vec(deed(), 1..40), |deeds| {
            runtime.block_on(check(&deeds));
            Ok(())
        })
        .unwrap();
}

//! Rows and progress, in one commit or not at all.

use std::sync::Arc;

use arrow::array::RecordBatch;
use kerntrail_lake::{Lake, LakeError, Progress};
use kerntrail_schemas::Table;

use crate::support::{DAY, HOUR, NOON, TempLake, all_rows, lines, loss_without_time, processes, seqs, taken};

#[tokio::test]
async fn rows_and_progress_are_read_back_by_another_process() {
    let temp = TempLake::new();
    let mut table = temp.lake.table(Table::ProcessEvents).await.unwrap();
    assert_eq!(table.version(), 0);
    let mut progress = taken(0..7);
    progress.batches = [("stream".to_owned(), 3), ("other".to_owned(), 9)].into();
    let version =
        table.append(vec![processes(0, 10, NOON), processes(10, 5, NOON)], &[progress.clone()]).await.unwrap();
    assert_eq!((version, table.version()), (1, 1));

    let other = temp.again().existing(Table::ProcessEvents).await.unwrap().unwrap();
    assert_eq!(other.version(), 1);
    assert_eq!(other.progress("topic/0").unwrap(), Progress { from_offset: 7, ..progress.clone() });
    assert_eq!(other.progress("topic/1").unwrap().next_offset, 0);
    assert_eq!(other.progress("topic/1").unwrap().batches, progress.batches);
    assert_eq!(seqs(other.provider()).await, (0..15).collect::<Vec<_>>());
    assert_eq!(all_rows(&other).await, all_rows(&table).await);
    assert!(temp.again().existing(Table::FileEvents).await.unwrap().is_none());
}

#[tokio::test]
async fn every_column_comes_back_as_it_was() {
    let temp = TempLake::new();
    let mut table = temp.lake.table(Table::ProcessEvents).await.unwrap();
    let rows = processes(0, 50, NOON);
    let memory = datafusion::datasource::MemTable::try_new(rows.schema(), vec![vec![rows.clone()]]).unwrap();
    table.append(vec![rows], &[]).await.unwrap();
    let written = all_rows(&table).await;
    assert_eq!(written.len(), 50);
    assert_eq!(written, lines(Arc::new(memory), "select * from t").await);
}

#[tokio::test]
async fn progress_alone_is_committed_and_an_empty_append_is_not() {
    let temp = TempLake::new();
    let mut table = temp.lake.table(Table::ProcessEvents).await.unwrap();
    assert_eq!(table.append(vec![], &[]).await.unwrap(), 0);
    assert_eq!(
        table.append(vec![RecordBatch::new_empty(Table::ProcessEvents.schema())], &[taken(0..5)]).await.unwrap(),
        1
    );
    assert_eq!(table.progress("topic/0").unwrap().next_offset, 5);
    assert!(table.files().is_empty());
}

#[tokio::test]
async fn one_of_two_writers_of_a_partition_gets_a_conflict_and_continues() {
    let temp = TempLake::new();
    let mut first = temp.lake.table(Table::ProcessEvents).await.unwrap();
    let mut second = temp.again().table(Table::ProcessEvents).await.unwrap();
    first.append(vec![processes(0, 4, NOON)], &[taken(0..4)]).await.unwrap();

    // Also when it took more than the first has.
    for offsets in [0..4, 0..6] {
        let rows = processes(0, offsets.end, NOON);
        let error = second.append(vec![rows], &[taken(offsets)]).await.unwrap_err();
        assert!(matches!(&error, LakeError::Conflict { recorded: 3, expected: -1, .. }), "{error}");
    }
    second.refresh().await.unwrap();
    assert_eq!(second.progress("topic/0").unwrap().next_offset, 4);
    second.append(vec![processes(4, 4, NOON)], &[taken(4..8)]).await.unwrap();
    first.refresh().await.unwrap();
    assert_eq!(seqs(first.provider()).await, (0..8).collect::<Vec<_>>());
    assert_eq!(temp.parquet_files(Table::ProcessEvents).len(), 2, "the loser left a file");
}

#[tokio::test]
async fn writers_of_different_partitions_do_not_conflict() {
    let temp = TempLake::new();
    temp.lake.table(Table::ProcessEvents).await.unwrap();
    let writers = (0..4).map(|writer| {
        let lake = temp.again();
        tokio::spawn(async move {
            let mut table = lake.table(Table::ProcessEvents).await.unwrap();
            for turn in 0..10 {
                let progress = Progress {
                    partition: format!("topic/{writer}"),
                    from_offset: turn,
                    next_offset: turn + 1,
                    ..Progress::default()
                };
                table.append(vec![processes(writer * 100 + turn, 1, NOON)], &[progress]).await.unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let table = temp.again().existing(Table::ProcessEvents).await.unwrap().unwrap();
    assert_eq!(table.version(), 40);
    let expected: Vec<i64> = (0..4).flat_map(|writer| (0..10).map(move |turn| writer * 100 + turn)).collect();
    assert_eq!(seqs(table.provider()).await, expected);
    for writer in 0..4 {
        assert_eq!(table.progress(&format!("topic/{writer}")).unwrap().next_offset, 10);
    }
}

#[tokio::test]
async fn concurrent_writers_of_one_partition_store_each_row_once() {
    let temp = TempLake::new();
    temp.lake.table(Table::ProcessEvents).await.unwrap();
    let writers = (0..4).map(|_| {
        let lake = temp.again();
        tokio::spawn(async move {
            let mut table = lake.table(Table::ProcessEvents).await.unwrap();
            loop {
                let next = table.progress("topic/0").unwrap().next_offset;
                if next == 40 {
                    return;
                }
                match table.append(vec![processes(next, 1, NOON)], &[taken(next..next + 1)]).await {
                    Ok(_) => {}
                    Err(LakeError::Conflict { .. }) => table.refresh().await.unwrap(),
                    Err(error) => panic!("{error}"),
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let table = temp.again().existing(Table::ProcessEvents).await.unwrap().unwrap();
    assert_eq!(seqs(table.provider()).await, (0..40).collect::<Vec<_>>());
}

#[tokio::test]
async fn rows_around_midnight_and_without_a_day_are_partitioned() {
    let temp = TempLake::new();
    let mut table = temp.lake.table(Table::ProcessEvents).await.unwrap();
    // Two hours at a row an hour would be few: a row a second from 23:59:55 on.
    table.append(vec![processes(0, 10, NOON + 12 * HOUR - 5_000_000)], &[]).await.unwrap();
    table.append(vec![processes(10, 1, NOON - 400 * DAY)], &[]).await.unwrap();
    let mut days: Vec<String> =
        table.files().iter().map(|file| file.split('/').rev().nth(1).unwrap().to_owned()).collect();
    days.sort();
    assert_eq!(days, ["date=2025-10-20", "date=2026-11-24", "date=2026-11-25"]);
    let counts = lines(table.provider(), "select date, count(*) as n from t group by date").await;
    assert_eq!(
        counts,
        [r#"{"date":"2025-10-20","n":1}"#, r#"{"date":"2026-11-24","n":5}"#, r#"{"date":"2026-11-25","n":5}"#,]
    );

    let mut losses = temp.lake.table(Table::EventLoss).await.unwrap();
    losses.append(vec![loss_without_time()], &[]).await.unwrap();
    let losses = temp.again().existing(Table::EventLoss).await.unwrap().unwrap();
    assert_eq!(lines(losses.provider(), "select lost from t where date is null").await, [r#"{"lost":3}"#]);
}

#[tokio::test]
async fn rows_with_other_columns_are_refused() {
    let temp = TempLake::new();
    let mut table = temp.lake.table(Table::ProcessEvents).await.unwrap();
    let error = table.append(vec![loss_without_time()], &[taken(0..1)]).await.unwrap_err();
    assert!(matches!(error, LakeError::Refused { .. }), "{error}");
    assert_eq!((table.version(), temp.parquet_files(Table::ProcessEvents).len()), (0, 0));
}

#[tokio::test]
async fn a_path_with_dots_is_resolved() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("far/deep")).unwrap();
    std::os::unix::fs::symlink(folder.path().join("far/deep"), folder.path().join("link")).unwrap();
    for (path, place) in [("new/../a", "a"), ("far/./deep/../../b", "b"), ("link/../c", "far/c")] {
        let lake = Lake::open(folder.path().join(path).to_str().unwrap(), "acme").unwrap();
        lake.table(Table::ProcessEvents).await.unwrap().append(vec![processes(0, 1, NOON)], &[]).await.unwrap();
        assert!(folder.path().join(place).join("acme/process_events/_delta_log").is_dir(), "{path}");
    }
}

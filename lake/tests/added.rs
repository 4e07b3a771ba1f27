//! What a rule reads: each row once, however late, whatever compaction does.

use kerntrail_lake::{CompactOptions, LakeError};
use kerntrail_schemas::Table;
use std::time::Duration;

use crate::support::{DAY, NOON, TempLake, processes, seqs};

fn eager() -> CompactOptions {
    CompactOptions { small_files: 1, ..CompactOptions::default() }
}

#[tokio::test]
async fn a_cursor_sees_each_row_once_and_skips_compaction() {
    let temp = TempLake::new();
    let mut writer = temp.lake.table(Table::ProcessEvents).await.unwrap();
    let mut reader = temp.again().existing(Table::ProcessEvents).await.unwrap().unwrap();
    let start = reader.added_since(None).await.unwrap();
    assert_eq!((start.to_version, start.rows.is_none()), (0, true));

    writer.append(vec![processes(0, 3, NOON)], &[]).await.unwrap();
    writer.append(vec![processes(3, 3, NOON)], &[]).await.unwrap();
    reader.refresh().await.unwrap();
    let first = reader.added_since(Some(start.to_version)).await.unwrap();
    assert_eq!((first.to_version, seqs(first.rows.unwrap()).await), (2, vec![0, 1, 2, 3, 4, 5]));

    assert_eq!(writer.compact(&eager()).await.unwrap().merges, 1);
    reader.refresh().await.unwrap();
    let compacted = reader.added_since(Some(first.to_version)).await.unwrap();
    assert_eq!((compacted.to_version, compacted.rows.is_none()), (3, true));

    // Rows of a day long past are news all the same.
    writer.append(vec![processes(6, 2, NOON - 30 * DAY)], &[]).await.unwrap();
    reader.refresh().await.unwrap();
    let late = reader.added_since(Some(compacted.to_version)).await.unwrap();
    assert_eq!((late.to_version, seqs(late.rows.unwrap()).await), (4, vec![6, 7]));
    // A range across the compaction gives the rows as they were added, not again as they were merged.
    let across = reader.added_since(Some(1)).await.unwrap();
    assert_eq!(seqs(across.rows.unwrap()).await, [3, 4, 5, 6, 7]);
    let all = reader.added_since(None).await.unwrap();
    assert_eq!((all.to_version, seqs(all.rows.unwrap()).await), (4, (0..8).collect::<Vec<_>>()));
}

#[tokio::test]
async fn cursors_from_which_reading_cannot_continue_are_errors() {
    let temp = TempLake::new();
    let mut table = temp.lake.table(Table::ProcessEvents).await.unwrap();
    for seq in 0..3 {
        table.append(vec![processes(seq, 1, NOON)], &[]).await.unwrap();
    }
    table.compact(&eager()).await.unwrap();
    table.append(vec![processes(3, 1, NOON)], &[]).await.unwrap();
    table.vacuum(Duration::ZERO).await.unwrap();

    let error = table.added_since(Some(1)).await.unwrap_err();
    assert!(matches!(&error, LakeError::CursorTooOld { cursor: 1, oldest: 3, .. }), "{error}");
    assert_eq!(seqs(table.added_since(Some(3)).await.unwrap().rows.unwrap()).await, [3]);
    let error = table.added_since(Some(99)).await.unwrap_err();
    assert!(matches!(&error, LakeError::CursorAhead { cursor: 99, latest: 5, .. }), "{error}");
}

#[tokio::test]
async fn a_cursor_from_before_the_checkpoint_is_read_from_the_log() {
    let temp = TempLake::new();
    let mut table = temp.lake.table(Table::ProcessEvents).await.unwrap();
    for seq in 0..105 {
        table.append(vec![processes(seq, 1, NOON)], &[]).await.unwrap();
    }
    assert!(table.checkpoint().await.unwrap());
    table.append(vec![processes(105, 1, NOON)], &[]).await.unwrap();
    let other = temp.again().existing(Table::ProcessEvents).await.unwrap().unwrap();
    assert_eq!(other.version(), 106);
    let added = other.added_since(Some(100)).await.unwrap();
    assert_eq!(seqs(added.rows.unwrap()).await, (100..106).collect::<Vec<_>>());
}

//! Writes that fail or stop at every stage of an append or a merge: each row is in the table once in the end.

use std::time::Duration;

use kerntrail_lake::{CompactOptions, Lake, LakeError};
use kerntrail_schemas::Table;

use crate::faulty_store::{Fault, Spot, faulty};
use crate::support::{NOON, processes, seqs, taken};

const FAULTS: [Fault; 4] = [Fault::FailBefore, Fault::FailAfter, Fault::StopBefore, Fault::StopAfter];

/// Appends rows 0..4 one at a time as a writer that reads its progress from the table, whatever happens.
async fn write_all(lake: &Lake) -> Result<(), LakeError> {
    let mut table = lake.table(Table::ProcessEvents).await?;
    loop {
        let next = table.progress("topic/0").unwrap().next_offset;
        if next >= 4 {
            return Ok(());
        }
        match table.append(vec![processes(next, 1, NOON)], &[taken(next..next + 1)]).await {
            Ok(_) => {}
            Err(LakeError::Conflict { .. } | LakeError::Store { .. }) => table.refresh().await?,
            Err(error) => return Err(error),
        }
    }
}

#[tokio::test]
async fn an_append_that_fails_or_is_killed_anywhere_stores_each_row_once() {
    for path_has in [".parquet", "_delta_log/00000000000000000000", "_delta_log"] {
        for fault in FAULTS {
            for nth in 0..3 {
                let folder = tempfile::tempdir().unwrap();
                let (url, faults) = faulty(folder.path());
                faults.arm([Spot { path_has, nth, fault }]);
                let lake = Lake::open(&url, "acme").unwrap();
                // The first life ends where a write stops; an error of the creation ends it too.
                tokio::select! {
                    _ = write_all(&lake) => {}
                    () = faults.stopped() => {}
                }
                let lake = Lake::open(&url, "acme").unwrap();
                write_all(&lake).await.unwrap();
                let mut table = lake.existing(Table::ProcessEvents).await.unwrap().unwrap();
                let case = format!("{path_has} {fault:?} {nth}");
                assert_eq!(seqs(table.provider()).await, [0, 1, 2, 3], "{case}");
                table.vacuum(Duration::ZERO).await.unwrap();
                let mut found = Vec::new();
                crate::support::collect(folder.path(), &mut found);
                let parquet = found.iter().filter(|path| path.to_string_lossy().ends_with(".parquet")).count();
                assert_eq!(parquet, 4, "{case}: vacuum left what no commit names");
                assert_eq!(seqs(table.provider()).await, [0, 1, 2, 3], "{case}");
            }
        }
    }
}

#[tokio::test]
async fn a_merge_that_fails_or_is_killed_anywhere_changes_no_row() {
    for (path_has, fault) in [".parquet", "_delta_log"].into_iter().flat_map(|path| FAULTS.map(|fault| (path, fault))) {
        let folder = tempfile::tempdir().unwrap();
        let (url, faults) = faulty(folder.path());
        let lake = Lake::open(&url, "acme").unwrap();
        write_all(&lake).await.unwrap();
        faults.arm([Spot { path_has, nth: 0, fault }]);
        let options = CompactOptions { small_files: 1, ..CompactOptions::default() };
        let mut table = lake.existing(Table::ProcessEvents).await.unwrap().unwrap();
        tokio::select! {
            _ = table.compact(&options) => {}
            () = faults.stopped() => {}
        }
        assert!(faults.all_happened(), "{path_has} {fault:?}");
        let mut table = Lake::open(&url, "acme").unwrap().existing(Table::ProcessEvents).await.unwrap().unwrap();
        assert_eq!(seqs(table.provider()).await, [0, 1, 2, 3], "{path_has} {fault:?}");
        table.compact(&options).await.unwrap();
        assert_eq!(table.files().len(), 1, "{path_has} {fault:?}");
        assert_eq!(seqs(table.provider()).await, [0, 1, 2, 3], "{path_has} {fault:?}");
    }
}

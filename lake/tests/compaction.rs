//! Many small files become few, with the same rows.

use kerntrail_lake::{CompactOptions, CompactReport};
use kerntrail_schemas::Table;
use parquet::file::reader::{FileReader, SerializedFileReader};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng};

use crate::support::{DAY, NOON, TempLake, all_rows, lines, loss_without_time, processes, seqs, taken};

#[tokio::test]
async fn rows_stay_the_same_and_are_sorted() {
    let temp = TempLake::new();
    let mut table = temp.lake.table(Table::ProcessEvents).await.unwrap();
    let mut random = StdRng::seed_from_u64(7);
    let mut seq = 0;
    for _ in 0..40 {
        let count = random.random_range(1..400);
        table.append(vec![processes(seq, count, NOON)], &[taken(seq..seq + count)]).await.unwrap();
        seq += count;
    }
    let before = all_rows(&table).await;
    let progress = table.progress("topic/0").unwrap();
    let report = table.compact(&CompactOptions::default()).await.unwrap();
    assert_eq!(report, CompactReport { merges: 1, removed: 40, added: 1, rows: before.len(), overtaken: 0 });
    assert_eq!(table.files().len(), 1);
    assert_eq!(all_rows(&table).await, before);
    assert_eq!(table.progress("topic/0").unwrap(), progress);
    let other = temp.again().existing(Table::ProcessEvents).await.unwrap().unwrap();
    assert_eq!(all_rows(&other).await, before);
    check_file(&table.files()[0]);
}

/// Sorted, with bloom filters and a page index.
fn check_file(path: &str) {
    let reader = SerializedFileReader::new(std::fs::File::open(path).unwrap()).unwrap();
    let group = reader.metadata().row_group(0);
    for column in group.columns() {
        let name = column.column_path().string();
        let expected = ["process_uid", "container_id", "pod_uid"].contains(&name.as_str());
        assert_eq!(column.bloom_filter_offset().is_some(), expected, "{name}");
        assert!(column.column_index_offset().is_some(), "{name}");
    }
    let mut rows = Vec::new();
    for row in reader.get_row_iter(None).unwrap() {
        let row = row.unwrap();
        let value = |name: &str| {
            let (_, field) = row.get_column_iter().find(|(column, _)| *column == name).unwrap();
            // NULL sorts first.
            match field.to_string().as_str() {
                "null" => String::new(),
                text => text.to_owned(),
            }
        };
        rows.push((value("container_id"), value("process_uid"), value("time")));
    }
    assert!(rows.len() > 1000 && rows.is_sorted());
}

#[tokio::test]
async fn hundreds_of_commits_leave_few_files_and_other_writers_continue() {
    let temp = TempLake::new();
    let mut writer = temp.lake.table(Table::ProcessEvents).await.unwrap();
    let mut compactor = temp.again().table(Table::ProcessEvents).await.unwrap();
    let options = CompactOptions { small_files: 8, tier_files: 4, tier_bytes: 64 * 1024, ..CompactOptions::default() };
    for turn in 0..300 {
        // Every tenth commit brings late rows of the day before too.
        let late = if turn % 10 == 0 { vec![processes(10_000 + turn, 1, NOON - DAY)] } else { vec![] };
        writer.append([vec![processes(turn, 1, NOON)], late].concat(), &[taken(turn..turn + 1)]).await.unwrap();
        if turn % 10 == 9 {
            // The writer commits in the middle of the merge, for its handle is then behind.
            let report = compactor.compact(&options).await.unwrap();
            assert_eq!(report.overtaken, 0);
        }
    }
    compactor.refresh().await.unwrap();
    assert!(compactor.files().len() <= 2 * (8 + 10), "{} files", compactor.files().len());
    let mut expected: Vec<i64> = (0..300).chain((0..300).step_by(10).map(|turn| 10_000 + turn)).collect();
    expected.sort_unstable();
    assert_eq!(seqs(compactor.provider()).await, expected);
}

#[tokio::test]
async fn appends_during_a_merge_do_not_conflict() {
    let temp = TempLake::new();
    let mut table = temp.lake.table(Table::ProcessEvents).await.unwrap();
    for seq in 0..40 {
        table.append(vec![processes(seq * 100, 100, NOON)], &[taken(seq..seq + 1)]).await.unwrap();
    }
    let mut compactor = temp.again().table(Table::ProcessEvents).await.unwrap();
    let merging = tokio::spawn(async move { compactor.compact(&CompactOptions::default()).await.unwrap() });
    let mut next = 40;
    while !merging.is_finished() {
        table.append(vec![processes(next * 100, 100, NOON)], &[taken(next..next + 1)]).await.unwrap();
        next += 1;
    }
    assert_eq!(merging.await.unwrap().removed, 40);
    table.refresh().await.unwrap();
    assert_eq!(seqs(table.provider()).await, (0..next * 100).collect::<Vec<_>>());
}

#[tokio::test]
async fn only_one_of_concurrent_compactions_of_the_same_files_is_committed() {
    let temp = TempLake::new();
    let mut table = temp.lake.table(Table::ProcessEvents).await.unwrap();
    for seq in 0..40 {
        table.append(vec![processes(seq, 1, NOON)], &[]).await.unwrap();
    }
    let compactions = (0..4).map(|_| {
        let lake = temp.again();
        tokio::spawn(async move {
            let mut table = lake.table(Table::ProcessEvents).await.unwrap();
            table.compact(&CompactOptions::default()).await.unwrap()
        })
    });
    let mut merges = 0;
    for compaction in compactions.collect::<Vec<_>>() {
        merges += compaction.await.unwrap().merges;
    }
    assert_eq!(merges, 1);
    table.refresh().await.unwrap();
    assert_eq!(seqs(table.provider()).await, (0..40).collect::<Vec<_>>());
    // 40 merged, one merged into; what the losers wrote is gone.
    assert_eq!(temp.parquet_files(Table::ProcessEvents).len(), 41);
}

#[tokio::test]
async fn output_is_split_at_the_target_size_and_an_unsorted_table_is_merged_too() {
    let temp = TempLake::new();
    let mut table = temp.lake.table(Table::ProcessEvents).await.unwrap();
    for seq in 0..9 {
        table.append(vec![processes(seq * 10_000, 10_000, NOON)], &[]).await.unwrap();
    }
    let options =
        CompactOptions { tier_files: 0, small_files: 0, target_bytes: 1_000_000, ..CompactOptions::default() };
    let report = table.compact(&options).await.unwrap();
    assert!(report.added > 1, "{report:?}");
    assert_eq!(seqs(table.provider()).await.len(), 90_000);

    let mut losses = temp.lake.table(Table::EventLoss).await.unwrap();
    for _ in 0..3 {
        losses.append(vec![loss_without_time()], &[]).await.unwrap();
    }
    let options = CompactOptions { small_files: 1, ..CompactOptions::default() };
    assert_eq!(losses.compact(&options).await.unwrap().added, 1);
    assert_eq!(lines(losses.provider(), "select sum(lost) as lost from t").await, [r#"{"lost":9}"#]);
}

//! Queries over the provider: files are skipped, and statistics are right.

use arrow::util::pretty::pretty_format_batches;
use datafusion::prelude::ParquetReadOptions;
use kerntrail_lake::LakeTable;
use kerntrail_schemas::Table;
use serde_json::Value;

use crate::support::{DAY, HOUR, NOON, TempLake, lines, processes, query};

/// Ten files of an hour each, of 100 rows, over two days.
async fn ten_files(temp: &TempLake) -> LakeTable {
    let mut table = temp.lake.table(Table::ProcessEvents).await.unwrap();
    for file in 0..10 {
        table.append(vec![processes(file * 100, 100, NOON + (file / 5) * DAY + (file % 5) * HOUR)], &[]).await.unwrap();
    }
    table
}

/// How many files the plan of `sql` opens.
async fn files_in_plan(table: &LakeTable, sql: &str) -> usize {
    let session = kerntrail_session::unguarded(|config| config);
    session.register_table("t", table.provider()).unwrap();
    let explained = session.sql(&format!("explain {sql}")).await.unwrap().collect().await.unwrap();
    pretty_format_batches(&explained).unwrap().to_string().replace(char::is_whitespace, "").matches("part-").count()
}

#[tokio::test]
async fn files_that_a_filter_cannot_match_are_skipped() {
    let temp = TempLake::new();
    let table = ten_files(&temp).await;
    let uid = lines(table.provider(), "select process_uid from t where seq = 742").await;
    let uid: Value = serde_json::from_str(&uid[0]).unwrap();
    let uid = uid["process_uid"].as_str().unwrap();
    let cases = [
        ("true".to_owned(), 10, 1000),
        ("date = '2026-11-25'".to_owned(), 5, 500),
        ("date > '2026-11-25'".to_owned(), 0, 0),
        ("seq = 742".to_owned(), 1, 1),
        (format!("process_uid = '{uid}'"), 1, 2),
        ("time >= timestamp '2026-11-25T16:00:00Z'".to_owned(), 1, 100),
        ("time < timestamp '2026-11-24T12:00:10Z'".to_owned(), 1, 10),
        ("exit_code = 1".to_owned(), 0, 0),
        ("cwd is not null".to_owned(), 0, 0),
        ("seq in (5, 905) and activity = 'exit'".to_owned(), 2, 2),
        ("args[1] = 'sh' and seq < 100".to_owned(), 1, 100),
    ];
    for (filter, files, rows) in cases {
        let sql = format!("select seq from t where {filter}");
        assert_eq!(files_in_plan(&table, &sql).await, files, "{filter}");
        let found: usize = query(table.provider(), &sql).await.iter().map(|batch| batch.num_rows()).sum();
        assert_eq!(found, rows, "{filter}");
    }
}

#[tokio::test]
async fn files_are_skipped_even_if_one_lacks_the_value() {
    let temp = TempLake::new();
    let mut table = temp.lake.table(Table::ProcessEvents).await.unwrap();
    // One file each of the host, of container 1 and of container 2.
    for first in [0, 2, 4] {
        table.append(vec![processes(first, 2, NOON)], &[]).await.unwrap();
    }
    for (container, files, rows) in [(1, 1, 2), (2, 1, 2), (3, 0, 0)] {
        let sql = format!("select seq from t where container_id = '{container:064x}'");
        assert_eq!(files_in_plan(&table, &sql).await, files, "container {container}");
        assert_eq!(lines(table.provider(), &sql).await.len(), rows, "container {container}");
    }
    assert_eq!(files_in_plan(&table, "select seq from t where container_id is null").await, 1);
    // Statistics are for skipping only; they are not results.
    let sql = "select min(container_id) as low, max(pid) as high from t";
    assert_eq!(lines(table.provider(), sql).await, [format!("{{\"low\":\"{:064x}\",\"high\":4}}", 1)]);
}

#[tokio::test]
async fn columns_are_read_in_any_order_and_counting_opens_no_file() {
    let temp = TempLake::new();
    let table = ten_files(&temp).await;
    let sql = "select seq, date, args[3] as arg, node from t where seq between 99 and 100";
    assert_eq!(
        lines(table.provider(), sql).await,
        [r#"{"seq":100,"date":"2026-11-24","arg":"echo 100"}"#, r#"{"seq":99,"date":"2026-11-24","arg":"echo 98"}"#,]
    );
    assert_eq!(files_in_plan(&table, "select count(*) from t").await, 0);
    assert_eq!(lines(table.provider(), "select count(*) as n from t").await, [r#"{"n":1000}"#]);
    assert_eq!(lines(table.provider(), "select max(date) as d from t").await, [r#"{"d":"2026-11-25"}"#]);
    let newest = lines(table.provider(), "select seq from t order by time desc limit 2").await;
    assert_eq!(newest, [r#"{"seq":998}"#, r#"{"seq":999}"#]);
}

#[tokio::test]
async fn an_empty_table_has_its_columns() {
    let temp = TempLake::new();
    let table = temp.lake.table(Table::Findings).await.unwrap();
    assert_eq!(table.provider().schema(), Table::Findings.schema());
    assert_eq!(lines(table.provider(), "select count(*) as n, max(severity) as s from t").await, [r#"{"n":0}"#]);
    assert!(lines(table.provider(), "select * from t where severity = 'high'").await.is_empty());
}

#[tokio::test]
async fn the_log_has_the_statistics_of_a_file() {
    let temp = TempLake::new();
    let mut table = temp.lake.table(Table::ProcessEvents).await.unwrap();
    table.append(vec![processes(10, 4, NOON + 123_456)], &[]).await.unwrap();
    let commit = temp.table_folder(Table::ProcessEvents).join("_delta_log/00000000000000000001.json");
    let commit = std::fs::read_to_string(commit).unwrap();
    let actions: Vec<Value> = commit.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let add = actions.iter().find_map(|action| action.get("add")).unwrap();
    assert_eq!(add["partitionValues"]["date"], "2026-11-24");
    assert_eq!(add["size"].as_u64(), Some(std::fs::metadata(&table.files()[0]).unwrap().len()));
    let stats: Value = serde_json::from_str(add["stats"].as_str().unwrap()).unwrap();
    assert_eq!(stats["numRecords"], 4);
    for (column, min, max, nulls) in [
        ("seq", Value::from(10), Value::from(13), 0),
        ("time", "2026-11-24T12:00:00.123456Z".into(), "2026-11-24T12:00:03.123456Z".into(), 0),
        ("activity", "exec".into(), "exit".into(), 0),
        ("exit_code", 0.into(), 0.into(), 2),
        ("cwd", Value::Null, Value::Null, 4),
    ] {
        assert_eq!(stats["minValues"][column], min, "{column}");
        assert_eq!(stats["maxValues"][column], max, "{column}");
        assert_eq!(stats["nullCount"][column], nulls, "{column}");
    }
    for absent in ["args", "pod_labels", "date"] {
        assert!(stats["nullCount"].get(absent).is_none(), "{absent}");
    }
}

#[tokio::test]
async fn deltalake_reads_the_table_too() {
    let temp = TempLake::new();
    let mut table = ten_files(&temp).await;
    table.compact(&kerntrail_lake::CompactOptions { small_files: 2, ..Default::default() }).await.unwrap();
    let url = url::Url::from_directory_path(temp.table_folder(Table::ProcessEvents)).unwrap();
    let delta = deltalake_core::open_table(url).await.unwrap();
    assert_eq!(delta.version().map(|version| version as i64), Some(table.version()));
    let mut theirs: Vec<String> = delta.get_file_uris().unwrap().collect();
    let mut ours = table.files();
    theirs.sort();
    ours.sort();
    assert_eq!(theirs, ours);
    let read = kerntrail_session::unguarded(|config| config)
        .read_parquet(theirs, ParquetReadOptions::default())
        .await
        .unwrap();
    assert_eq!(
        lines(read.into_view(), "select count(*) as n, sum(seq) as s from t").await,
        [r#"{"n":1000,"s":499500}"#]
    );
}

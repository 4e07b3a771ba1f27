//! Checkpoints, log cleanup, vacuum, and a schema that grows.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema};
use kerntrail_lake::{CompactOptions, LakeError};
use kerntrail_schemas::Table;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

use crate::support::{NOON, TempLake, lines, processes, seqs, taken};

fn eager() -> CompactOptions {
    CompactOptions { small_files: 1, ..CompactOptions::default() }
}

#[tokio::test]
async fn vacuum_removes_only_what_is_not_needed() {
    let temp = TempLake::new();
    let mut table = temp.lake.table(Table::ProcessEvents).await.unwrap();
    for seq in 0..3 {
        table.append(vec![processes(seq, 1, NOON)], &[]).await.unwrap();
    }
    table.compact(&eager()).await.unwrap();
    table.append(vec![processes(3, 1, NOON)], &[]).await.unwrap();
    let folder = temp.table_folder(Table::ProcessEvents).join("date=2026-11-24");
    std::fs::write(folder.join("part-orphan.zstd.parquet"), "killed before its commit").unwrap();
    std::fs::write(folder.join("part-half.zstd.parquet#1"), "killed in the middle").unwrap();
    std::fs::write(temp.table_folder(Table::ProcessEvents).join("_delta_log/00000000000000000009.json#1"), "x")
        .unwrap();

    let report = table.vacuum(Duration::from_secs(3600)).await.unwrap();
    assert_eq!(report, Default::default(), "all of it is too young");
    let report = table.vacuum(Duration::ZERO).await.unwrap();
    assert_eq!((report.files, report.leftovers), (4, 2));
    assert_eq!(temp.parquet_files(Table::ProcessEvents).len(), 2);
    let other = temp.again().existing(Table::ProcessEvents).await.unwrap().unwrap();
    assert_eq!(seqs(other.provider()).await, [0, 1, 2, 3]);
    let error = table.vacuum(Duration::from_secs(7 * 3600)).await.unwrap_err();
    assert!(matches!(error, LakeError::Refused { .. }), "{error}");
}

#[tokio::test]
async fn a_handle_that_missed_a_cleanup_still_works() {
    let temp = TempLake::new();
    let mut table = temp.lake.table(Table::ProcessEvents).await.unwrap();
    let mut sleeper = temp.again().existing(Table::ProcessEvents).await.unwrap().unwrap();
    for seq in 0..120 {
        let mut progress = taken(seq..seq + 1);
        progress.batches = [(format!("stream {seq}"), seq)].into();
        table.append(vec![processes(seq, 1, NOON)], &[progress]).await.unwrap();
    }
    table.compact(&eager()).await.unwrap();
    assert!(table.checkpoint().await.unwrap());
    assert!(!table.checkpoint().await.unwrap(), "nothing has come since");
    make_old(&temp);
    let report = table.vacuum(Duration::ZERO).await.unwrap();
    assert!(report.log_files > 100, "{report:?}");

    sleeper.append(vec![processes(120, 1, NOON)], &[taken(120..121)]).await.unwrap();
    assert_eq!(sleeper.version(), table.version() + 1);
    let other = temp.again().existing(Table::ProcessEvents).await.unwrap().unwrap();
    for handle in [&sleeper, &other] {
        assert_eq!(seqs(handle.provider()).await, (0..121).collect::<Vec<_>>());
        let progress = handle.progress("topic/0").unwrap();
        assert_eq!((progress.next_offset, progress.batches.len()), (121, 120));
    }
    let error = other.added_since(Some(5)).await.unwrap_err();
    assert!(matches!(error, LakeError::CursorTooOld { oldest: 121, .. }), "{error}");
}

#[tokio::test]
async fn a_damaged_checkpoint_is_skipped() {
    let temp = TempLake::new();
    let mut table = temp.lake.table(Table::ProcessEvents).await.unwrap();
    let mut seq = 0;
    for _ in 0..2 {
        for _ in 0..100 {
            table.append(vec![processes(seq, 1, NOON)], &[taken(seq..seq + 1)]).await.unwrap();
            seq += 1;
        }
        assert!(table.checkpoint().await.unwrap());
    }
    let log = temp.table_folder(Table::ProcessEvents).join("_delta_log");
    std::fs::write(log.join("00000000000000000200.checkpoint.parquet"), "torn").unwrap();
    // The first hundred commits are gone: the older checkpoint stands for them.
    (0..100).for_each(|version| std::fs::remove_file(log.join(format!("{version:020}.json"))).unwrap());
    for damage in ["{\"version\":200,\"size\":9}", ""] {
        std::fs::write(log.join("_last_checkpoint"), damage).unwrap();
        let other = temp.again().existing(Table::ProcessEvents).await;
        let other = other.unwrap().unwrap();
        assert_eq!((other.version(), other.progress("topic/0").unwrap().next_offset), (200, 200));
        assert_eq!(seqs(other.provider()).await.len(), 200);
    }
    std::fs::remove_file(log.join("_last_checkpoint")).unwrap();
    assert_eq!(temp.again().table(Table::ProcessEvents).await.unwrap().version(), 200, "it is not created again");
}

/// Lets the log look as if it was written an hour ago.
fn make_old(temp: &TempLake) {
    for entry in std::fs::read_dir(temp.table_folder(Table::ProcessEvents).join("_delta_log")).unwrap() {
        let file = std::fs::File::options().write(true).open(entry.unwrap().path()).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
    }
}

#[tokio::test]
async fn columns_that_the_table_lacks_are_added_and_read_as_null() {
    let temp = TempLake::new();
    let mut table = temp.lake.table(Table::ProcessEvents).await.unwrap();
    table.append(vec![processes(0, 2, NOON)], &[]).await.unwrap();
    // As an older version would have made it: without `stdin_kind` and `policy`.
    edit_schema(&temp, |fields| {
        fields.retain(|field| field["name"] != "stdin_kind" && field["name"] != "policy");
    });
    let lake = temp.again();
    let mut table = lake.table(Table::ProcessEvents).await.unwrap();
    assert_eq!(table.version(), 2);
    table.append(vec![processes(2, 2, NOON)], &[]).await.unwrap();
    assert_eq!(lake.table(Table::ProcessEvents).await.unwrap().version(), 3, "nothing is left to add");
    let sql = "select count(*) as n, count(stdin_kind) as kinds from t";
    assert_eq!(lines(table.provider(), sql).await, [r#"{"n":4,"kinds":0}"#]);
}

#[tokio::test]
async fn a_table_of_other_types_or_a_newer_protocol_is_refused() {
    let temp = TempLake::new();
    temp.lake.table(Table::ProcessEvents).await.unwrap();
    edit_schema(&temp, |fields| {
        for field in fields.iter_mut().filter(|field| field["name"] == "pid") {
            field["type"] = "string".into();
        }
    });
    let error = temp.again().table(Table::ProcessEvents).await.map(|_| ()).unwrap_err();
    assert!(matches!(&error, LakeError::Refused { .. }) && error.to_string().contains("pid"), "{error}");

    let temp = TempLake::new();
    temp.lake.table(Table::ProcessEvents).await.unwrap();
    let newer =
        json!({"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": [], "writerFeatures": []}});
    let commit = temp.table_folder(Table::ProcessEvents).join("_delta_log/00000000000000000001.json");
    std::fs::write(commit, newer.to_string()).unwrap();
    let error = temp.again().table(Table::ProcessEvents).await.map(|_| ()).unwrap_err();
    assert!(matches!(&error, LakeError::Refused { .. }) && error.to_string().contains("3/7"), "{error}");
}

#[tokio::test]
async fn columns_of_a_newer_release_survive_the_compaction_of_an_older_one() {
    let temp = TempLake::new();
    let mut table = temp.lake.table(Table::ProcessEvents).await.unwrap();
    for seq in 0..3 {
        table.append(vec![processes(seq, 1, NOON)], &[]).await.unwrap();
    }
    // A newer release added a column, and one of the files has values in it.
    edit_schema(&temp, |fields| {
        fields.push(json!({"name": "newer", "type": "long", "nullable": true, "metadata": {}}));
    });
    let files = table.files();
    add_column(&temp, Path::new(&files[1]), "newer");

    let mut older = temp.again().table(Table::ProcessEvents).await.unwrap();
    assert_eq!(older.compact(&eager()).await.unwrap(), Default::default());
    assert_eq!(older.files(), files);
    assert_eq!(columns(Path::new(&files[1])).last().unwrap(), "newer");
    assert!(schema_names(&temp).contains(&"newer".to_owned()), "the log still has the column");
    // What was there is read, and what comes is stored.
    older.append(vec![processes(3, 1, NOON)], &[]).await.unwrap();
    assert_eq!(seqs(older.provider()).await, [0, 1, 2, 3]);

    // The release that knows every column merges the files.
    edit_schema(&temp, |fields| fields.retain(|field| field["name"] != "newer"));
    let mut newer = temp.again().table(Table::ProcessEvents).await.unwrap();
    assert_eq!(newer.compact(&eager()).await.unwrap().removed, 4);
}

/// Adds a column of numbers to a file of the table.
fn add_column(temp: &TempLake, path: &Path, name: &str) {
    let size = |path: &Path| format!(r#""size":{},"#, std::fs::metadata(path).unwrap().len());
    let before = size(path);
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap().build().unwrap();
    let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    let rows = concat_batches(&batches[0].schema(), &batches).unwrap();
    let mut fields = rows.schema().fields().to_vec();
    fields.push(Arc::new(Field::new(name, DataType::Int64, true)));
    let schema = Arc::new(Schema::new(fields));
    let values: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows.num_rows() as i64));
    let columns = rows.columns().iter().cloned().chain([values]).collect();
    let rows = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), schema, None).unwrap();
    writer.write(&rows).unwrap();
    writer.close().unwrap();
    // The log says how long the file is.
    let log = temp.table_folder(Table::ProcessEvents).join("_delta_log");
    let file = path.file_name().unwrap().to_str().unwrap();
    let commits = std::fs::read_dir(log).unwrap().map(|entry| entry.unwrap().path());
    let mut texts = commits.map(|commit| (std::fs::read_to_string(&commit).unwrap(), commit));
    let (text, commit) = texts.find(|(text, _)| text.contains(file)).unwrap();
    assert!(text.contains(&before), "{text}");
    std::fs::write(commit, text.replace(&before, &size(path))).unwrap();
}

fn columns(path: &Path) -> Vec<String> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    reader.schema().fields().iter().map(|field| field.name().clone()).collect()
}

/// The columns in the table's first commit.
fn schema_names(temp: &TempLake) -> Vec<String> {
    let path = temp.table_folder(Table::ProcessEvents).join("_delta_log/00000000000000000000.json");
    let text = std::fs::read_to_string(path).unwrap();
    let actions = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let schema = actions.filter_map(|action| action.pointer("/metaData/schemaString").cloned()).next().unwrap();
    let schema: Value = serde_json::from_str(schema.as_str().unwrap()).unwrap();
    let names = schema["fields"].as_array().unwrap().iter();
    names.map(|field| field["name"].as_str().unwrap().to_owned()).collect()
}

/// Rewrites the schema in the table's first commit.
fn edit_schema(temp: &TempLake, edit: impl Fn(&mut Vec<Value>)) {
    let path = temp.table_folder(Table::ProcessEvents).join("_delta_log/00000000000000000000.json");
    let mut lines = Vec::new();
    for line in std::fs::read_to_string(&path).unwrap().lines() {
        let mut action: Value = serde_json::from_str(line).unwrap();
        if let Some(text) = action.pointer_mut("/metaData/schemaString") {
            let mut schema: Value = serde_json::from_str(text.as_str().unwrap()).unwrap();
            edit(schema["fields"].as_array_mut().unwrap());
            *text = schema.to_string().into();
        }
        lines.push(action.to_string());
    }
    std::fs::write(&path, lines.join("\n")).unwrap();
}

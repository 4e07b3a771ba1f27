//! Nothing that writes is possible.

use kerntrail_query_engine::ErrorKind;
use kerntrail_schemas::Table;

use crate::queries::answer;
use crate::script::escape;

#[tokio::test(flavor = "multi_thread")]
async fn writes_are_refused_and_leave_nothing() {
    let stored = escape().rows.into_lake().await;
    let session = stored.session();
    let outside = tempfile::tempdir().unwrap();
    let file = outside.path().join("stolen.csv");
    let file = file.to_str().unwrap();
    let before = stored.lake.existing(Table::ProcessEvents).await.unwrap().unwrap().version();
    for sql in [
        "insert into process_events select * from process_events".to_owned(),
        "insert into event_loss (lost) values (1)".to_owned(),
        "insert overwrite event_loss select * from event_loss".to_owned(),
        "update process_events set pid = 1".to_owned(),
        "delete from process_events".to_owned(),
        "truncate table process_events".to_owned(),
        "merge into event_loss a using event_loss b on a.seq = b.seq when matched then delete".to_owned(),
        "drop table process_events".to_owned(),
        "drop view process_events".to_owned(),
        "drop schema history cascade".to_owned(),
        "create table t as select 1 as x".to_owned(),
        "select 1 as x into stolen".to_owned(),
        "create view v as select 1 as x".to_owned(),
        "create or replace view process_events as select 1 as x".to_owned(),
        "create schema s".to_owned(),
        "create database d".to_owned(),
        "create function f(double) returns double return $1 + 1".to_owned(),
        format!("create external table t stored as csv location '{file}'"),
        "create external table t stored as parquet location '/etc/'".to_owned(),
        format!("copy process_events to '{file}'"),
        format!("copy (select 1) to '{file}' stored as csv"),
        "alter table process_events add column x int".to_owned(),
        "set datafusion.execution.batch_size = 1".to_owned(),
        "set time zone 'UTC'".to_owned(),
        "reset datafusion.execution.batch_size".to_owned(),
        "begin".to_owned(),
        "commit".to_owned(),
        "prepare p as select 1".to_owned(),
        "execute p".to_owned(),
        "deallocate p".to_owned(),
        "analyze table process_events".to_owned(),
        "use history".to_owned(),
        "explain insert into process_events select * from process_events".to_owned(),
        "explain analyze insert into process_events select * from process_events".to_owned(),
        format!("explain analyze copy process_events to '{file}'"),
        "explain verbose delete from process_events".to_owned(),
        "with x as (insert into event_loss (lost) values (1) returning lost) select * from x".to_owned(),
        "select 1; drop table process_events".to_owned(),
        format!("select 1; copy process_events to '{file}'"),
    ] {
        let Err(error) = session.query(&sql).await else { panic!("not refused: {sql}") };
        let refused = error.kind() == ErrorKind::ReadOnly || sql.starts_with("with") || sql.starts_with("merge");
        assert!(
            refused && matches!(error.kind(), ErrorKind::ReadOnly | ErrorKind::User),
            "{sql}: {:?} {error}",
            error.kind()
        );
    }
    assert_eq!(stored.lake.existing(Table::ProcessEvents).await.unwrap().unwrap().version(), before);
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0, "a file was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_settings_cannot_be_read() {
    let stored = escape().rows.into_lake().await;
    let session = stored.session();
    for sql in [
        "select * from '/etc/passwd'",
        "select * from \"/etc/passwd\"",
        "select * from read_csv('/etc/passwd')",
        "select * from read_parquet('/etc/passwd')",
        "select * from information_schema.df_settings",
        "explain select * from information_schema.df_settings",
        "select (select count(*) from information_schema.df_settings)",
        "show all",
        "show datafusion.runtime.temp_directory",
        "select 1; select 2",
        "",
        "  ; ",
    ] {
        let Err(error) = session.query(sql).await else { panic!("not refused: {sql}") };
        assert_eq!(error.kind(), ErrorKind::User, "{sql}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_that_only_read_are_allowed() {
    let stored = escape().rows.into_lake().await;
    let session = stored.session();
    for sql in [
        "select 1",
        "values (1), (2)",
        "show tables",
        "show columns from process_events",
        "show functions like 'array_%'",
        "describe process_events",
        "explain select 1",
        "explain analyze select count(*) from process_events",
        "select table_name from information_schema.tables",
        "select * from generate_series(1, 3)",
        "-- a comment\nselect 1;",
    ] {
        let text = answer(&session, sql).await;
        assert!(!text.contains("error"), "{sql}: {text}");
    }
}

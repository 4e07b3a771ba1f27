//! VictoriaLogs and DuckDB: third-party programs that receive or read what ours writes.

use kerntrail_testbed::http::request;
use kerntrail_testbed::{VictoriaLogs, duckdb, require};
use serde_json::json;

use crate::LIMIT;

#[test]
fn victorialogs_accepts_hec_and_keeps_it_over_a_restart() {
    if !require::command("go") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut logs = VictoriaLogs::start(dir.path()).unwrap();
    let url = format!("{}/services/collector/event", logs.url());
    let body = r#"{"event":{"exe":"/bin/sh","n":1}}{"event":{"exe":"/bin/sh","n":2}}"#;
    request("POST", &url, &[("content-type", "application/json")], body.as_bytes()).unwrap().success().unwrap();
    let entries = logs.wait_entries("\"event.exe\":=\"/bin/sh\"", 2, LIMIT).unwrap();
    assert_eq!(entries.len(), 2, "{entries:?}");

    let before = logs.url();
    logs.stop().unwrap();
    assert!(logs.query("*").is_err());
    logs.start_again().unwrap();
    assert_eq!(logs.url(), before);
    assert_eq!(logs.wait_entries("*", 2, LIMIT).unwrap().len(), 2);
}

#[test]
fn duckdb_returns_rows() {
    if !require::command("python3") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("t.parquet");
    let file = file.display();
    let rows = duckdb::query(&format!(
        "copy (select 1::bigint as n, 'x' as s, timestamp '2026-01-01' as t) to '{file}' (format parquet); \
         select n, s, t from '{file}'"
    ));
    assert_eq!(rows.unwrap(), [json!({"n": 1, "s": "x", "t": "2026-01-01 00:00:00"})]);
    assert!(format!("{:#}", duckdb::query("select nonsense").unwrap_err()).contains("nonsense"));
}

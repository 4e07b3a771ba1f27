//! NDJSON files.

use std::path::Path;

use kerntrail_sinks::SinkState;
use serde_json::{Value, json};

use crate::log::MemoryLog;
use crate::support::{Running, append, committed, config, counts, once};

/// The events in `path` and the files before it, oldest file first.
fn events(path: &Path, files: u32) -> Vec<Value> {
    let older = (1..files).rev().map(|number| path.with_extension(format!("ndjson.{number}")));
    let texts = older.chain([path.to_owned()]).map(|path| std::fs::read_to_string(path).unwrap_or_default());
    texts.flat_map(|text| text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<_>>()).collect()
}

fn ids(events: &[Value]) -> Vec<String> {
    events.iter().map(|event| event["metadata"]["uid"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_lines_in_order_over_rotated_files_and_restarts() {
    let (log, dir) = (MemoryLog::default(), tempfile::tempdir().unwrap());
    let path = dir.path().join("out/events.ndjson");
    let config = config(json!({"kind": "ndjson", "path": path}), json!({"file_bytes": 10_000, "files": 50}));
    for round in 0..3 {
        append(&log, round * 4, (round as i32 * 40)..(round as i32 * 40 + 40)).await;
        let sink = Running::start(&config, &log, &dir.path().join("dlq"));
        committed(&log, "test", (round + 1) * 4).await;
        sink.stop().await;
    }
    let events = events(&path, 50);
    assert_eq!(counts(ids(&events)), once(0..120));
    let pids: Vec<i64> = events.iter().map(|event| event["process"]["pid"].as_i64().unwrap()).collect();
    assert!(pids.is_sorted(), "{pids:?}");
    assert!(path.with_extension("ndjson.3").exists(), "nothing was rotated");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_files_is_bounded() {
    let (log, dir) = (MemoryLog::default(), tempfile::tempdir().unwrap());
    let path = dir.path().join("events.ndjson");
    append(&log, 0, 0..200).await;
    let config = config(json!({"kind": "ndjson", "path": path}), json!({"file_bytes": 5_000, "files": 3}));
    let sink = Running::start(&config, &log, &dir.path().join("dlq"));
    committed(&log, "test", 20).await;
    sink.stop().await;
    let mut names: Vec<String> =
        std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.starts_with("events"));
    names.sort();
    assert_eq!(names, ["events.ndjson", "events.ndjson.1", "events.ndjson.2", "events.ndjson.lock"]);
    // The youngest are kept.
    assert_eq!(ids(&events(&path, 3)).last().unwrap(), "boot+1-0-199");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_another_sink_writes_pauses_this_one() {
    let (log, dir) = (MemoryLog::default(), tempfile::tempdir().unwrap());
    let path = dir.path().join("events.ndjson");
    let to = |name: &str| config(json!({"kind": "ndjson", "path": path}), json!({"name": name}));
    append(&log, 0, 0..10).await;
    let first = Running::start(&to("first"), &log, &dir.path().join("dlq"));
    committed(&log, "first", 1).await;
    let mut second = Running::start(&to("second"), &log, &dir.path().join("dlq"));
    let state = second.wait("a pause", |state| matches!(state, SinkState::Paused { .. })).await;
    assert!(
        matches!(&state, SinkState::Paused { alert } if alert.contains("another process is writing to it")),
        "{state:?}"
    );
    first.stop().await;
    committed(&log, "second", 1).await;
    second.stop().await;
    assert_eq!(events(&path, 1).len(), 20);
}

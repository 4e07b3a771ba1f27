//! Messages of a newer release: the sink waits there, goes on with other partitions, and loses nothing.

use std::path::Path;
use std::sync::Arc;

use kerntrail_schemas::history::MessageColumns;
use kerntrail_schemas::identity::StreamId;
use kerntrail_schemas::{SCHEMA_VERSION, SchemaHistory};
use kerntrail_sinks::{Sink, dlq};
use kerntrail_transport::{Codec, EmbeddedLog, EmbeddedOptions, EventLog, Group, Holds};
use serde_json::json;

use crate::support::{Running, config, message, topic, until};

/// This release and the next one.
const NOW: u16 = SCHEMA_VERSION;
const NEXT: u16 = NOW + 1;

/// Appends the ten rows `batch` of `node`, from a release of `schema_version`.
async fn append(log: &EmbeddedLog, node: &str, batch: i64, schema_version: u16) {
    let first = batch as i32 * 10;
    let mut message = message(batch, first..first + 10);
    message.headers.node = node.to_owned();
    message.headers.stream = StreamId::new(format!("stream of {node}"));
    message.headers.schema_version = schema_version;
    log.append(&topic(), vec![message]).await.unwrap();
}

async fn partitions_in_use(log: &EmbeddedLog) -> usize {
    log.end(&topic()).await.unwrap().iter().filter(|end| end.next > 0).count()
}

async fn committed_in_all(log: &EmbeddedLog) -> i64 {
    let committed = log.committed(&Group("sink-test".into()), &topic()).await.unwrap();
    committed.iter().map(|position| position.next).sum()
}

fn lines(file: &Path) -> usize {
    std::fs::read_to_string(file).map_or(0, |text| text.lines().count())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_waits_for_the_upgrade_in_one_partition_and_continues_in_the_others() {
    let (dir, dlq_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let options = EmbeddedOptions { partitions: 4, ..EmbeddedOptions::default() };
    let log = Arc::new(EmbeddedLog::open(dir.path().join("log"), options).await.unwrap());
    append(&log, "n1", 0, NOW).await;
    append(&log, "n1", 1, NEXT).await;
    append(&log, "n1", 2, NOW).await;
    let mut messages = 3;
    while partitions_in_use(&log).await < 2 {
        append(&log, &format!("other-{messages}"), 0, NOW).await;
        messages += 1;
    }
    let other = format!("other-{}", messages - 1);

    let (file, holds) = (dir.path().join("events.ndjson"), Holds::default());
    let config = config(json!({"kind": "ndjson", "path": file}), json!({}));
    let start = |codec: Codec| {
        let sink = Sink::new(&config, Arc::clone(&log) as Arc<dyn EventLog>, dlq_dir.path(), "acme").unwrap();
        Running::start_sink(sink.with_codec(codec).with_holds(holds.clone()))
    };
    let release = |version| Codec::new(Arc::new(SchemaHistory::new(&MessageColumns::declared(), version)));

    let sink = start(release(NOW));
    until("one partition is held", || if holds.all().len() == 1 { Ok(()) } else { Err("none is".to_owned()) }).await;
    append(&log, &other, 1, NOW).await;
    messages += 1;
    // All but the message of the next release and the one behind it.
    let expected = (messages - 2) * 10;
    let delivered = |expected: usize| {
        let have = lines(&file);
        if have == expected { Ok(()) } else { Err(format!("{have} of {expected} rows are delivered")) }
    };
    until("the rest", || delivered(expected)).await;
    let reason = holds.all()[0].to_string();
    assert!(reason.starts_with("sink-test holds kerntrail.acme.process_events/"), "{reason}");
    assert!(reason.contains(&format!("at message 1: schema version {NEXT} is newer than {NOW}")), "{reason}");
    sink.stop().await;
    assert_eq!(committed_in_all(&log).await, messages as i64 - 2);
    assert!(dlq::list(dlq_dir.path(), None).unwrap().letters.is_empty(), "it is not a dead letter");
    assert!(holds.all().is_empty(), "who has stopped holds nothing");

    let sink = start(release(NEXT));
    until("all of it", || delivered(messages * 10)).await;
    sink.stop().await;
    assert_eq!(committed_in_all(&log).await, messages as i64);
}

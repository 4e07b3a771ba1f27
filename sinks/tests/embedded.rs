//! A sink on the embedded event log.

use std::sync::Arc;

use kerntrail_schemas::Table;
use kerntrail_sinks::{Sink, SinkConfig};
use kerntrail_testbed::Hec;
use kerntrail_transport::embedded::{EmbeddedLog, EmbeddedOptions};
use kerntrail_transport::{EventLog, Group, Topic};
use serde_json::json;

use crate::support::{LIMIT, Running, counts, message, once, topic};

/// All tables, as when the configuration names none.
fn to(hec: &Hec) -> SinkConfig {
    serde_json::from_value(json!({
        "name": "test", "kind": "splunk_hec", "url": hec.url(), "token": Hec::TOKEN, "batch_wait_ms": 1,
    }))
    .unwrap()
}

fn held(hec: &Hec) -> std::collections::BTreeMap<String, usize> {
    counts(hec.events().iter().map(|event| event.event()["metadata"]["uid"].as_str().unwrap().to_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_wait_in_the_log_for_a_registered_sink_and_arrive_once_over_restarts() {
    let (hec, dir) = (Hec::start().unwrap(), tempfile::tempdir().unwrap());
    for round in 0..3 {
        let log: Arc<dyn EventLog> =
            Arc::new(EmbeddedLog::open(&dir.path().join("log"), EmbeddedOptions::default()).await.unwrap());
        Sink::new(&to(&hec), Arc::clone(&log), &dir.path().join("dlq"), "acme").unwrap().register().await.unwrap();
        let first = round as i32 * 20;
        // The second message comes again: its sender did not hear that it was appended.
        let numbers = [
            (2 * round, first..first + 10),
            (2 * round + 1, first + 10..first + 20),
            (2 * round + 1, first + 10..first + 20),
        ];
        let messages = numbers.map(|(batch, pids)| message(batch, pids)).into();
        log.append(&topic(), messages).await.unwrap();
        let sink = Running::start_on(&to(&hec), Arc::clone(&log), &dir.path().join("dlq"));
        hec.wait_events(first as usize + 20, LIMIT).unwrap();
        sink.stop().await;
        assert_eq!(held(&hec), once(0..first + 20));
        let committed = log.committed(&Group("sink-test".into()), &topic()).await.unwrap();
        assert_eq!(committed.iter().map(|position| position.next).sum::<i64>(), 3 * (round + 1));
        let other = Topic { table: Table::Findings, ..topic() };
        assert!(log.committed(&Group("sink-test".into()), &other).await.unwrap().is_empty());
    }
}

//! Consuming and committing: sinks side by side, stopping, going on.

use std::time::Duration;

use kerntrail_sinks::SinkState;
use kerntrail_testbed::Hec;
use serde_json::json;

use crate::log::MemoryLog;
use crate::support::{Running, append, committed, config, counts, once, topic, until};

fn held(hec: &Hec) -> std::collections::BTreeMap<String, usize> {
    counts(hec.events().iter().map(|event| event.event()["metadata"]["uid"].as_str().unwrap().to_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_is_down_delays_only_its_own_sink() {
    let (hec, mut down) = (Hec::start().unwrap(), Hec::start().unwrap());
    let (log, dir) = (MemoryLog::default(), tempfile::tempdir().unwrap());
    down.stop();
    let to = |name: &str, hec: &Hec| {
        config(json!({"kind": "splunk_hec", "url": hec.url(), "token": Hec::TOKEN}), json!({"name": name}))
    };
    let mut stuck = Running::start(&to("stuck", &down), &log, dir.path());
    let well = Running::start(&to("well", &hec), &log, dir.path());
    append(&log, 0, 0..30).await;
    stuck.wait("retries", |state| matches!(state, SinkState::Retrying { .. })).await;
    append(&log, 3, 30..60).await;
    committed(&log, "well", 6).await;
    assert_eq!(held(&hec), once(0..60));
    assert_eq!(log.committed_by("stuck", &topic()), 0);
    down.start_again().unwrap();
    committed(&log, "stuck", 6).await;
    assert_eq!(held(&down), once(0..60));
    well.stop().await;
    stuck.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_delivers_and_commits_what_was_taken() {
    let (hec, log, dir) = (Hec::start().unwrap(), MemoryLog::default(), tempfile::tempdir().unwrap());
    hec.set_delay(Duration::from_millis(200));
    append(&log, 0, 0..40).await;
    let config = config(json!({"kind": "splunk_hec", "url": hec.url(), "token": Hec::TOKEN}), json!({}));
    let sink = Running::start(&config, &log, dir.path());
    // Requests are under way; the answers come after the stop.
    until("a request", || if hec.requests().is_empty() { Err("there is none".to_owned()) } else { Ok(()) }).await;
    sink.stop().await;
    let taken = log.committed_by("test", &topic());
    assert!(taken > 0);
    assert_eq!(held(&hec), once(0..taken as i32 * 10));
    // The next run goes on right there.
    let sink = Running::start(&config, &log, dir.path());
    committed(&log, "test", 4).await;
    assert_eq!(held(&hec), once(0..40));
    sink.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_while_the_destination_is_down_ends_and_commits_nothing() {
    let (mut hec, log, dir) = (Hec::start().unwrap(), MemoryLog::default(), tempfile::tempdir().unwrap());
    hec.stop();
    append(&log, 0, 0..20).await;
    let target = json!({"kind": "splunk_hec", "url": hec.url(), "token": Hec::TOKEN});
    let config = config(target, json!({"drain_seconds": 0}));
    let mut sink = Running::start(&config, &log, dir.path());
    sink.wait("retries", |state| matches!(state, SinkState::Retrying { .. })).await;
    let mut state = sink.state.clone();
    sink.stop().await;
    assert_eq!(*state.borrow_and_update(), SinkState::Stopped);
    assert_eq!(log.committed_by("test", &topic()), 0);
    hec.start_again().unwrap();
    let sink = Running::start(&config, &log, dir.path());
    committed(&log, "test", 2).await;
    assert_eq!(held(&hec), once(0..20));
    sink.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_sent_again_are_delivered_once_also_after_a_restart() {
    let (hec, log, dir) = (Hec::start().unwrap(), MemoryLog::default(), tempfile::tempdir().unwrap());
    let config = config(json!({"kind": "splunk_hec", "url": hec.url(), "token": Hec::TOKEN}), json!({}));
    append(&log, 0, 0..30).await;
    append(&log, 1, 10..30).await;
    let sink = Running::start(&config, &log, dir.path());
    committed(&log, "test", 5).await;
    sink.stop().await;
    // A sender that did not hear that its last messages were appended.
    append(&log, 2, 20..50).await;
    let sink = Running::start(&config, &log, dir.path());
    committed(&log, "test", 8).await;
    sink.stop().await;
    assert_eq!(held(&hec), once(0..50));
}

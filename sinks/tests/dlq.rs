//! Dead letters: their bound, and messages and rows that never reach a destination.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use kerntrail_common::ids::IdSelection;
use kerntrail_sinks::SinkState;
use kerntrail_sinks::dlq::{self, Content};
use kerntrail_sinks::outcome::Reason;
use kerntrail_testbed::Hec;
use kerntrail_testbed::hec::Code;
use kerntrail_transport::EventLog as _;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::log::MemoryLog;
use crate::support::{Running, append, committed, config, message, topic};

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_with_too_many_dead_letters_pauses_until_some_are_removed() {
    let (hec, log, dir) = (Hec::start().unwrap(), MemoryLog::default(), tempfile::tempdir().unwrap());
    hec.refuse(|event| (event["event"]["process"]["pid"].as_i64() < Some(3)).then_some(Code::IndexedFields));
    append(&log, 0, 0..10).await;
    let target = json!({"kind": "splunk_hec", "url": hec.url(), "token": Hec::TOKEN});
    let mut sink = Running::start(&config(target, json!({"dead_letters": 2})), &log, dir.path());
    let state = sink.wait("a pause", |state| matches!(state, SinkState::Paused { .. })).await;
    assert!(matches!(&state, SinkState::Paused { alert } if alert.contains("2 dead letters")), "{state:?}");
    assert_eq!(log.committed_by("test", &topic()), 0);
    assert_eq!(dlq::purge(dir.path(), "test", &IdSelection::All).unwrap(), 2);
    committed(&log, "test", 1).await;
    assert_eq!(dlq::list(dir.path(), None).unwrap().letters.len(), 1);
    assert_eq!(hec.events().len(), 7);
    sink.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_at_the_limit_of_dead_letters_commits_nothing_that_is_not_stored() {
    let (hec, log, dir) = (Hec::start().unwrap(), MemoryLog::default(), tempfile::tempdir().unwrap());
    hec.refuse(|_| Some(Code::IndexedFields));
    append(&log, 0, 0..3).await;
    let target = json!({"kind": "splunk_hec", "url": hec.url(), "token": Hec::TOKEN});
    let config = config(target, json!({"dead_letters": 2, "drain_seconds": 0}));
    let mut sink = Running::start(&config, &log, dir.path());
    sink.wait("a pause", |state| matches!(state, SinkState::Paused { .. })).await;
    sink.stop().await;
    assert_eq!(log.committed_by("test", &topic()), 0);
    // The next run goes on where this one stopped: with the third row. What was purged does not come back.
    dlq::purge(dir.path(), "test", &IdSelection::All).unwrap();
    let config = serde_json::from_value(json!({
        "name": "test", "kind": "splunk_hec", "url": hec.url(), "token": Hec::TOKEN, "tables": ["process_events"],
        "batch_wait_ms": 1,
    }))
    .unwrap();
    let sink = Running::start(&config, &log, dir.path());
    committed(&log, "test", 1).await;
    assert_eq!(dlq::list(dir.path(), None).unwrap().letters.len(), 1);
    sink.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_messages_are_kept_aside_and_reading_continues() {
    let (log, dir) = (MemoryLog::default(), tempfile::tempdir().unwrap());
    let mut torn = message(1, 10..20);
    torn.payload = torn.payload.slice(..torn.payload.len() / 2);
    let foreign = kerntrail_transport::Message { payload: Bytes::from_static(b"not ours"), ..message(2, 20..30) };
    log.append(&topic(), vec![message(0, 0..10), torn, foreign, message(3, 30..40), message(4, 40..50)]).await.unwrap();
    // One that not even the log can read.
    log.damage(&topic(), 3);
    let path = dir.path().join("events.ndjson");
    let sink =
        Running::start(&config(json!({"kind": "ndjson", "path": path}), json!({})), &log, &dir.path().join("dlq"));
    committed(&log, "test", 5).await;
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 20);
    let letters = dlq::list(&dir.path().join("dlq"), None).unwrap().letters;
    assert_eq!(letters.len(), 2);
    for letter in &letters {
        assert_eq!(letter.reason, Reason::Damaged);
        assert!(letter.event_id.starts_with("kerntrail.acme.process_events/0@"), "{letter:?}");
        assert!(matches!(letter.content, Content::Message { .. }) && !letter.words.is_empty());
    }
    sink.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_kept_aside_is_decoded_again_by_a_replay() {
    let (log, dir) = (MemoryLog::default(), tempfile::tempdir().unwrap());
    let dlq_dir = dir.path().join("dlq");
    let whole = message(0, 0..10);
    let mut torn = whole.clone();
    torn.payload = torn.payload.slice(..torn.payload.len() / 2);
    log.append(&topic(), vec![torn.clone()]).await.unwrap();
    let path = dir.path().join("events.ndjson");
    let config = config(json!({"kind": "ndjson", "path": path}), json!({"where": "pid < 5"}));
    let sink = Running::start(&config, &log, &dlq_dir);
    committed(&log, "test", 1).await;
    sink.stop().await;
    let letter = dlq::list(&dlq_dir, None).unwrap().letters.remove(0);
    let file = dlq_dir.join("test").join(format!("{}.json", letter.id()));
    let text = std::fs::read_to_string(&file).unwrap();
    // As if a release came that can read those bytes.
    let written = |message: &kerntrail_transport::Message| BASE64_STANDARD.encode(&message.payload);
    std::fs::write(&file, text.replace(&written(&torn), &written(&whole))).unwrap();
    let report = dlq::replay(&config, &dlq_dir, &IdSelection::All, &CancellationToken::new()).await.unwrap();
    assert_eq!((report.delivered, report.refused.len(), report.not_sent), (1, 0, 0));
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 5);
    assert!(dlq::list(&dlq_dir, None).unwrap().letters.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_for_which_the_condition_cannot_be_computed_become_letters() {
    let (log, dir) = (MemoryLog::default(), tempfile::tempdir().unwrap());
    append(&log, 0, 0..10).await;
    let path = dir.path().join("events.ndjson");
    let config = config(json!({"kind": "ndjson", "path": path}), json!({"where": "100 / pid > 20"}));
    let sink = Running::start(&config, &log, &dir.path().join("dlq"));
    committed(&log, "test", 1).await;
    // 1 to 4 are selected, 5 to 9 are not, 0 is undecided.
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 4);
    let letters = dlq::list(&dir.path().join("dlq"), None).unwrap().letters;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].reason, Reason::RowFilter);
    sink.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_to_a_destination_that_is_down_leaves_the_letters_and_says_why() {
    let (mut hec, log, dir) = (Hec::start().unwrap(), MemoryLog::default(), tempfile::tempdir().unwrap());
    hec.refuse(|_| Some(Code::InvalidDataFormat));
    append(&log, 0, 0..3).await;
    let config = config(json!({"kind": "splunk_hec", "url": hec.url(), "token": Hec::TOKEN}), json!({}));
    let sink = Running::start(&config, &log, dir.path());
    committed(&log, "test", 1).await;
    sink.stop().await;
    hec.stop();
    let report = dlq::replay(&config, dir.path(), &IdSelection::All, &CancellationToken::new()).await.unwrap();
    assert_eq!((report.delivered, report.not_sent), (0, 3));
    assert!(report.stopped.is_some_and(|why| why.contains("error sending request")));
    assert_eq!(dlq::list(dir.path(), None).unwrap().letters.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_that_cannot_be_read_stay_are_named_and_do_not_stop_the_others() {
    let (log, dir) = (MemoryLog::default(), tempfile::tempdir().unwrap());
    append(&log, 0, 0..10).await;
    let path = dir.path().join("events.ndjson");
    let undecided = config(json!({"kind": "ndjson", "path": path}), json!({"where": "100 / (pid % 2) > 20"}));
    let dlq_dir = dir.path().join("dlq");
    let sink = Running::start(&undecided, &log, &dlq_dir);
    committed(&log, "test", 1).await;
    sink.stop().await;
    let ids = dlq::ids(&dlq_dir, "test").unwrap();
    assert_eq!(ids.len(), 5);
    let file = |id: &str| dlq_dir.join("test").join(format!("{id}.json"));
    std::fs::write(file(&ids[0]), "garbage").unwrap();
    let newer = std::fs::read_to_string(file(&ids[1])).unwrap().replace("\"version\": 1", "\"version\": 7");
    std::fs::write(file(&ids[1]), &newer).unwrap();

    let report = dlq::replay(&undecided, &dlq_dir, &IdSelection::All, &CancellationToken::new()).await.unwrap();
    assert_eq!((report.delivered, report.not_sent), (3, 0), "{report:?}");
    let refused: Vec<_> = report.refused.iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(refused, ids[..2]);
    assert!(report.refused[0].1.contains("is not a dead letter"), "{report:?}");
    assert!(report.refused[1].1.contains("version 7 is newer than 1"), "{report:?}");
    assert_eq!(dlq::ids(&dlq_dir, "test").unwrap(), ids[..2]);
    assert_eq!(dlq::purge(&dlq_dir, "test", &IdSelection::Ids(vec![ids[0].clone()])).unwrap(), 1);
    assert_eq!(std::fs::read_to_string(file(&ids[1])).unwrap(), newer);
}

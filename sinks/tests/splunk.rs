//! Splunk HEC against the testbed's server, and against VictoriaLogs.

use std::collections::BTreeMap;

use kerntrail_common::ids::IdSelection;
use kerntrail_sinks::dlq;
use kerntrail_sinks::outcome::Outcome;
use kerntrail_sinks::trial::{MARK, trial};
use kerntrail_sinks::{SinkConfig, SinkState};
use kerntrail_testbed::hec::{Acks, Code, Fault, Token};
use kerntrail_testbed::{Hec, VictoriaLogs, require};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::log::MemoryLog;
use crate::support::{Running, append, committed, config, counts, event_id, message_at, once, topic, until};
use kerntrail_transport::EventLog as _;

fn hec_config(hec: &Hec, changes: Value) -> SinkConfig {
    config(json!({"kind": "splunk_hec", "url": hec.url(), "token": Hec::TOKEN}), changes)
}

/// How often the server holds each event.
fn held(hec: &Hec) -> BTreeMap<String, usize> {
    counts(hec.events().iter().map(|event| event.event()["metadata"]["uid"].as_str().unwrap().to_owned()))
}

/// What refuses the rows `pids`.
fn refuse(hec: &Hec, pids: &'static [i64], code: Code) {
    hec.refuse(move |event| pids.contains(&event["event"]["process"]["pid"].as_i64().unwrap()).then_some(code));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_arrive_once_in_the_format_of_splunk() {
    let (hec, log, dir) = (Hec::start().unwrap(), MemoryLog::default(), tempfile::tempdir().unwrap());
    append(&log, 0, 0..95).await;
    let sink = Running::start(&hec_config(&hec, json!({"index": "sec"})), &log, dir.path());
    committed(&log, "test", 10).await;
    assert_eq!(held(&hec), once(0..95));
    let event = hec.events().into_iter().find(|event| event.event()["process"]["pid"] == 7).unwrap();
    assert_eq!(event.index, "sec");
    assert_eq!(event.body["sourcetype"], "kerntrail:process_events");
    assert_eq!(event.body["host"], "n1");
    assert_eq!(event.body["time"], 1_785_585_600.007);
    assert_eq!(event.body["fields"], json!({"event_id": event_id(7), "namespace": "ns1"}));
    assert_eq!(event.event()["class_uid"], 1007);
    assert!(hec.requests().iter().all(|request| request.gzip && request.reply.code == Code::Success));
    sink.stop().await;
    assert!(dlq::list(dir.path(), None).unwrap().letters.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_selected_rows_are_sent_and_the_others_are_committed() {
    let (hec, log, dir) = (Hec::start().unwrap(), MemoryLog::default(), tempfile::tempdir().unwrap());
    append(&log, 0, 0..40).await;
    let config = hec_config(&hec, json!({"where": "namespace = 'ns1' and pid < 20", "profile": "ecs"}));
    let sink = Running::start(&config, &log, dir.path());
    committed(&log, "test", 4).await;
    let pids: Vec<i64> = hec.events().iter().map(|event| event.event()["process"]["pid"].as_i64().unwrap()).collect();
    assert_eq!(pids.len(), 10, "{pids:?}");
    assert!(pids.iter().all(|pid| pid % 2 == 1 && *pid < 20), "{pids:?}");
    sink.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_rows_become_letters_and_the_others_arrive_once() {
    let (hec, log, dir) = (Hec::start().unwrap(), MemoryLog::default(), tempfile::tempdir().unwrap());
    // The first of a request, one in its middle, two side by side, the last.
    refuse(&hec, &[0, 13, 30, 31, 49], Code::IndexedFields);
    append(&log, 0, 0..50).await;
    let config = hec_config(&hec, json!({}));
    let sink = Running::start(&config, &log, dir.path());
    committed(&log, "test", 5).await;
    assert_eq!(held(&hec), once((0..50).filter(|pid| ![0, 13, 30, 31, 49].contains(pid))));
    let letters = dlq::list(dir.path(), Some("test")).unwrap().letters;
    let dead: Vec<&str> = letters.iter().map(|letter| letter.event_id.as_str()).collect();
    assert_eq!(counts(dead.into_iter().map(str::to_owned)), once([0, 13, 30, 31, 49]));
    assert!(letters.iter().all(|letter| letter.words.contains(Code::IndexedFields.text())), "{letters:?}");

    // While the server still refuses, a replay leaves the letters; then it delivers them, beside the running sink.
    let stop = CancellationToken::new();
    let report = dlq::replay(&config, dir.path(), &IdSelection::All, &stop).await.unwrap();
    assert_eq!((report.delivered, report.refused.len()), (0, 5));
    assert_eq!(dlq::list(dir.path(), None).unwrap().letters[0].replays, 1);
    hec.refuse_nothing();
    let one = IdSelection::Ids(vec![letters[0].id()]);
    assert_eq!(dlq::replay(&config, dir.path(), &one, &stop).await.unwrap().delivered, 1);
    assert_eq!(dlq::replay(&config, dir.path(), &IdSelection::All, &stop).await.unwrap().delivered, 4);
    assert_eq!(held(&hec), once(0..50));
    assert!(dlq::list(dir.path(), None).unwrap().letters.is_empty());
    sink.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_refused_without_a_number_is_split() {
    let (hec, log, dir) = (
        Hec::start_with(vec![Token::new(Hec::TOKEN)], 2_000).unwrap(),
        MemoryLog::default(),
        tempfile::tempdir().unwrap(),
    );
    append(&log, 0, 0..100).await;
    // Far more than the server takes in a request.
    let sink = Running::start(&hec_config(&hec, json!({"batch_events": 100})), &log, dir.path());
    committed(&log, "test", 10).await;
    assert_eq!(held(&hec), once(0..100));
    assert!(hec.requests().len() > 1);
    sink.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_during_delivery_neither_loses_nor_duplicates_rows() {
    let (mut hec, log, dir) = (Hec::start().unwrap(), MemoryLog::default(), tempfile::tempdir().unwrap());
    append(&log, 0, 0..30).await;
    let mut sink = Running::start(&hec_config(&hec, json!({})), &log, dir.path());
    committed(&log, "test", 3).await;
    hec.stop();
    append(&log, 3, 30..70).await;
    sink.wait("retries", |state| matches!(state, SinkState::Retrying { .. })).await;
    hec.start_again().unwrap();
    sink.wait("deliveries", |state| *state == SinkState::Running).await;
    committed(&log, "test", 7).await;
    assert_eq!(held(&hec), once(0..70));
    sink.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn temporary_errors_are_retried() {
    for code in [Code::InternalServerError, Code::ServerBusy] {
        let (hec, log, dir) = (Hec::start().unwrap(), MemoryLog::default(), tempfile::tempdir().unwrap());
        hec.fail_next(3, Fault::Answer(code));
        hec.fail_next(2, Fault::NoAnswer { index: false });
        append(&log, 0, 0..30).await;
        let sink = Running::start(&hec_config(&hec, json!({})), &log, dir.path());
        committed(&log, "test", 3).await;
        assert_eq!(held(&hec), once(0..30), "{code:?}");
        sink.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_token_pauses_the_sink_until_it_is_enabled() {
    let (hec, log, dir) = (Hec::start().unwrap(), MemoryLog::default(), tempfile::tempdir().unwrap());
    let mut token = Token::new(Hec::TOKEN);
    token.enabled = false;
    hec.set_token(token.clone());
    append(&log, 0, 0..20).await;
    let mut sink = Running::start(&hec_config(&hec, json!({})), &log, dir.path());
    let state = sink.wait("a pause", |state| matches!(state, SinkState::Paused { .. })).await;
    assert!(matches!(&state, SinkState::Paused { alert } if alert.contains("Token disabled")), "{state:?}");
    token.enabled = true;
    hec.set_token(token);
    committed(&log, "test", 2).await;
    assert_eq!(held(&hec), once(0..20));
    sink.stop().await;
}

/// An index is configured once for all rows, so none of them is to blame.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_index_pauses_the_sink_until_it_is_there() {
    let (hec, log, dir) = (Hec::start().unwrap(), MemoryLog::default(), tempfile::tempdir().unwrap());
    hec.refuse(|_| Some(Code::IncorrectIndex));
    append(&log, 0, 0..20).await;
    let mut sink = Running::start(&hec_config(&hec, json!({})), &log, dir.path());
    let state = sink.wait("a pause", |state| matches!(state, SinkState::Paused { .. })).await;
    assert!(matches!(&state, SinkState::Paused { alert } if alert.contains("Incorrect index")), "{state:?}");
    assert!(dlq::list(dir.path(), None).unwrap().letters.is_empty());
    hec.refuse_nothing();
    committed(&log, "test", 2).await;
    assert_eq!(held(&hec), once(0..20));
    sink.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_replaced_in_its_file_ends_the_pause() {
    let (hec, log, dir) = (Hec::start().unwrap(), MemoryLog::default(), tempfile::tempdir().unwrap());
    let file = dir.path().join("token");
    std::fs::write(&file, "00000000-0000-0000-0000-000000000000").unwrap();
    append(&log, 0, 0..20).await;
    let mut sink = Running::start(&hec_config(&hec, json!({"token": {"file": file}})), &log, dir.path());
    sink.wait("a pause", |state| matches!(state, SinkState::Paused { .. })).await;
    std::fs::write(&file, Hec::TOKEN).unwrap();
    committed(&log, "test", 2).await;
    assert_eq!(held(&hec), once(0..20));
    sink.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_marked_event_shows_what_a_destination_answers() {
    let hec = Hec::start().unwrap();
    let sent = trial(&hec_config(&hec, json!({})), "n1").await.unwrap();
    assert_eq!(sent.outcome, Outcome::Delivered);
    let events = hec.events();
    assert_eq!(events.len(), 1);
    assert!(events[0].event().to_string().contains(MARK), "{}", events[0].event());
    assert_eq!(events[0].body["fields"]["event_id"], sent.event_id.as_str());
    hec.refuse(|_| Some(Code::IncorrectIndex));
    let refused = trial(&hec_config(&hec, json!({"index": "nowhere"})), "n1").await.unwrap().outcome;
    assert!(matches!(&refused, Outcome::Pause { alert } if alert.contains("Incorrect index")), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_committed_before_it_is_acknowledged() {
    let (hec, log, dir) = (Hec::start().unwrap(), MemoryLog::default(), tempfile::tempdir().unwrap());
    hec.set_acks(Acks::Held);
    append(&log, 0, 0..50).await;
    let changes = json!({"token": Hec::ACK_TOKEN, "acknowledge": true, "ack_interval_ms": 1});
    let sink = Running::start(&hec_config(&hec, changes), &log, dir.path());
    until("two requests", || if hec.requests().len() >= 2 { Ok(()) } else { Err("there are fewer".to_owned()) }).await;
    assert_eq!(log.committed_by("test", &topic()), 0);
    hec.set_acks(Acks::Given);
    committed(&log, "test", 5).await;
    assert_eq!(held(&hec), once(0..50));
    // One channel for each request under way, used again once acknowledged.
    let channels = counts(hec.requests().iter().filter_map(|request| request.channel.clone()));
    assert!(channels.len() <= 2, "{channels:?}");
    sink.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_acknowledged_is_sent_again() {
    let (hec, log, dir) = (Hec::start().unwrap(), MemoryLog::default(), tempfile::tempdir().unwrap());
    hec.set_acks(Acks::Dropped);
    append(&log, 0, 0..20).await;
    let changes =
        json!({"token": Hec::ACK_TOKEN, "acknowledge": true, "ack_interval_ms": 10, "ack_timeout_seconds": 1});
    let mut sink = Running::start(&hec_config(&hec, changes), &log, dir.path());
    let state = sink.wait("a retry", |state| matches!(state, SinkState::Retrying { .. })).await;
    assert!(
        matches!(&state, SinkState::Retrying { words } if words.contains("not acknowledged within 1 s")),
        "{state:?}"
    );
    hec.set_acks(Acks::Given);
    committed(&log, "test", 2).await;
    let held = held(&hec);
    assert_eq!(held.keys().cloned().collect::<Vec<_>>().len(), 20);
    assert!(held.values().all(|count| *count >= 2), "{held:?}");
    sink.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_without_acknowledgements_pauses_a_sink_that_wants_them() {
    let (hec, log, dir) = (Hec::start().unwrap(), MemoryLog::default(), tempfile::tempdir().unwrap());
    append(&log, 0, 0..10).await;
    let changes = json!({"acknowledge": true, "drain_seconds": 86_400, "backoff_max_ms": 86_400_000});
    let mut sink = Running::start(&hec_config(&hec, changes), &log, dir.path());
    let state = sink.wait("a pause", |state| matches!(state, SinkState::Paused { .. })).await;
    assert!(matches!(&state, SinkState::Paused { alert } if alert.contains("no acknowledgements")), "{state:?}");
    // It does not wait for the repair, however long it may drain.
    sink.stop().await;
    assert_eq!(log.committed_by("test", &topic()), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_third_party_receiver_accepts_the_events() {
    if !require::command("go") {
        return;
    }
    let (log, dir) = (MemoryLog::default(), tempfile::tempdir().unwrap());
    let server = VictoriaLogs::start(&dir.path().join("victorialogs")).unwrap();
    // It drops what is older than its retention, so this row is of now.
    let recent = message_at(0, 0..1, chrono::Utc::now().timestamp_micros());
    log.append(&topic(), vec![recent]).await.unwrap();
    let config = config(json!({"kind": "splunk_hec", "url": server.url(), "token": "any"}), json!({"profile": "ecs"}));
    let sink = Running::start(&config, &log, &dir.path().join("dlq"));
    committed(&log, "test", 1).await;
    let entries = server.wait_entries("*", 1, crate::support::LIMIT).unwrap();
    assert!(entries[0].to_string().contains(&event_id(0)), "{entries:?}");
    sink.stop().await;
}

//! Splunk HEC against the testbed's server, and against VictoriaLogs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use datafusion::datasource::MemTable;
use kerntrail_common::ids::IdSelection;
use kerntrail_schemas::{SCHEMA_VERSION, Table};
use kerntrail_sinks::backfill::{Backfill, BackfillReport, Span};
use kerntrail_sinks::dlq;
use kerntrail_sinks::outcome::Outcome;
use kerntrail_sinks::trial::{MARK, trial};
use kerntrail_sinks::{SinkConfig, SinkState};
use kerntrail_testbed::hec::{Acks, Code, Fault, Token};
use kerntrail_testbed::{Hec, TlsServer, VictoriaLogs, require};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::log::MemoryLog;
use crate::support::{Running, append, committed, config, counts, event_id, message, message_at, once, topic, until};
use kerntrail_transport::{Codec, EventLog as _};

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
    assert!(hec.events().is_empty(), "events were sent that cannot be acknowledged");
    // It does not wait for the repair, however long it may drain.
    sink.stop().await;
    assert_eq!(log.committed_by("test", &topic()), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_slower_than_the_timeout_gets_more_time_and_no_rows_for_ever() {
    let (hec, log, dir) = (Hec::start().unwrap(), MemoryLog::default(), tempfile::tempdir().unwrap());
    hec.set_delay(Duration::from_millis(1_500));
    append(&log, 0, 0..40).await;
    let changes = json!({"timeout_seconds": 1, "concurrency": 1, "batch_events": 40});
    let mut sink = Running::start(&hec_config(&hec, changes), &log, dir.path());
    let state = sink.wait("a retry", |state| matches!(state, SinkState::Retrying { .. })).await;
    assert!(state.reason().is_some_and(|words| words.contains("no response within 1 s")), "{state:?}");
    committed(&log, "test", 4).await;
    // Once in vain, and then in two requests that have more time.
    assert!(held(&hec).values().all(|count| *count == 2), "{:?}", held(&hec));
    append(&log, 4, 40..60).await;
    committed(&log, "test", 6).await;
    assert!(held(&hec).into_iter().filter(|(id, _)| once(40..60).contains_key(id)).all(|(_, count)| count == 1));
    sink.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_answers_pauses_the_sink() {
    let (hec, log, dir) = (Hec::start().unwrap(), MemoryLog::default(), tempfile::tempdir().unwrap());
    hec.set_delay(Duration::from_secs(3_600));
    append(&log, 0, 0..40).await;
    let changes = json!({"timeout_seconds": 1, "concurrency": 1, "batch_events": 40, "backoff_max_ms": 86_400_000});
    let mut sink = Running::start(&hec_config(&hec, changes), &log, dir.path());
    let state = sink.wait("a pause", |state| matches!(state, SinkState::Paused { .. })).await;
    assert!(state.reason().is_some_and(|alert| alert.contains("too slow")), "{state:?}");
    // 40, 20 and 10 of the rows: each request is half of the one before.
    assert_eq!(hec.events().len(), 70);
    sink.stop().await;
    assert_eq!(log.committed_by("test", &topic()), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_sink_repeats_the_requests_in_flight_and_no_others() {
    let (hec, log, dir) = (Hec::start().unwrap(), MemoryLog::default(), tempfile::tempdir().unwrap());
    // One message, ten requests.
    log.append(&topic(), vec![message(0, 0..100)]).await.unwrap();
    refuse(&hec, &[70], Code::ServerBusy);
    let config = hec_config(&hec, json!({"concurrency": 1, "batch_events": 10}));
    let mut sink = Running::start(&config, &log, dir.path());
    sink.wait("retries", |state| matches!(state, SinkState::Retrying { .. })).await;
    assert_eq!(held(&hec), once(0..70));
    sink.kill().await;
    assert_eq!(log.committed_by("test", &topic()), 0);
    hec.refuse_nothing();
    let sink = Running::start(&config, &log, dir.path());
    committed(&log, "test", 1).await;
    assert_eq!(held(&hec), once(0..100));
    sink.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_certificate_nobody_signed_pauses_the_sink() {
    if !require::command("openssl") {
        return;
    }
    let (log, dir) = (MemoryLog::default(), tempfile::tempdir().unwrap());
    let server = TlsServer::start(dir.path()).unwrap();
    append(&log, 0, 0..10).await;
    let to = |changes| config(json!({"kind": "splunk_hec", "url": server.url(), "token": "t"}), changes);
    let mut sink = Running::start(&to(json!({})), &log, dir.path());
    let state = sink.wait("a pause", |state| matches!(state, SinkState::Paused { .. })).await;
    assert!(state.reason().is_some_and(|alert| alert.contains("certificate")), "{state:?}");
    sink.stop().await;
    // With its certificate it gets to the server, which is no HEC.
    let trusted = to(json!({"ca_file": server.certificate()}));
    let outcome = trial(&trusted, "n1").await.unwrap().outcome;
    assert!(!format!("{outcome:?}").contains("certificate"), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_go_through_the_proxy_that_is_set() {
    let (hec, log, dir) = (Hec::start().unwrap(), MemoryLog::default(), tempfile::tempdir().unwrap());
    append(&log, 0, 0..10).await;
    // For a proxy, the address in a request is that of the server; the stand-in ignores it.
    let changes = json!({"url": "http://splunk.example:8088", "proxy": hec.url()});
    let sink = Running::start(&hec_config(&hec, changes), &log, dir.path());
    committed(&log, "test", 1).await;
    assert_eq!(held(&hec), once(0..10));
    sink.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_raw_endpoint_gets_lines_with_the_metadata_of_their_table() {
    let (hec, log, dir) = (Hec::start().unwrap(), MemoryLog::default(), tempfile::tempdir().unwrap());
    append(&log, 0, 0..30).await;
    let changes = json!({
        "endpoint": "raw", "index": "all", "by_table": {"process_events": {"index": "sec", "source": "{table} of {node}"}},
    });
    let sink = Running::start(&hec_config(&hec, changes), &log, dir.path());
    committed(&log, "test", 3).await;
    let events = hec.events();
    assert_eq!(events.len(), 30);
    for event in &events {
        let document: Value = serde_json::from_str(event.event().as_str().unwrap()).unwrap();
        assert_eq!(document["class_uid"], 1007);
        assert!(event.raw && event.index == "sec");
        assert_eq!((&event.body["source"], &event.body["host"]), (&json!("process_events of n1"), &json!("n1")));
    }
    sink.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_the_lake_are_sent_to_one_sink() {
    let (hec, dir) = (Hec::start().unwrap(), tempfile::tempdir().unwrap());
    let config = hec_config(&hec, json!({"where": "pid < 90"}));
    let payload = message(0, 0..100).payload;
    let batch = Codec::current().decode(Table::ProcessEvents, SCHEMA_VERSION, &payload).unwrap().flatten().unwrap();
    let rows = || Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch.clone()]]).unwrap());
    let micros = |pid: i64| Some(1_785_585_600_000_000 + pid * 1_000);
    let span = Span { since: micros(50), until: micros(94), is_of_ingestion: false };
    let mut backfill = Backfill::open(&config, dir.path(), CancellationToken::new()).unwrap();
    assert_eq!(backfill.tables(), [Table::ProcessEvents]);
    backfill.send(Table::ProcessEvents, rows(), span).await.unwrap();
    assert_eq!(held(&hec), once(50..90));
    assert_eq!(backfill.report(), BackfillReport { settled: 40, failed: 0, filtered: 5 });
    // What has to be repaired ends it.
    hec.set_token(Token { enabled: false, ..Token::new(Hec::TOKEN) });
    let error = backfill.send(Table::ProcessEvents, rows(), span).await.unwrap_err();
    assert!(error.to_string().contains("Token disabled"), "{error}");
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

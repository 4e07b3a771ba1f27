//! Elasticsearch's bulk API against a real OpenSearch.

use std::collections::BTreeMap;

use kerntrail_common::ids::IdSelection;
use kerntrail_sinks::dlq;
use kerntrail_sinks::{SinkConfig, SinkState};
use kerntrail_testbed::{OpenSearch, require};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::log::MemoryLog;
use crate::support::{Running, append, committed, config, counts, event_id, once};

const STREAM: &str = "logs-kerntrail.process_events-default";

fn to(server: &OpenSearch, changes: Value) -> SinkConfig {
    config(json!({"kind": "elasticsearch", "url": server.url()}), changes)
}

fn held(server: &OpenSearch, stream: &str) -> BTreeMap<String, usize> {
    let documents = server.documents(stream).unwrap();
    counts(documents.iter().map(|document| document["_id"].as_str().unwrap().to_owned()))
}

/// One server for all: starting it takes seconds.
#[tokio::test(flavor = "multi_thread")]
async fn opensearch() {
    if !require::java() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut server = OpenSearch::start(&dir.path().join("opensearch")).unwrap();
    rows_arrive_once_in_a_typed_data_stream(&server).await;
    the_same_rows_again_are_conflicts_and_count_as_delivered(&server).await;
    a_refused_row_becomes_a_letter_and_the_others_arrive(&server).await;
    the_other_profile_goes_into_a_stream_of_its_own(&server).await;
    data_streams_have_the_names_alias_and_types_that_are_set(&server).await;
    a_template_that_somebody_took_over_stays(&server).await;
    a_write_block_pauses_until_it_is_lifted(&server).await;
    a_restart_during_delivery_neither_loses_nor_duplicates_rows(&mut server).await;
}

async fn rows_arrive_once_in_a_typed_data_stream(server: &OpenSearch) {
    let (log, dir) = (MemoryLog::default(), tempfile::tempdir().unwrap());
    append(&log, 0, 0..60).await;
    let sink = Running::start(&to(server, json!({})), &log, dir.path());
    committed(&log, "test", 6).await;
    sink.stop().await;
    assert_eq!(held(server, STREAM), once(0..60));
    let stream = server.get(&format!("/_data_stream/{STREAM}")).unwrap().json().unwrap();
    assert_eq!(stream["data_streams"][0]["template"], "logs-kerntrail");
    let found = server.post(
        &format!("/{STREAM}/_search"),
        &json!({"query": {"bool": {"filter": [{"term": {"process.pid": 7}}, {"term": {"event.action": "exec"}},
            {"range": {"@timestamp": {"gte": "2026-08-01T12:00:00Z"}}}]}}}),
    );
    let found = found.unwrap().json().unwrap();
    assert_eq!(found["hits"]["hits"][0]["_id"], event_id(7), "{found}");
    assert!(dlq::list(dir.path(), None).unwrap().letters.is_empty());
}

async fn the_same_rows_again_are_conflicts_and_count_as_delivered(server: &OpenSearch) {
    let (log, dir) = (MemoryLog::default(), tempfile::tempdir().unwrap());
    append(&log, 0, 0..60).await;
    let sink = Running::start(&to(server, json!({})), &log, dir.path());
    committed(&log, "test", 6).await;
    sink.stop().await;
    assert_eq!(held(server, STREAM), once(0..60));
    assert!(dlq::list(dir.path(), None).unwrap().letters.is_empty());
}

async fn a_refused_row_becomes_a_letter_and_the_others_arrive(server: &OpenSearch) {
    let (log, dir) = (MemoryLog::default(), tempfile::tempdir().unwrap());
    let stream = "logs-kerntrail.process_events-refused";
    // A stream with a type of its own for one field: `process.pid` must be below 128.
    let template = json!({
        "index_patterns": [stream], "data_stream": {}, "priority": 900,
        "template": {"mappings": {"properties": {"process": {"properties": {"pid": {"type": "byte"}}}}}},
    });
    server.put("/_index_template/test-refused", &template).unwrap().success().unwrap();
    append(&log, 0, 100..150).await;
    let config = to(server, json!({"namespace": "refused"}));
    let sink = Running::start(&config, &log, dir.path());
    committed(&log, "test", 5).await;
    assert_eq!(held(server, stream), once(100..128));
    let letters = dlq::list(dir.path(), None).unwrap().letters;
    assert_eq!(counts(letters.iter().map(|letter| letter.event_id.clone())), once(128..150));
    assert!(letters.iter().all(|letter| letter.words.contains("failed to parse field [process.pid]")), "{letters:?}");
    // Repaired by a template and a rollover, the letters go in beside the running sink.
    server.get("/").unwrap();
    let template = json!({"index_patterns": [stream], "data_stream": {}, "priority": 901,
        "template": {"mappings": {"properties": {"process": {"properties": {"pid": {"type": "long"}}}}}}});
    server.put("/_index_template/test-repaired", &template).unwrap().success().unwrap();
    server.post(&format!("/{stream}/_rollover"), &json!({})).unwrap().success().unwrap();
    let report = dlq::replay(&config, dir.path(), &IdSelection::All, &CancellationToken::new()).await.unwrap();
    assert_eq!((report.delivered, report.refused.len()), (22, 0), "{report:?}");
    assert_eq!(held(server, stream), once(100..150));
    assert!(dlq::list(dir.path(), None).unwrap().letters.is_empty());
    sink.stop().await;
}

async fn the_other_profile_goes_into_a_stream_of_its_own(server: &OpenSearch) {
    let (log, dir) = (MemoryLog::default(), tempfile::tempdir().unwrap());
    append(&log, 0, 0..10).await;
    let sink = Running::start(&to(server, json!({"namespace": "ocsf", "profile": "ocsf"})), &log, dir.path());
    committed(&log, "test", 1).await;
    sink.stop().await;
    let documents = server.documents("logs-kerntrail.process_events-ocsf").unwrap();
    assert_eq!(documents.len(), 10);
    let source = &documents[0]["_source"];
    assert_eq!(source["class_uid"], 1007);
    assert_eq!(source["@timestamp"], source["time"]);
}

async fn data_streams_have_the_names_alias_and_types_that_are_set(server: &OpenSearch) {
    let (log, dir) = (MemoryLog::default(), tempfile::tempdir().unwrap());
    append(&log, 0, 200..210).await;
    let custom = json!({"template": {"mappings": {"properties": {"own": {"type": "ip"}}}}});
    server.put("/_component_template/kerntrail-sec-all-all@custom", &custom).unwrap().success().unwrap();
    let names = json!({"data_stream": "sec-{table}-{namespace}", "namespace": "prod", "alias": "security"});
    let sink = Running::start(&to(server, names), &log, dir.path());
    committed(&log, "test", 1).await;
    sink.stop().await;
    let stream = "sec-process_events-prod";
    assert_eq!(held(server, stream), once(200..210));
    let about = server.get(&format!("/_data_stream/{stream}")).unwrap().json().unwrap();
    assert_eq!(about["data_streams"][0]["template"], "kerntrail-sec-all-all");
    let mappings = server.get(&format!("/{stream}/_mapping")).unwrap().json().unwrap().to_string();
    assert!(mappings.contains(r#""own":{"type":"ip"}"#), "{mappings}");
    assert_eq!(held(server, "security"), once(200..210));
    let document = &server.documents(stream).unwrap()[0]["_source"];
    assert!(document["event"]["ingested"].is_string() && document["event"]["sequence"].is_i64(), "{document}");
}

async fn a_template_that_somebody_took_over_stays(server: &OpenSearch) {
    let own = json!({
        "index_patterns": ["sec-*-*"], "data_stream": {}, "priority": 300, "version": 1, "_meta": {"managed_by": "us"},
    });
    server.put("/_index_template/kerntrail-sec-all-all", &own).unwrap().success().unwrap();
    let (log, dir) = (MemoryLog::default(), tempfile::tempdir().unwrap());
    append(&log, 0, 210..220).await;
    let sink = Running::start(&to(server, json!({"data_stream": "sec-{table}-{namespace}"})), &log, dir.path());
    committed(&log, "test", 1).await;
    sink.stop().await;
    let installed = server.get("/_index_template/kerntrail-sec-all-all").unwrap().json().unwrap();
    assert_eq!(installed["index_templates"][0]["index_template"]["_meta"]["managed_by"], "us", "{installed}");
    assert_eq!(held(server, "sec-process_events-default"), once(210..220));
}

async fn a_write_block_pauses_until_it_is_lifted(server: &OpenSearch) {
    let (log, dir) = (MemoryLog::default(), tempfile::tempdir().unwrap());
    let block = |on: bool| {
        let settings = json!({"index.blocks.write": on});
        server.put(&format!("/{STREAM}/_settings"), &settings).unwrap().success().unwrap();
    };
    block(true);
    append(&log, 0, 60..80).await;
    let mut sink = Running::start(&to(server, json!({})), &log, dir.path());
    let state = sink.wait("a pause", |state| matches!(state, SinkState::Paused { .. })).await;
    assert!(matches!(&state, SinkState::Paused { alert } if alert.contains("cluster_block_exception")), "{state:?}");
    block(false);
    committed(&log, "test", 2).await;
    sink.stop().await;
    assert_eq!(held(server, STREAM), once(0..80));
}

async fn a_restart_during_delivery_neither_loses_nor_duplicates_rows(server: &mut OpenSearch) {
    let (log, dir) = (MemoryLog::default(), tempfile::tempdir().unwrap());
    let mut sink = Running::start(&to(server, json!({})), &log, dir.path());
    append(&log, 0, 80..100).await;
    committed(&log, "test", 2).await;
    server.kill();
    append(&log, 2, 100..140).await;
    sink.wait("retries", |state| matches!(state, SinkState::Retrying { .. })).await;
    server.start_again().unwrap();
    committed(&log, "test", 6).await;
    sink.stop().await;
    assert_eq!(held(server, STREAM), once(0..140));
}

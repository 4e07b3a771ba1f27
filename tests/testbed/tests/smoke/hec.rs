//! The HEC server: each documented reply that a client can get, and the faults that a test can inject.

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use kerntrail_testbed::hec::{Acks, Code, Fault, Hec, Token};
use kerntrail_testbed::http::{Answer, get, request};
use serde_json::{Value, json};

const CHANNEL: &str = "0fd8a5a7-1f4c-4a80-8b4c-2f6e6f2f9c11";
const EVENT: &str = "/services/collector/event";

fn send(hec: &Hec, path: &str, headers: &[(&str, &str)], body: &[u8]) -> anyhow::Result<Answer> {
    request("POST", &format!("{}{path}", hec.url()), headers, body)
}

/// Sends `body` with a token, and with a channel unless that is empty; returns HTTP status and body.
fn post(hec: &Hec, path: &str, token: &str, channel: &str, body: &str) -> (u16, Value) {
    let authorization = format!("Splunk {token}");
    let mut headers = vec![("authorization", authorization.as_str())];
    if !channel.is_empty() {
        headers.push(("x-splunk-request-channel", channel));
    }
    let answer = send(hec, path, &headers, body.as_bytes()).unwrap();
    (answer.status, answer.json().unwrap())
}

#[track_caller]
fn check(hec: &Hec, body: &str, status: u16, reply: Value) {
    assert_eq!(post(hec, EVENT, Hec::TOKEN, "", body), (status, reply), "{body}");
}

#[test]
fn events_before_a_refused_one_are_indexed() {
    let hec = Hec::start().unwrap();
    check(&hec, r#"{"event":"a"} {"event":{"b":1},"time":1.5}"#, 200, json!({"text": "Success", "code": 0}));
    let refused = json!({"text": "Event field cannot be blank", "code": 13, "invalid-event-number": 1});
    check(&hec, r#"{"event":"c"}{"event":""}{"event":"d"}"#, 400, refused);
    let events: Vec<Value> = hec.events().iter().map(|event| event.event().clone()).collect();
    assert_eq!(events, [json!("a"), json!({"b": 1}), json!("c")]);
    assert_eq!(hec.events()[0].index, "main");
    assert_eq!(hec.requests()[1].reply.code, Code::EventBlank);
}

#[test]
fn a_body_is_checked_event_by_event() {
    let hec = Hec::start().unwrap();
    check(&hec, " ", 400, json!({"text": "No data", "code": 5}));
    let at =
        |text: &str, code: u8, position: usize| json!({"text": text, "code": code, "invalid-event-number": position});
    check(&hec, r#"{"event":"a"}{"event":"#, 400, at("Invalid data format", 6, 1));
    check(&hec, r#"[{"event":"a"}]"#, 400, at("Invalid data format", 6, 0));
    check(&hec, r#"{"event":"a","time":"yesterday"}"#, 400, at("Invalid data format", 6, 0));
    check(&hec, r#"{"event":"a"}{"host":"h"}"#, 400, at("Event field is required", 12, 1));
    let fields = at("Error in handling indexed fields", 15, 0);
    check(&hec, r#"{"event":"a","fields":{"x":{"nested":1}}}"#, 400, fields);
    check(
        &hec,
        r#"{"event":"a","time":"1700000000.25","fields":{"x":["1",2],"y":true}}"#,
        200,
        json!({"text": "Success", "code": 0}),
    );
}

#[test]
fn indexes_can_be_restricted_and_events_refused() {
    let hec = Hec::start().unwrap();
    hec.set_token(Token::new(Hec::TOKEN).with_indexes(&["k8s", "audit"]));
    check(&hec, r#"{"event":"a"}{"event":"b","index":"audit"}"#, 200, json!({"text": "Success", "code": 0}));
    let indexes: Vec<_> = hec.events().into_iter().map(|event| event.index).collect();
    assert_eq!(indexes, ["k8s", "audit"]);
    let refused = json!({"text": "Incorrect index", "code": 7, "invalid-event-number": 0});
    check(&hec, r#"{"event":"a","index":"main"}"#, 400, refused.clone());
    hec.refuse(|event| (event["index"] == "audit").then_some(Code::IncorrectIndex));
    check(&hec, r#"{"event":"b","index":"audit"}"#, 400, refused);
    hec.refuse_nothing();
    check(&hec, r#"{"event":"b","index":"audit"}"#, 200, json!({"text": "Success", "code": 0}));
}

#[test]
fn authorization_is_checked() {
    let hec = Hec::start().unwrap();
    let body = br#"{"event":"a"}"#;
    let code = |headers: &[(&str, &str)], path: &str| {
        let answer = send(&hec, path, headers, body).unwrap();
        (answer.status, answer.json().unwrap()["code"].as_u64().unwrap())
    };
    assert_eq!(code(&[], EVENT), (401, 2));
    assert_eq!(code(&[("authorization", "Bearer x")], EVENT), (401, 3));
    assert_eq!(code(&[("authorization", "Splunk unknown")], EVENT), (403, 4));
    // "x:" and Hec::TOKEN as basic authorization.
    let basic = "Basic eDo3YzdjNWQ4Yy00YTNlLTRiOGUtOWEzZi0wYzJmM2E2ZjFkMDE=";
    assert_eq!(code(&[("authorization", basic)], EVENT), (200, 0));
    let in_query = format!("{EVENT}?token={}", Hec::TOKEN);
    assert_eq!(code(&[], &in_query), (400, 16));
    hec.set_token(Token { query_authorization: true, ..Token::new(Hec::TOKEN) });
    assert_eq!(code(&[], &in_query), (200, 0));
    hec.set_token(Token { enabled: false, ..Token::new(Hec::TOKEN) });
    assert_eq!(code(&[("authorization", basic)], EVENT), (403, 1));
}

#[test]
fn acknowledgements_are_kept_per_channel() {
    let hec = Hec::start().unwrap();
    let deliver = || post(&hec, EVENT, Hec::ACK_TOKEN, CHANNEL, r#"{"event":"a"}"#).1["ackId"].clone();
    let ask = |ids: &str| post(&hec, "/services/collector/ack", Hec::ACK_TOKEN, CHANNEL, ids).1;
    assert_eq!(post(&hec, EVENT, Hec::ACK_TOKEN, "", r#"{"event":"a"}"#).1["code"], 10);
    assert_eq!(post(&hec, EVENT, Hec::ACK_TOKEN, "no-uuid", r#"{"event":"a"}"#).1["code"], 11);
    assert_eq!(post(&hec, "/services/collector/ack", Hec::TOKEN, CHANNEL, "{}").1["code"], 14);
    assert_eq!(ask("{}")["code"], 6);
    assert_eq!([deliver(), deliver()], [json!(0), json!(1)]);
    hec.set_acks(Acks::Held);
    assert_eq!(ask(r#"{"acks":[0,1]}"#), json!({"acks": {"0": false, "1": false}}));
    hec.set_acks(Acks::Dropped);
    assert_eq!(deliver(), json!(2));
    hec.set_acks(Acks::Given);
    assert_eq!(ask(r#"{"acks":[0,1,2,7]}"#), json!({"acks": {"0": true, "1": true, "2": false, "7": false}}));
    assert_eq!(ask(r#"{"acks":[0]}"#), json!({"acks": {"0": false}}), "reported once");
}

#[test]
fn raw_lines_and_gzip() {
    let hec = Hec::start().unwrap();
    let raw = "/services/collector/raw?sourcetype=audit&host=n1";
    assert_eq!(post(&hec, raw, Hec::TOKEN, "", "one").1["code"], 10);
    assert_eq!(post(&hec, raw, Hec::TOKEN, CHANNEL, "one\ntwo\n"), (200, json!({"text": "Success", "code": 0})));
    assert_eq!(hec.events()[1].body, json!({"event": "two", "sourcetype": "audit", "host": "n1"}));

    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(br#"{"event":"zipped"}"#).unwrap();
    let authorization = format!("Splunk {}", Hec::TOKEN);
    let headers = [("authorization", authorization.as_str()), ("content-encoding", "gzip")];
    let answer = send(&hec, EVENT, &headers, &gzip.finish().unwrap()).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(hec.events()[2].event(), "zipped");
    assert!(hec.requests().last().unwrap().gzip);
}

#[test]
fn injected_faults_happen() {
    let mut hec = Hec::start().unwrap();
    let health =
        |hec: &Hec| get(&format!("{}/services/collector/health", hec.url())).unwrap().json().unwrap()["code"].clone();
    assert_eq!(health(&hec), 17);
    hec.set_busy(true);
    check(&hec, r#"{"event":"a"}"#, 503, json!({"text": "Server is busy", "code": 9}));
    assert_eq!(health(&hec), 18);
    hec.set_busy(false);
    hec.fail_next(1, Fault::Answer(Code::InternalServerError));
    check(&hec, r#"{"event":"a"}"#, 500, json!({"text": "Internal server error", "code": 8}));
    assert!(hec.events().is_empty());

    let authorization = format!("Splunk {}", Hec::TOKEN);
    let lost = |hec: &Hec| send(hec, EVENT, &[("authorization", &authorization)], br#"{"event":"lost"}"#);
    hec.fail_next(1, Fault::NoAnswer { index: false });
    lost(&hec).unwrap_err();
    assert!(hec.events().is_empty());
    hec.fail_next(1, Fault::NoAnswer { index: true });
    lost(&hec).unwrap_err();
    assert_eq!(hec.events().len(), 1);

    hec.set_delay(Duration::from_millis(300));
    let start = std::time::Instant::now();
    check(&hec, r#"{"event":"late"}"#, 200, json!({"text": "Success", "code": 0}));
    assert!(start.elapsed() >= Duration::from_millis(300));
    hec.set_delay(Duration::ZERO);

    let before = hec.url();
    hec.stop();
    lost(&hec).unwrap_err();
    hec.start_again().unwrap();
    assert_eq!(hec.url(), before);
    check(&hec, r#"{"event":"back"}"#, 200, json!({"text": "Success", "code": 0}));
    assert_eq!(hec.wait_events(3, Duration::from_secs(60)).unwrap()[2].event(), "back");
}

#[test]
fn a_body_over_the_limit_gets_413_and_an_unknown_path_404() {
    let hec = Hec::start_with(vec![Token::new(Hec::TOKEN)], 100).unwrap();
    let authorization = format!("Splunk {}", Hec::TOKEN);
    let headers = [("authorization", authorization.as_str())];
    let long = format!(r#"{{"event":"{}"}}"#, "x".repeat(100));
    assert_eq!(send(&hec, EVENT, &headers, long.as_bytes()).unwrap().status, 413);
    assert_eq!(send(&hec, "/services/other", &headers, b"").unwrap().status, 404);
}

use kerntrail_common::error::chain;
use serde_json::{Value, json};

use super::*;

fn splunk(changes: Value) -> Value {
    let mut config = json!({"name": "splunk", "kind": "splunk_hec", "url": "https://splunk:8088", "token": "t0ken"});
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

/// The error of `config`, with its causes; "" where it is right.
fn error_of(config: Value) -> String {
    match serde_json::from_value::<SinkConfig>(config) {
        Err(error) => error.to_string(),
        Ok(config) => config.check().err().map(|error| chain(&error)).unwrap_or_default(),
    }
}

#[test]
fn what_is_wrong_is_named() {
    for (config, expected) in [
        (splunk(json!({})), ""),
        (splunk(json!({"tokn": "x"})), "unknown field `tokn`"),
        (splunk(json!({"name": "Splunk 1"})), "name: \"Splunk 1\" is not"),
        (splunk(json!({"kind": "splunk"})), "unknown variant `splunk`"),
        (splunk(json!({"batch_events": 0})), "nonzero"),
        (splunk(json!({"path": "/x"})), "path: belongs to ndjson, not to splunk_hec"),
        (splunk(json!({"api_key": "x"})), "api_key: belongs to elasticsearch, not to splunk_hec"),
        (splunk(json!({"url": "splunk:8088"})), "url: \"splunk:8088\" is no http or https address"),
        (splunk(json!({"url": "https://u:p@splunk"})), "url: holds credentials"),
        (splunk(json!({"tables": ["proces_events"]})), "did you mean `process_events`?"),
        (splunk(json!({"where": "namespce = 'x'", "tables": ["process_events"]})), "did you mean `namespace`?"),
        (splunk(json!({"where": "severity = 'high'"})), ""),
        (
            splunk(json!({"where": "severity = 'high'", "tables": ["process_events"]})),
            "no column `severity` in process_events",
        ),
        (splunk(json!({"where": "severity = 'high'", "tables": ["findings"]})), ""),
        (splunk(json!({"token": {"env": "KERNTRAIL_TEST_NOT_SET"}})), "KERNTRAIL_TEST_NOT_SET"),
        (splunk(json!({"backoff_initial_ms": 10, "backoff_max_ms": 5})), "backoff_max_ms: it is less"),
        (splunk(json!({"ack_timeout_seconds": 5})), "ack_timeout_seconds: needs acknowledge = true"),
        (json!({"name": "s", "kind": "splunk_hec", "url": "http://s"}), "token: is required"),
        (json!({"name": "e", "kind": "elasticsearch"}), "url: is required"),
        (json!({"name": "e", "kind": "elasticsearch", "url": "http://e", "user": "u"}), "password: is required"),
        (json!({"name": "e", "kind": "elasticsearch", "url": "http://e", "namespace": "a-b"}), "namespace: \"a-b\""),
        (json!({"name": "e", "kind": "elasticsearch", "url": "http://e"}), ""),
        (json!({"name": "n", "kind": "ndjson"}), "path: is required"),
        (json!({"name": "n", "kind": "ndjson", "path": "/tmp/x.ndjson"}), ""),
    ] {
        let error = error_of(config.clone());
        let right = if expected.is_empty() { error.is_empty() } else { error.contains(expected) };
        assert!(right, "{config}: {error:?} is not {expected:?}");
    }
}

/// The reference names every key that is read, and no other.
#[test]
fn the_reference_is_complete() {
    let error = error_of(json!({"unknown key": 1}));
    let listed = error.split("expected one of ").nth(1).unwrap();
    let mut read: Vec<&str> =
        listed.split('`').filter(|part| part.chars().all(|c| c.is_ascii_lowercase() || c == '_')).collect();
    read.retain(|name| !name.is_empty());
    let documented: Vec<&str> = FIELDS.iter().map(|field| field.name).collect();
    assert_eq!(read, documented);
}

/// A key of single kinds that `set_fields` forgot would be accepted everywhere.
#[test]
fn every_key_of_a_kind_is_refused_by_the_others() {
    let samples = json!({
        "url": "http://x", "timeout_seconds": 1, "ca_file": "/x", "token": "t", "index": "i", "acknowledge": true,
        "ack_timeout_seconds": 1, "ack_interval_ms": 1, "before_refused": "indexed", "namespace": "n", "user": "u",
        "password": "p", "api_key": "k", "install_templates": true, "path": "/x", "file_bytes": 1, "files": 1,
    });
    for field in FIELDS.iter().filter(|field| !field.kinds.is_empty()) {
        for kind in ["splunk_hec", "elasticsearch", "ndjson"] {
            if !field.kinds.iter().any(|owner| owner.word() == kind) {
                let error = error_of(json!({"name": "s", "kind": kind, field.name: samples[field.name]}));
                assert!(error.contains(&format!("{}: belongs to", field.name)), "{kind}: {error}");
            }
        }
    }
}

#[test]
fn secrets_do_not_show() {
    let config: SinkConfig = serde_json::from_value(splunk(json!({}))).unwrap();
    let settings = config.settings().unwrap();
    assert!(!format!("{config:?} {settings:?}").contains("t0ken"));
}

#[test]
fn sinks_do_not_share_a_name_or_a_file() {
    let file = |name: &str, path: &str| -> SinkConfig {
        serde_json::from_value(json!({"name": name, "kind": "ndjson", "path": path})).unwrap()
    };
    assert!(check_all(&[file("a", "/x"), file("b", "/y")]).is_ok());
    assert!(check_all(&[file("a", "/x"), file("a", "/y")]).is_err());
    assert!(check_all(&[file("a", "/x"), file("b", "/x")]).is_err());
}

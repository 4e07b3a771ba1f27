use std::collections::BTreeSet;

use kerntrail_common::error::chain;
use serde_json::{Map, Value, json};

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
fn invalid_values_are_named() {
    for (config, expected) in [
        (splunk(json!({})), ""),
        (splunk(json!({"tokn": "x"})), "unknown field `tokn`"),
        (splunk(json!({"name": "Splunk 1"})), "name: \"Splunk 1\" is not"),
        (splunk(json!({"kind": "splunk"})), "unknown variant `splunk`"),
        (splunk(json!({"batch_events": 0})), "nonzero"),
        (splunk(json!({"path": "/x"})), "path: belongs to ndjson, not to splunk_hec"),
        (splunk(json!({"api_key": "x"})), "api_key: belongs to elasticsearch, not to splunk_hec"),
        (splunk(json!({"url": "splunk:8088"})), "url: \"splunk:8088\" is not an http or https address"),
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
        (
            json!({"name": "e", "kind": "elasticsearch", "url": "http://e", "data_stream": "a"}),
            "data_stream: has no {table}",
        ),
        (
            json!({"name": "e", "kind": "elasticsearch", "url": "http://e", "data_stream": "A{table}"}),
            "data_stream: \"A",
        ),
        (json!({"name": "e", "kind": "elasticsearch", "url": "http://e", "alias": "a b"}), "alias: \"a b\""),
        (json!({"name": "e", "kind": "elasticsearch", "url": "http://e", "alias": "a", "retention": "30d"}), ""),
        (splunk(json!({"proxy": "not an address"})), "proxy"),
        (splunk(json!({"proxy": {"env": "KERNTRAIL_TEST_NOT_SET"}})), "KERNTRAIL_TEST_NOT_SET"),
        (splunk(json!({"by_table": {"finding": {}}})), "by_table: "),
        (splunk(json!({"by_table": {"findings": {"indx": "a"}}})), "indx"),
        (splunk(json!({"indexed_fields": ["pod_nam"]})), "did you mean `pod_name`?"),
        (splunk(json!({"endpoint": "raw", "indexed_fields": []})), "the endpoint raw has no fields"),
        (splunk(json!({"endpoint": "raw"})), ""),
        (json!({"name": "n", "kind": "ndjson"}), "path: is required"),
        (json!({"name": "n", "kind": "ndjson", "path": "/tmp/x.ndjson"}), ""),
    ] {
        let error = error_of(config.clone());
        let right = if expected.is_empty() { error.is_empty() } else { error.contains(expected) };
        assert!(right, "{config}: {error:?} is not {expected:?}");
    }
}

/// A value that fits each key.
fn samples() -> Value {
    // One object for each struct of keys, since `json!` has room for some 40 keys.
    let of_all = json!({
        "name": "s", "kind": "ndjson", "tables": ["findings"], "where": "true", "profile": "ecs", "batch_events": 1,
        "batch_bytes": 1, "batch_wait_ms": 1, "concurrency": 1, "backoff_initial_ms": 1, "backoff_max_ms": 1,
        "drain_seconds": 1, "dead_letters": 1,
    });
    let http = json!({"url": "http://x", "timeout_seconds": 1, "ca_file": "/x", "proxy": "http://p"});
    let splunk_hec = json!({
        "token": "t", "index": "i", "acknowledge": true, "ack_timeout_seconds": 1, "ack_interval_ms": 1,
        "before_refused": "indexed", "endpoint": "raw", "sourcetype": "t", "source": "s", "host": "h",
        "by_table": {"findings": {}}, "indexed_fields": ["pod_name"],
    });
    let elasticsearch = json!({
        "namespace": "n", "user": "u", "password": "p", "api_key": "k", "install_templates": true,
        "data_stream": "a-{table}", "alias": "a", "retention": "30d",
    });
    let ndjson = json!({"path": "/x", "file_bytes": 1, "files": 1});
    let all = [of_all, http, splunk_hec, elasticsearch, ndjson];
    all.into_iter().flat_map(|keys| keys.as_object().cloned().unwrap()).collect::<Map<_, _>>().into()
}

/// A sink of `kind` with the keys that it requires, among `own`.
fn least(kind: &str, own: &BTreeSet<String>) -> Value {
    let schema = kerntrail_common::settings::schema::<SinkConfig>().to_value();
    let mut variants = schema["oneOf"].as_array().unwrap().iter();
    let variant = variants.find(|variant| variant["properties"]["kind"]["const"] == kind).unwrap();
    let required = variant["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut table = json!({"name": "s", "kind": kind});
    // A password needs its user.
    for key in required.chain(["user"]).filter(|key| own.contains(*key)) {
        table[key] = samples()[key].clone();
    }
    table
}

/// The variants of the schema: name of the kind, and its own keys.
fn kinds() -> Vec<(String, BTreeSet<String>)> {
    let schema = kerntrail_common::settings::schema::<SinkConfig>().to_value();
    let keys = |schema: &Value| schema["properties"].as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let mut common = keys(&schema);
    common.insert("kind".into());
    let variants = schema["oneOf"].as_array().unwrap().iter();
    let kinds = variants.map(|variant| {
        let name = variant["properties"]["kind"]["const"].as_str().unwrap().to_owned();
        (name, keys(variant).difference(&common).cloned().collect())
    });
    [(String::new(), common.clone())].into_iter().chain(kinds).collect()
}

/// The reference is written from the schema: it names every key that is read, and no other.
#[test]
fn the_schema_names_exactly_the_keys_that_are_read() {
    let named: BTreeSet<String> = kinds().into_iter().flat_map(|(_, keys)| keys).collect();
    let read: BTreeSet<String> = samples().as_object().unwrap().keys().cloned().collect();
    assert_eq!(named, read);
    for (kind, own) in kinds().into_iter().skip(1) {
        let mut table = least(&kind, &own);
        for key in &own {
            table[key] = samples()[key].clone();
        }
        serde_json::from_value::<SinkConfig>(table).unwrap();
    }
}

/// A key that is a secret has the type `Secret`, which is never shown.
#[test]
fn secrets_are_not_shown() {
    for (kind, own) in kinds().into_iter().skip(1) {
        for key in own
            .iter()
            .filter(|key| ["token", "password", "secret", "_key", "proxy"].iter().any(|part| key.contains(part)))
        {
            let mut table = least(&kind, &own);
            table[key] = "hidden".into();
            let config = serde_json::from_value::<SinkConfig>(table).unwrap();
            let shown = format!("{config:?} {}", serde_json::to_string(&config).unwrap());
            assert!(!shown.contains("hidden"), "{kind}: {key} must be a `Secret`: {shown}");
        }
    }
}

#[test]
fn every_key_of_a_kind_is_refused_by_the_others() {
    for (owner, keys) in kinds().into_iter().skip(1) {
        for (kind, own) in kinds().into_iter().skip(1).filter(|(kind, _)| *kind != owner) {
            for key in keys.difference(&own) {
                let error = error_of(json!({"name": "s", "kind": kind, key: samples()[key]}));
                assert!(error.contains(&format!("{key}: belongs to")), "{kind}: {error}");
            }
        }
    }
}

#[test]
fn secrets_are_hidden_in_debug_output() {
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

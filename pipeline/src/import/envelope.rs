//! The record inside of an object that a log shipper or a SIEM's export put around it.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::log_lines;

/// Fields that hold what was shipped. Sources: the default schemas of Vector (`message`), Fluent Bit (`log`), Fluentd,
/// journald (`MESSAGE`), Splunk's HEC (`event`) and its exports (`result`, `_raw`), OpenTelemetry (`body`, `stringValue`),
/// Google Cloud Logging (`jsonPayload`, `textPayload`), Elasticsearch (`_source`).
pub(super) const FIELDS: [&str; 12] = [
    "message",
    "log",
    "event",
    "_raw",
    "result",
    "_source",
    "body",
    "stringValue",
    "MESSAGE",
    "jsonPayload",
    "textPayload",
    "line",
];
/// Deepest nesting of envelopes.
const DEEPEST: usize = 4;

/// The objects inside of `text`, from the outermost, each as its own text.
pub(super) fn inside(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut text = text.to_owned();
    while found.len() < DEEPEST
        && let Some(inner) = one(&text)
    {
        found.push(inner.clone());
        text = inner;
    }
    found
}

fn one(text: &str) -> Option<String> {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
    FIELDS.iter().find_map(|name| {
        let value = fields.get(*name)?.get();
        let inner = match value.starts_with('"') {
            true => serde_json::from_str::<String>(value).ok()?,
            false => value.to_owned(),
        };
        let inner = log_lines::inside(&inner).unwrap_or(inner);
        inner.trim_start().starts_with('{').then(|| inner.trim().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_in_envelopes() {
        let quoted = |text: &str| serde_json::to_string(text).unwrap();
        let cri = format!("2026-03-01T10:00:00.0Z stdout F {}", r#"{"a":1}"#);
        let cases: Vec<(String, &[&str])> = vec![
            (r#"{"a":1}"#.to_owned(), &[]),
            (format!(r#"{{"message":{},"host":"h"}}"#, quoted(r#"{"a":1}"#)), &[r#"{"a":1}"#]),
            (format!(r#"{{"log":{}}}"#, quoted(&cri)), &[r#"{"a":1}"#]),
            (r#"{"event":{"a":1},"time":1}"#.to_owned(), &[r#"{"a":1}"#]),
            (
                format!(r#"{{"preview":false,"result":{{"_raw":{}}}}}"#, quoted(r#"{"a":1}"#)),
                &[r#"{"_raw":"{\"a\":1}"}"#, r#"{"a":1}"#],
            ),
            (r#"{"message":"text"}"#.to_owned(), &[]),
            (
                r#"{"message":{"message":{"message":{"message":{"message":{}}}}}}"#.to_owned(),
                &[
                    r#"{"message":{"message":{"message":{"message":{}}}}}"#,
                    r#"{"message":{"message":{"message":{}}}}"#,
                    r#"{"message":{"message":{}}}"#,
                    r#"{"message":{}}"#,
                ],
            ),
            ("no JSON".to_owned(), &[]),
        ];
        for (text, expected) in cases {
            assert_eq!(inside(&text), expected, "{text}");
        }
    }
}

//! The index template of the data streams, for either profile and either server.
//!
//! Strings become keywords unless a field is listed below. A string of more than [`MAX_KEYWORD`] characters stays in the
//! document and is not indexed.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::Answer;
use crate::outcome::Outcome;

/// Name of the template.
pub const NAME: &str = "logs-kerntrail";
/// Version of what [`template`] returns; increased with each change.
const VERSION: u32 = 1;
/// Above Elasticsearch's own `logs-*-*` (100).
const PRIORITY: u32 = 200;
/// Lucene accepts terms of up to 32,766 bytes; a character has at most four.
const MAX_KEYWORD: u32 = 8_191;

/// The type of a field that keeps the values of an object as keywords, without a mapping for each; its name differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavor {
    /// `flattened`
    Elasticsearch,
    /// `flat_object`
    OpenSearch,
}

#[derive(Deserialize)]
struct Server {
    version: Version,
}

#[derive(Deserialize)]
struct Version {
    #[serde(default)]
    distribution: Option<String>,
}

/// Which of the two servers responded to `GET /`.
///
/// Errors: what the response means for the records.
pub(crate) fn flavor(answer: &Answer) -> Result<Flavor, Outcome> {
    usable(answer)?;
    match serde_json::from_slice::<Server>(&answer.body) {
        Ok(Server { version: Version { distribution: Some(name) } }) if name == "opensearch" => Ok(Flavor::OpenSearch),
        Ok(_) => Ok(Flavor::Elasticsearch),
        Err(error) => {
            let alert = format!("neither Elasticsearch nor OpenSearch ({error}): {}", answer.words());
            Err(Outcome::Pause { alert })
        }
    }
}

/// Checks that the template was installed.
///
/// Errors: what the response means for the records.
pub(crate) fn installed(answer: &Answer) -> Result<(), Outcome> {
    usable(answer).map_err(|outcome| match outcome {
        Outcome::Pause { alert } => {
            Outcome::Pause { alert: format!("cannot install the index template {NAME}: {alert}") }
        }
        other => other,
    })
}

fn usable(answer: &Answer) -> Result<(), Outcome> {
    match answer.status {
        200..=299 => Ok(()),
        408 | 425 | 429 | 500..=599 => Err(Outcome::Retry { after: answer.retry_after, words: answer.words() }),
        _ => Err(Outcome::Pause { alert: answer.words() }),
    }
}

/// The template's body for `PUT _index_template/logs-kerntrail`.
pub fn template(flavor: Flavor) -> Value {
    let flat = match flavor {
        Flavor::Elasticsearch => "flattened",
        Flavor::OpenSearch => "flat_object",
    };
    json!({
        "index_patterns": ["logs-kerntrail.*-*"],
        "data_stream": {},
        "priority": PRIORITY,
        "version": VERSION,
        "_meta": {"managed_by": "kerntrail"},
        "template": {"mappings": {
            "date_detection": false,
            "dynamic_templates": dynamic_templates(),
            "properties": {
                "@timestamp": {"type": "date"},
                "data_stream": {"properties": {
                    "type": {"type": "keyword"}, "dataset": {"type": "keyword"}, "namespace": {"type": "keyword"},
                }},
                "message": {"type": "text"},
                "event": {"properties": {
                    "created": {"type": "date"}, "ingested": {"type": "date"},
                    "start": {"type": "date"}, "end": {"type": "date"}, "risk_score": {"type": "float"},
                }},
                "process": {"properties": {
                    "start": {"type": "date"}, "end": {"type": "date"},
                    "command_line": keyword_with_text(),
                    "parent": {"properties": {"command_line": keyword_with_text()}},
                }},
                "kubernetes": {"properties": {"labels": {"type": flat}}},
                "time": {"type": "date", "format": "epoch_millis"},
            },
        }},
    })
}

fn dynamic_templates() -> Value {
    let epoch = json!({"type": "date", "format": "epoch_millis"});
    json!([
        {"ip_addresses": {"path_match": "*.ip", "match_mapping_type": "string", "mapping": {"type": "ip"}}},
        // OCSF: times are in milliseconds since the epoch.
        {"ocsf_times": {"match": "*_time", "match_mapping_type": "long", "mapping": epoch}},
        {"texts": {"match_mapping_type": "string", "mapping": {"type": "keyword", "ignore_above": MAX_KEYWORD}}},
    ])
}

/// ECS has `wildcard` here, which not every server supports.
fn keyword_with_text() -> Value {
    json!({"type": "keyword", "ignore_above": MAX_KEYWORD, "fields": {"text": {"type": "text"}}})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, retry_after: None, body: body.to_owned().into() }
    }

    #[test]
    fn elasticsearch_and_opensearch_are_distinguished() {
        let opensearch = r#"{"name":"n","version":{"distribution":"opensearch","number":"2.19.6"},"tagline":"The OpenSearch Project"}"#;
        let elastic =
            r#"{"name":"n","version":{"number":"9.1.0","build_flavor":"default"},"tagline":"You Know, for Search"}"#;
        assert_eq!(flavor(&answer(200, opensearch)), Ok(Flavor::OpenSearch));
        assert_eq!(flavor(&answer(200, elastic)), Ok(Flavor::Elasticsearch));
        assert!(matches!(flavor(&answer(200, "<html>")), Err(Outcome::Pause { .. })));
        assert!(matches!(flavor(&answer(503, "")), Err(Outcome::Retry { .. })));
        assert!(
            matches!(installed(&answer(403, "no rights")), Err(Outcome::Pause { alert }) if alert.contains("no rights"))
        );
    }

    #[test]
    fn labels_are_flat_under_either_name() {
        for (flavor, name) in [(Flavor::Elasticsearch, "flattened"), (Flavor::OpenSearch, "flat_object")] {
            let labels =
                template(flavor).pointer("/template/mappings/properties/kubernetes/properties/labels/type").cloned();
            assert_eq!(labels, Some(name.into()));
        }
    }
}

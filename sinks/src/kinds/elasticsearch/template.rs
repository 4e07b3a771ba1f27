//! The index template of the data streams, for either profile and either server.
//!
//! Strings become keywords unless a field is listed below. A string of more than [`MAX_KEYWORD`] characters stays in the
//! document and is not indexed.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64;

use crate::http::Answer;
use crate::outcome::Outcome;

/// Version of what [`Template::body`] returns; increased with each change.
const VERSION: u64 = 2;
/// Above Elasticsearch's own `logs-*-*` (100).
pub(super) const PRIORITY: u32 = 200;
/// Lucene accepts terms of up to 32,766 bytes; a character has at most four.
const MAX_KEYWORD: u32 = 8_191;
/// What `_meta.managed_by` says while the template is ours to replace.
const MANAGER: &str = "kerntrail";

/// The two servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavor {
    /// Elasticsearch
    Elasticsearch,
    /// OpenSearch
    OpenSearch,
}

/// A server, as far as it matters to the template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    /// Which of the two.
    pub flavor: Flavor,
    /// Major and minor version.
    pub version: (u32, u32),
}

impl Server {
    /// Whether it is Elasticsearch of at least this version.
    fn is_elasticsearch(self, version: (u32, u32)) -> bool {
        self.flavor == Flavor::Elasticsearch && self.version >= version
    }

    /// The type of a field that keeps the values of an object as keywords, without a mapping for each.
    fn flat_type(self) -> &'static str {
        match self.flavor {
            Flavor::Elasticsearch => "flattened",
            Flavor::OpenSearch => "flat_object",
        }
    }
}

#[derive(Deserialize)]
struct Root {
    version: Version,
}

#[derive(Deserialize)]
struct Version {
    #[serde(default)]
    distribution: Option<String>,
    #[serde(default)]
    number: String,
}

/// Which server responded to `GET /`.
///
/// Errors: what the response means for the records.
pub(crate) fn server(answer: &Answer) -> Result<Server, Outcome> {
    usable(answer)?;
    let Root { version } = serde_json::from_slice(&answer.body).map_err(|error| {
        let alert = format!("neither Elasticsearch nor OpenSearch ({error}): {}", answer.words());
        Outcome::Pause { alert }
    })?;
    let mut parts = version.number.split('.').map(|part| part.parse().unwrap_or(0));
    let flavor = match version.distribution.as_deref() {
        Some("opensearch") => Flavor::OpenSearch,
        _ => Flavor::Elasticsearch,
    };
    Ok(Server { flavor, version: (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) })
}

/// Whether there is what was asked for.
///
/// Errors: what the response means for the records.
pub(crate) fn is_there(answer: &Answer) -> Result<bool, Outcome> {
    if answer.status == 404 { Ok(false) } else { usable(answer).map(|()| true) }
}

fn usable(answer: &Answer) -> Result<(), Outcome> {
    match answer.status {
        200..=299 => Ok(()),
        408 | 425 | 429 | 500..=599 => Err(Outcome::Retry { after: answer.retry_after, words: answer.words() }),
        _ => Err(Outcome::Pause { alert: answer.words() }),
    }
}

/// The index template of a sink.
#[derive(Clone, Debug)]
pub(super) struct Template<'a> {
    pub(super) name: String,
    /// The data streams that it is for, with `*`.
    pub(super) patterns: Vec<String>,
    /// Of the templates for a data stream, the one with the highest counts.
    pub(super) priority: u32,
    pub(super) alias: Option<&'a str>,
    pub(super) retention: Option<Duration>,
}

impl Template<'_> {
    /// Name of the component template that an administrator may make.
    pub(super) fn custom(&self) -> String {
        format!("{}@custom", self.name)
    }

    /// Why the template that was asked for stays as it is; `None`: `body` shall take its place.
    ///
    /// Errors: what the response means for the records.
    pub(super) fn stays(&self, answer: &Answer, body: &Value) -> Result<Option<&'static str>, Outcome> {
        if !is_there(answer)? {
            return Ok(None);
        }
        let installed: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let installed = &installed["index_templates"][0]["index_template"];
        let meta = &installed["_meta"];
        Ok(if meta["managed_by"] != MANAGER {
            Some("`_meta.managed_by` is not kerntrail")
        } else if installed["version"].as_u64().is_some_and(|version| version > VERSION) {
            Some("a newer release installed it")
        } else if meta["digest"].is_string() && meta["digest"] == body["_meta"]["digest"] {
            Some("it is this release's, with the same settings")
        } else {
            None
        })
    }

    /// Checks that the template was installed.
    ///
    /// Errors: what the response means for the records.
    pub(super) fn installed(&self, answer: &Answer) -> Result<(), Outcome> {
        usable(answer).map_err(|outcome| match outcome {
            Outcome::Pause { alert } => {
                Outcome::Pause { alert: format!("cannot install the index template {}: {alert}", self.name) }
            }
            other => other,
        })
    }

    /// The body for `PUT _index_template/<name>` on `server`, which `has_custom` or not.
    pub(super) fn body(&self, server: &Server, has_custom: bool) -> Value {
        let mut body = json!({
            "index_patterns": self.patterns,
            "data_stream": {},
            "priority": self.priority,
            "version": VERSION,
            "template": {"mappings": mappings(*server)},
        });
        let custom = self.custom();
        // Elasticsearch also takes one that is made later.
        if server.is_elasticsearch((8, 7)) {
            body["ignore_missing_component_templates"] = json!([custom]);
            body["composed_of"] = json!([custom]);
        } else if has_custom {
            body["composed_of"] = json!([custom]);
        }
        if let Some(alias) = self.alias {
            body["template"]["aliases"] = json!({alias: {}});
        }
        if server.is_elasticsearch((8, 14)) {
            body["template"]["lifecycle"] = match self.retention {
                Some(retention) => json!({"data_retention": format!("{}s", retention.as_secs().max(1))}),
                None => json!({}),
            };
        }
        let digest = format!("{:016x}", xxh3_64(body.to_string().as_bytes()));
        body["_meta"] = json!({"managed_by": MANAGER, "digest": digest});
        body
    }
}

/// Types of fields, for either profile.
fn mappings(server: Server) -> Value {
    json!({
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
            "kubernetes": {"properties": {"labels": {"type": server.flat_type()}}},
            "time": {"type": "date", "format": "epoch_millis"},
        },
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

    fn template() -> Template<'static> {
        let (name, patterns) = ("logs-kerntrail".to_owned(), vec!["logs-kerntrail.*-*".to_owned()]);
        Template { name, patterns, priority: PRIORITY, alias: None, retention: None }
    }

    const OPENSEARCH: Server = Server { flavor: Flavor::OpenSearch, version: (2, 19) };
    const OLD: Server = Server { flavor: Flavor::Elasticsearch, version: (8, 5) };
    const NEW: Server = Server { flavor: Flavor::Elasticsearch, version: (8, 17) };

    #[test]
    fn elasticsearch_and_opensearch_are_distinguished() {
        let opensearch = r#"{"name":"n","version":{"distribution":"opensearch","number":"2.19.6"},"tagline":"The OpenSearch Project"}"#;
        let elastic =
            r#"{"name":"n","version":{"number":"8.17.0","build_flavor":"default"},"tagline":"You Know, for Search"}"#;
        assert_eq!(server(&answer(200, opensearch)), Ok(OPENSEARCH));
        assert_eq!(server(&answer(200, elastic)), Ok(NEW));
        assert!(matches!(server(&answer(200, "<html>")), Err(Outcome::Pause { .. })));
        assert!(matches!(server(&answer(503, "")), Err(Outcome::Retry { .. })));
        let refused = template().installed(&answer(403, "no rights"));
        assert!(matches!(refused, Err(Outcome::Pause { alert }) if alert.contains("no rights")));
    }

    #[test]
    fn what_each_server_gets() {
        let all = Template { alias: Some("all"), retention: Some(Duration::from_secs(86_400)), ..template() };
        // server, whether there is a custom part, type of labels, composed of, lifecycle
        for (server, has_custom, labels, composed, lifecycle) in [
            (OPENSEARCH, false, "flat_object", json!(null), json!(null)),
            (OPENSEARCH, true, "flat_object", json!(["logs-kerntrail@custom"]), json!(null)),
            (OLD, false, "flattened", json!(null), json!(null)),
            (NEW, false, "flattened", json!(["logs-kerntrail@custom"]), json!({"data_retention": "86400s"})),
        ] {
            let body = all.body(&server, has_custom);
            assert_eq!(
                body["template"]["mappings"]["properties"]["kubernetes"]["properties"]["labels"]["type"],
                labels
            );
            assert_eq!(body["composed_of"], composed, "{server:?}");
            assert_eq!(body["template"]["lifecycle"], lifecycle, "{server:?}");
            assert_eq!(body["template"]["aliases"], json!({"all": {}}));
        }
        assert_eq!(template().body(&NEW, false)["template"]["lifecycle"], json!({}));
    }

    #[test]
    fn a_template_that_somebody_changed_stays() {
        let body = template().body(&NEW, false);
        let installed = |change: &dyn Fn(&mut Value)| {
            let mut installed = body.clone();
            change(&mut installed);
            let all = json!({"index_templates": [{"name": "logs-kerntrail", "index_template": installed}]});
            let stays = template().stays(&answer(200, &all.to_string()), &body);
            stays.unwrap().is_some()
        };
        assert_eq!(template().stays(&answer(404, "{}"), &body), Ok(None));
        assert!(template().stays(&answer(401, "who"), &body).is_err());
        // The same, with a field more, by someone else, of a newer release.
        assert!(installed(&|_| {}));
        assert!(installed(&|body| body["template"]["mappings"]["properties"]["own"] = json!({"type": "ip"})));
        assert!(installed(&|body| body["_meta"] = json!({"managed_by": "platform team"})));
        assert!(installed(&|body| body["_meta"] = json!(null)));
        assert!(installed(&|body| body["version"] = json!(VERSION + 1)));
        // Of an older release, or with other settings.
        assert!(!installed(&|body| body["_meta"] = json!({"managed_by": "kerntrail"})));
        assert!(!installed(&|body| body["_meta"]["digest"] = json!("other")));
    }
}

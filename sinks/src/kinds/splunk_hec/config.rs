//! The keys of a Splunk sink, and the addresses and credentials made from them.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use arrow::datatypes::DataType;
use kerntrail_common::settings::positive;
use kerntrail_common::suggest::did_you_mean;
use kerntrail_schemas::Table;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use super::SplunkHec;
use crate::config::{KeyError, Settings};
use crate::destination::Destination;
use crate::http::Client;
use crate::http::config::HttpKind;
use crate::secret::{CurrentSecret, Secret};

/// Path of the endpoint for events, unless `url` has one.
const EVENTS: &str = "/services/collector/event";
/// The same of the endpoint for raw events.
const RAW: &str = "/services/collector/raw";

/// What Splunk keeps beside an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Metadata {
    pub(super) index: Option<String>,
    pub(super) sourcetype: String,
    pub(super) source: String,
    pub(super) host: String,
}

/// A Splunk HTTP Event Collector (HEC).
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct SplunkHecConfig {
    /// HEC token: text, `{ env = "NAME" }` or `{ file = "/path" }`.
    pub token: Secret,
    /// Which endpoint gets the events: `event` wraps each with its metadata; `raw` sends lines of JSON, in a request for
    /// each table and node, whose time Splunk finds in them by the source type.
    #[serde(default)]
    pub endpoint: Endpoint,
    /// Index to write to; the token's default index where it is not set. In this and the next three keys, `{table}` and
    /// `{node}` stand for those of the event.
    #[serde(default)]
    pub index: Option<String>,
    /// Source type.
    #[serde(default = "sourcetype")]
    pub sourcetype: String,
    /// Source.
    #[serde(default = "source")]
    pub source: String,
    /// Host.
    #[serde(default = "host")]
    pub host: String,
    /// `index`, `sourcetype`, `source` and `host` of single tables: `by_table = { findings = { index = "notable" } }`.
    #[serde(default)]
    pub by_table: BTreeMap<String, TableMetadata>,
    /// Columns that become fields at index time, besides `event_id`, so that `tstats` finds them; only with the endpoint
    /// `event`.
    #[serde(default = "indexed_fields")]
    pub indexed_fields: Vec<String>,
    /// Wait until indexers acknowledge events, and resend those that they do not acknowledge. The token must have
    /// acknowledgement enabled.
    #[serde(default)]
    pub acknowledge: bool,
    /// Longest wait for an acknowledgement, in seconds.
    #[serde(default = "ack_timeout")]
    pub ack_timeout_seconds: NonZeroU32,
    /// Interval at which acknowledgements are queried, in milliseconds.
    #[serde(default = "ack_interval")]
    pub ack_interval_ms: NonZeroU32,
    /// What the server does with the events of a request that precede a refused one.
    #[serde(default)]
    pub before_refused: BeforeRefused,
}

/// Metadata of a table's events that are not those of the sink.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TableMetadata {
    /// Index to write to.
    pub index: Option<String>,
    /// Source type.
    pub sourcetype: Option<String>,
    /// Source.
    pub source: Option<String>,
    /// Host.
    pub host: Option<String>,
}

/// Which endpoint of a HEC gets events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// `services/collector/event`
    #[default]
    Event,
    /// `services/collector/raw`
    Raw,
}

fn sourcetype() -> String {
    "kerntrail:{table}".to_owned()
}

fn source() -> String {
    "kerntrail".to_owned()
}

fn host() -> String {
    "{node}".to_owned()
}

fn indexed_fields() -> Vec<String> {
    ["cluster", "namespace", "pod_name", "container_id", "process_uid"].map(str::to_owned).to_vec()
}

fn ack_timeout() -> NonZeroU32 {
    positive::<120, _>()
}

fn ack_interval() -> NonZeroU32 {
    positive::<1_000, _>()
}

/// What the server did with the events of a request before the refused one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BeforeRefused {
    /// It indexes them, as Splunk does.
    #[default]
    Indexed,
    /// It discards the whole request, as some receivers of the protocol do.
    Discarded,
}

/// Where a Splunk sink sends to.
#[derive(Clone)]
pub(super) struct Target {
    /// Where events go.
    pub(super) events_url: Url,
    /// Where acknowledgements are queried.
    pub(super) ack_url: Url,
    /// What `Authorization` has behind `Splunk `.
    pub(super) token: CurrentSecret,
}

impl fmt::Debug for Target {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("events_url", &self.events_url.as_str()).finish_non_exhaustive()
    }
}

impl SplunkHecConfig {
    pub(super) fn ack_timeout(&self) -> Duration {
        Duration::from_secs(self.ack_timeout_seconds.get().into())
    }

    pub(super) fn ack_interval(&self) -> Duration {
        Duration::from_millis(self.ack_interval_ms.get().into())
    }

    /// Names of tables and columns are known ones.
    fn check_tables_and_columns(&self) -> Result<(), KeyError> {
        for table in self.by_table.keys() {
            table.parse::<Table>().map_err(|error| KeyError::value("by_table", error))?;
        }
        let schemas = Table::ALL.iter().map(|table| table.schema());
        let columns: BTreeMap<String, DataType> = schemas
            .flat_map(|schema| {
                let fields = schema.fields().iter().map(|field| (field.name().clone(), field.data_type().clone()));
                fields.collect::<Vec<_>>()
            })
            .collect();
        for name in &self.indexed_fields {
            match columns.get(name) {
                // Splunk refuses an event with an object among its fields.
                Some(DataType::Map(..) | DataType::Struct(_)) => {
                    let problem = format!("`{name}` is an object, which cannot be a field at index time");
                    return Err(KeyError::value("indexed_fields", problem));
                }
                Some(_) => {}
                None => {
                    let hint = did_you_mean(name, columns.keys().map(String::as_str));
                    return Err(KeyError::value("indexed_fields", format!("no table has a column `{name}`{hint}")));
                }
            }
        }
        if self.endpoint == Endpoint::Raw && self.indexed_fields != indexed_fields() {
            return Err(KeyError::value("indexed_fields", "the endpoint raw has no fields at index time"));
        }
        Ok(())
    }

    /// Where Splunk puts a row of `table` of `node`.
    pub(super) fn metadata(&self, table: Table, node: &str) -> Metadata {
        let own = self.by_table.get(table.name()).cloned().unwrap_or_default();
        let fill = |text: &str| text.replace("{table}", table.name()).replace("{node}", node);
        Metadata {
            index: own.index.as_deref().or(self.index.as_deref()).map(fill),
            sourcetype: fill(own.sourcetype.as_deref().unwrap_or(&self.sourcetype)),
            source: fill(own.source.as_deref().unwrap_or(&self.source)),
            host: fill(own.host.as_deref().unwrap_or(&self.host)),
        }
    }

    fn target(&self, mut url: Url) -> Result<Target, KeyError> {
        for (key, is_set) in [
            ("ack_timeout_seconds", self.ack_timeout_seconds != ack_timeout()),
            ("ack_interval_ms", self.ack_interval_ms != ack_interval()),
        ] {
            if is_set && !self.acknowledge {
                return Err(KeyError::value(key, "needs acknowledge = true"));
            }
        }
        self.check_tables_and_columns()?;
        if url.path() == "/" {
            url.set_path(match self.endpoint {
                Endpoint::Event => EVENTS,
                Endpoint::Raw => RAW,
            });
        }
        let token = self.token.of_key("token")?;
        if !token.text().chars().all(|c| c.is_ascii_graphic()) {
            return Err(KeyError::value("token", "contains characters that are not allowed in an HTTP header"));
        }
        Ok(Target { ack_url: ack_url(&url), events_url: url, token })
    }
}

impl HttpKind for SplunkHecConfig {
    fn connect(&self, url: Url, client: Client, settings: &Settings) -> Result<Box<dyn Destination>, KeyError> {
        Ok(Box::new(SplunkHec::new(client, self.target(url)?, self.clone(), settings.profile)))
    }
}

/// `.../collector/event` becomes `.../collector/ack`, also behind a proxy's prefix.
fn ack_url(events: &Url) -> Url {
    let path = events.path().trim_end_matches('/');
    let collector = path.strip_suffix("/1.0").unwrap_or(path);
    let collector = collector.strip_suffix("/event").or(collector.strip_suffix("/raw")).unwrap_or(collector);
    let mut url = events.clone();
    url.set_path(&format!("{collector}/ack"));
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let config: SplunkHecConfig = serde_json::from_value(serde_json::json!({"token": "t"})).unwrap();
        for (url, events, ack) in [
            ("https://s:8088", "https://s:8088/services/collector/event", "https://s:8088/services/collector/ack"),
            (
                "https://s/services/collector/event/1.0",
                "https://s/services/collector/event/1.0",
                "https://s/services/collector/ack",
            ),
            (
                "https://s/services/collector/raw",
                "https://s/services/collector/raw",
                "https://s/services/collector/ack",
            ),
            ("https://s/x/services/collector", "https://s/x/services/collector", "https://s/x/services/collector/ack"),
        ] {
            let target = config.target(url.parse().unwrap()).unwrap();
            assert_eq!((target.events_url.as_str(), target.ack_url.as_str()), (events, ack), "{url}");
        }
    }

    #[test]
    fn metadata_of_a_table_comes_before_that_of_the_sink() {
        let config: SplunkHecConfig = serde_json::from_value(serde_json::json!({
            "token": "t", "index": "sec", "source": "{node}/{table}", "by_table": {"findings": {"index": "notable"}},
        }))
        .unwrap();
        let of = |table| config.metadata(table, "n1");
        let (findings, flows) = (of(Table::Findings), of(Table::NetworkFlows));
        assert_eq!((findings.index.as_deref(), flows.index.as_deref()), (Some("notable"), Some("sec")));
        assert_eq!((findings.source.as_str(), flows.sourcetype.as_str()), ("n1/findings", "kerntrail:network_flows"));
        assert_eq!(flows.host, "n1");
    }
    #[test]
    fn an_object_cannot_be_a_field_at_index_time() {
        // columns, the problem
        for (columns, problem) in [
            (&["pod_name", "pid"][..], None),
            (&["pod_labels"], Some("`pod_labels` is an object")),
            (&["pod_nam"], Some("no table has a column `pod_nam`")),
        ] {
            let config = serde_json::json!({"token": "t", "indexed_fields": columns});
            let config: SplunkHecConfig = serde_json::from_value(config).unwrap();
            let refused = config.target("https://s:8088".parse().unwrap()).err().map(|error| format!("{error:?}"));
            match (problem, &refused) {
                (None, None) => {}
                (Some(problem), Some(refused)) if refused.contains(problem) => {}
                _ => panic!("{columns:?}: {refused:?}"),
            }
        }
    }
}

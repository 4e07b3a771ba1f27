//! Requests to a HEC: events, and queries for acknowledgements.

use bytes::Bytes;
use kerntrail_schemas::Table;
use kerntrail_schemas::mapping::Row;
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use reqwest::{Client, RequestBuilder};
use serde_json::{Map, Value, json};

use super::config::Target;
use crate::destination::Record;
use crate::http::gzip;

const CHANNEL: &str = "X-Splunk-Request-Channel";

/// Columns that become indexed fields, so that `tstats` finds them whatever the profile.
const INDEXED: &[&str] = &["cluster", "namespace", "pod_name", "container_id", "process_uid"];

/// Builds the requests to one endpoint.
pub(super) struct Requests {
    client: Client,
    target: Target,
}

impl Requests {
    pub(super) fn new(client: Client, target: Target) -> Self {
        Self { client, target }
    }

    /// A request with `records` on `channel`.
    pub(super) fn events(&self, records: &[Record], channel: &str) -> Result<RequestBuilder, std::io::Error> {
        let body: Vec<&[u8]> = records.iter().map(|record| record.bytes.as_ref()).collect();
        let request = self.client.post(self.target.events_url.clone()).header(CONTENT_ENCODING, "gzip");
        Ok(self.common(request, channel).body(gzip(&body.concat())?))
    }

    /// A query whether the request `id` on `channel` is acknowledged.
    pub(super) fn acknowledgement(&self, channel: &str, id: u64) -> RequestBuilder {
        let request = self.client.post(self.target.ack_url.clone());
        self.common(request, channel).body(json!({"acks": [id]}).to_string())
    }

    fn common(&self, request: RequestBuilder, channel: &str) -> RequestBuilder {
        request
            .header(AUTHORIZATION, format!("Splunk {}", self.target.token.text()))
            .header(CONTENT_TYPE, "application/json")
            .header(CHANNEL, channel)
    }
}

/// One event of a request. `time` is in seconds since the epoch, to the µs.
pub fn event(table: Table, event_id: &str, row: &Row, document: Value, index: Option<&str>) -> Bytes {
    let mut event = Map::new();
    if let Some(micros) = row.get("time").and_then(Value::as_i64) {
        event.insert("time".into(), (micros as f64 / 1_000_000.0).into());
    }
    if let Some(node) = row.get("node") {
        event.insert("host".into(), node.clone());
    }
    event.insert("source".into(), "kerntrail".into());
    event.insert("sourcetype".into(), format!("kerntrail:{table}").into());
    if let Some(index) = index {
        event.insert("index".into(), index.into());
    }
    let mut fields = Map::from_iter([("event_id".to_owned(), Value::from(event_id))]);
    for name in INDEXED {
        if let Some(value) = row.get(*name) {
            fields.insert((*name).to_owned(), value.clone());
        }
    }
    event.insert("fields".into(), Value::Object(fields));
    event.insert("event".into(), document);
    let mut bytes = Value::Object(event).to_string().into_bytes();
    bytes.push(b'\n');
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_time_host_source_and_indexed_fields() {
        let row: Row = [
            ("time", json!(1_785_585_600_123_456_i64)),
            ("node", json!("n1")),
            ("namespace", json!("shop")),
            ("pid", json!(7)),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        let bytes = event(Table::ProcessEvents, "s-0-1", &row, json!({"a": 1}), Some("sec"));
        assert!(bytes.ends_with(b"}\n"));
        assert_eq!(
            serde_json::from_slice::<Value>(&bytes).unwrap(),
            json!({
                "time": 1_785_585_600.123456, "host": "n1", "source": "kerntrail", "sourcetype": "kerntrail:process_events",
                "index": "sec", "fields": {"event_id": "s-0-1", "namespace": "shop"}, "event": {"a": 1},
            })
        );
        assert!(String::from_utf8_lossy(&bytes).contains("1785585600.123"), "the time is in exponential notation");
        let bare = event(Table::EventLoss, "x", &Row::new(), json!({}), None);
        assert!(serde_json::from_slice::<Value>(&bare).unwrap().get("time").is_none());
    }
}

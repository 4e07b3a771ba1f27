//! Requests to a HEC: events, and queries for acknowledgements.

use bytes::Bytes;
use kerntrail_schemas::mapping::Row;
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use reqwest::{Method, RequestBuilder, Url};
use serde_json::{Map, Value, json};

use super::config::{Metadata, Target};
use crate::destination::Record;
use crate::http::{Answer, Client, NoAnswer, gzip};

const CHANNEL: &str = "X-Splunk-Request-Channel";

/// Builds the requests to one endpoint.
pub(super) struct Requests {
    client: Client,
    target: Target,
}

impl Requests {
    pub(super) fn new(client: Client, target: Target) -> Self {
        Self { client, target }
    }

    /// A request with `records` on `channel`; `metadata` is for those that have none of their own.
    pub(super) fn events(
        &self,
        records: &[Record],
        channel: &str,
        metadata: Option<&Metadata>,
    ) -> Result<RequestBuilder, std::io::Error> {
        let body: Vec<&[u8]> = records.iter().map(|record| record.bytes.as_ref()).collect();
        let mut url = self.target.events_url.clone();
        if let Some(metadata) = metadata {
            let parameters =
                [("sourcetype", &metadata.sourcetype), ("source", &metadata.source), ("host", &metadata.host)];
            url.query_pairs_mut()
                .extend_pairs(parameters)
                .extend_pairs(metadata.index.iter().map(|index| ("index", index)));
        }
        let request = self.post(&url, channel).header(CONTENT_ENCODING, "gzip");
        Ok(request.body(gzip(&body.concat())?))
    }

    /// A query whether the request `id` on `channel` is acknowledged.
    pub(super) fn acknowledgement(&self, channel: &str, id: u64) -> RequestBuilder {
        self.post(&self.target.ack_url, channel).body(json!({"acks": [id]}).to_string())
    }

    /// Sends a request with events. Errors: as [`Client::deliver`].
    pub(super) async fn deliver(&self, request: RequestBuilder) -> Result<Answer, NoAnswer> {
        self.client.deliver(request).await
    }

    /// Sends any other request. Errors: as [`Client::ask`].
    pub(super) async fn ask(&self, request: RequestBuilder) -> Result<Answer, NoAnswer> {
        self.client.ask(request).await
    }

    fn post(&self, url: &Url, channel: &str) -> RequestBuilder {
        self.client
            .request(Method::POST, url.clone())
            .header(AUTHORIZATION, format!("Splunk {}", self.target.token.text()))
            .header(CONTENT_TYPE, "application/json")
            .header(CHANNEL, channel)
    }
}

/// Name of the node of `row`; empty where it has none.
pub(super) fn node(row: &Row) -> &str {
    row.get("node").and_then(Value::as_str).unwrap_or_default()
}

/// One event of a request to the endpoint for events, with the columns `indexed` as fields. `time` is in seconds since the
/// epoch, to the µs.
pub(super) fn event(event_id: &str, row: &Row, document: Value, metadata: Metadata, indexed: &[String]) -> Bytes {
    let mut event = Map::new();
    if let Some(micros) = row.get("time").and_then(Value::as_i64) {
        event.insert("time".into(), (micros as f64 / 1_000_000.0).into());
    }
    let Metadata { index, sourcetype, source, host } = metadata;
    let values = [("index", index.unwrap_or_default()), ("sourcetype", sourcetype), ("source", source), ("host", host)];
    let values = values.into_iter().filter(|(_, value)| !value.is_empty());
    event.extend(values.map(|(name, value)| (name.to_owned(), Value::from(value))));
    let mut fields = Map::from_iter([("event_id".to_owned(), Value::from(event_id))]);
    let known = indexed.iter().filter_map(|name| Some((name.clone(), row.get(name)?.clone())));
    fields.extend(known);
    event.insert("fields".into(), Value::Object(fields));
    event.insert("event".into(), document);
    let mut bytes = Value::Object(event).to_string().into_bytes();
    bytes.push(b'\n');
    bytes.into()
}

#[cfg(test)]
mod tests {
    use kerntrail_schemas::Table;

    use super::super::config::SplunkHecConfig;
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
        let config = json!({"token": "t", "index": "sec"});
        let config: SplunkHecConfig = serde_json::from_value(config).unwrap();
        let event = |table, id, row: &Row, document| {
            event(id, row, document, config.metadata(table, node(row)), &config.indexed_fields)
        };
        let bytes = event(Table::ProcessEvents, "s-0-1", &row, json!({"a": 1}));
        assert!(bytes.ends_with(b"}\n"));
        assert_eq!(
            serde_json::from_slice::<Value>(&bytes).unwrap(),
            json!({
                "time": 1_785_585_600.123456, "host": "n1", "source": "kerntrail", "sourcetype": "kerntrail:process_events",
                "index": "sec", "fields": {"event_id": "s-0-1", "namespace": "shop"}, "event": {"a": 1},
            })
        );
        assert!(String::from_utf8_lossy(&bytes).contains("1785585600.123"), "the time is in exponential notation");
        let bare = serde_json::from_slice::<Value>(&event(Table::EventLoss, "x", &Row::new(), json!({}))).unwrap();
        assert!(bare.get("time").is_none() && bare.get("host").is_none(), "{bare}");
    }
}

//! Requests to Elasticsearch and OpenSearch.

use bytes::Bytes;
use kerntrail_schemas::mapping::Row;
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::config::{Credentials, Target};
use crate::destination::Record;
use crate::http::{Answer, Client, NoAnswer, gzip};

/// The parts of a bulk response that [`super::answer`] reads.
const FILTER_PATH: &str =
    "errors,items.*.status,items.*.error.type,items.*.error.reason,items.*.error.caused_by.reason";

/// Builds the requests to one cluster.
pub(super) struct Requests {
    client: Client,
    target: Target,
}

impl Requests {
    pub(super) fn new(client: Client, target: Target) -> Self {
        Self { client, target }
    }

    /// Sends a request with events. Errors: as [`Client::deliver`].
    pub(super) async fn deliver(&self, request: RequestBuilder) -> Result<Answer, NoAnswer> {
        self.client.deliver(request).await
    }

    /// Sends any other request. Errors: as [`Client::ask`].
    pub(super) async fn ask(&self, request: RequestBuilder) -> Result<Answer, NoAnswer> {
        self.client.ask(request).await
    }

    /// A query for what is at `path`; the empty path is the server.
    pub(super) fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    /// Installs the index template `name`.
    pub(super) fn template(&self, name: &str, template: &Value) -> RequestBuilder {
        let request = self.request(Method::PUT, &format!("_index_template/{name}"));
        request.header(CONTENT_TYPE, "application/json").body(template.to_string())
    }

    /// A bulk request with `records`.
    pub(super) fn bulk(&self, records: &[Record]) -> Result<RequestBuilder, std::io::Error> {
        let body: Vec<&[u8]> = records.iter().map(|record| record.bytes.as_ref()).collect();
        let request = self.request(Method::POST, &format!("_bulk?filter_path={FILTER_PATH}"));
        let request = request.header(CONTENT_TYPE, "application/x-ndjson").header(CONTENT_ENCODING, "gzip");
        Ok(request.body(gzip(&body.concat())?))
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.target.url));
        match &self.target.credentials {
            Credentials::None => request,
            Credentials::Basic { user, password } => request.basic_auth(user, Some(password.text())),
            Credentials::ApiKey(key) => request.header(AUTHORIZATION, format!("ApiKey {}", key.text())),
        }
    }
}

/// The two lines of a record in a bulk request, for `data_stream`.
pub fn action(data_stream: &str, event_id: &str, row: &Row, mut document: Value) -> Bytes {
    // A data stream needs `@timestamp` with either profile; Elasticsearch accepts milliseconds since the epoch.
    if document.get("@timestamp").is_none() {
        let millis = row.get("time").and_then(Value::as_i64).map_or(0, |micros| micros.div_euclid(1_000));
        document["@timestamp"] = millis.into();
    }
    let create = json!({"create": {"_index": data_stream, "_id": event_id}});
    format!("{create}\n{document}\n").into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_creates_in_the_data_stream_of_its_table() {
        let row = Row::from_iter([("time".to_owned(), json!(5_000_999))]);
        let bytes = action("logs-kerntrail.findings-prod", "s-0-1", &row, json!({"a": "x\ny"}));
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0], json!({"create": {"_index": "logs-kerntrail.findings-prod", "_id": "s-0-1"}}));
        assert_eq!(lines[1], json!({"@timestamp": 5_000, "a": "x\ny"}));
        assert!(text.ends_with('\n') && lines.len() == 2);
    }
}

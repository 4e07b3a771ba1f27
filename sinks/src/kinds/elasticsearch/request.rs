//! Requests to Elasticsearch and OpenSearch.

use bytes::Bytes;
use kerntrail_schemas::Table;
use kerntrail_schemas::mapping::{Row, ecs};
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

use super::config::{Credentials, Target};
use crate::destination::Record;
use crate::http::gzip;

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

    /// A query which server it is.
    pub(super) fn server(&self) -> RequestBuilder {
        self.request(Method::GET, "")
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

/// Name of the data stream of `table`.
pub fn data_stream(table: Table, namespace: &str) -> String {
    format!("logs-{}-{namespace}", ecs::dataset(table))
}

/// The two lines of a record in a bulk request.
pub fn action(table: Table, event_id: &str, row: &Row, mut document: Value, namespace: &str) -> Bytes {
    // A data stream needs `@timestamp` with either profile; Elasticsearch accepts milliseconds since the epoch.
    if document.get("@timestamp").is_none() {
        let millis = row.get("time").and_then(Value::as_i64).map_or(0, |micros| micros.div_euclid(1_000));
        document["@timestamp"] = millis.into();
    }
    let create = json!({"create": {"_index": data_stream(table, namespace), "_id": event_id}});
    format!("{create}\n{document}\n").into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_creates_in_the_data_stream_of_its_table() {
        let row = Row::from_iter([("time".to_owned(), json!(5_000_999))]);
        let bytes = action(Table::Findings, "s-0-1", &row, json!({"a": "x\ny"}), "prod");
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0], json!({"create": {"_index": "logs-kerntrail.findings-prod", "_id": "s-0-1"}}));
        assert_eq!(lines[1], json!({"@timestamp": 5_000, "a": "x\ny"}));
        assert!(text.ends_with('\n') && lines.len() == 2);
    }
}

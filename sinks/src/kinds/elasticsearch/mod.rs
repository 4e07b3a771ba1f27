//! Elasticsearch 8 and 9, OpenSearch 2: `_bulk` into data streams `logs-kerntrail.<table>-<namespace>`.
//!
//! Every record is a `create` with its `event_id` as `_id`: the response for a record that is sent again is 409, which
//! counts as delivered. Ids are unique within one backing index, so a record that is sent again after a rollover is
//! indexed twice.
//!
//! The index template is installed before the first record, so that no data stream starts with guessed types.
//!
//! Sources: <https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-bulk>,
//! <https://docs.opensearch.org/2.19/api-reference/document-apis/bulk/>.

pub mod answer;
pub mod config;
pub mod request;
pub mod template;

use async_trait::async_trait;
use bytes::Bytes;
use kerntrail_schemas::Table;
use kerntrail_schemas::mapping::Row;
use reqwest::Client;
use tokio::sync::OnceCell;

use crate::destination::{Destination, Record};
use crate::encode::Profile;
use crate::http::exchange;
use crate::outcome::Outcome;
use config::{ElasticsearchConfig, Target};
use request::Requests;

/// A cluster.
pub struct Elasticsearch {
    requests: Requests,
    profile: Profile,
    config: ElasticsearchConfig,
    /// Set once the index template is installed.
    prepared: OnceCell<()>,
}

impl Elasticsearch {
    /// The cluster at `target`; connects to nothing.
    fn new(client: Client, target: Target, config: ElasticsearchConfig, profile: Profile) -> Self {
        Self { requests: Requests::new(client, target), profile, config, prepared: OnceCell::new() }
    }

    /// Installs the index template.
    ///
    /// Errors: what the failure means for every record.
    async fn prepare(&self) -> Result<(), Outcome> {
        if !self.config.install_templates {
            return Ok(());
        }
        let server = exchange(self.requests.server()).await.map_err(Outcome::retry)?;
        let flavor = template::flavor(&server)?;
        let put = exchange(self.requests.template(template::NAME, &template::template(flavor)));
        template::installed(&put.await.map_err(Outcome::retry)?)
    }
}

#[async_trait]
impl Destination for Elasticsearch {
    fn encode(&self, table: Table, event_id: &str, row: &Row) -> Bytes {
        let document = self.profile.document(table, row, &self.config.namespace);
        request::action(table, event_id, row, document, &self.config.namespace)
    }

    async fn send(&self, records: &[Record]) -> Vec<Outcome> {
        if let Err(outcome) = self.prepared.get_or_try_init(|| self.prepare()).await {
            return outcome.all(records.len());
        }
        let answer = match self.requests.bulk(records) {
            Ok(request) => exchange(request).await,
            Err(error) => Err(format!("cannot compress: {error}")),
        };
        match answer {
            Ok(answer) => answer::read(&answer, records.len()),
            Err(words) => Outcome::retry(words).all(records.len()),
        }
    }
}

//! Elasticsearch 8 and 9, OpenSearch 2: `_bulk` into data streams `logs-kerntrail.<table>-<namespace>`.
//!
//! Every record is a `create` with its `event_id` as `_id`: a record sent again is answered 409, which counts as
//! delivered. Ids are unique within one backing index, so a record sent again after a rollover arrives twice.
//!
//! Before the first record the index template is put, so that no data stream begins with guessed types.
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
use tokio::sync::OnceCell;

use crate::config::{ConfigError, Settings};
use crate::destination::{Destination, Record};
use crate::encode::Profile;
use crate::http::{client, exchange};
use crate::outcome::Outcome;
use config::ElasticsearchTarget;
use request::Requests;

/// A cluster.
pub struct Elasticsearch {
    requests: Requests,
    profile: Profile,
    target: ElasticsearchTarget,
    /// Set once the templates are there.
    prepared: OnceCell<()>,
}

impl Elasticsearch {
    /// The cluster of `target`; connects to nothing.
    ///
    /// Errors: the certificates cannot be read.
    pub fn new(settings: &Settings, target: &ElasticsearchTarget) -> Result<Self, ConfigError> {
        let client = client(settings, target.timeout, target.ca_file.as_deref())?;
        let requests = Requests::new(client, target);
        Ok(Self { requests, profile: settings.profile, target: target.clone(), prepared: OnceCell::new() })
    }

    /// Installs the index template.
    ///
    /// Errors: what the failure means for every record.
    async fn prepare(&self) -> Result<(), Outcome> {
        if !self.target.install_templates {
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
        let document = self.profile.document(table, row, &self.target.namespace);
        request::action(table, event_id, row, document, &self.target.namespace)
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

//! Elasticsearch 8 and 9, OpenSearch 2: `_bulk` into data streams, `logs-kerntrail.<table>-<namespace>` by default.
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
use chrono::Utc;
use kerntrail_schemas::Table;
use kerntrail_schemas::mapping::Row;
use tokio::sync::OnceCell;

use crate::config::Settings;
use crate::destination::{Destination, Record};
use crate::encode::Profile;
use crate::http::{Client, NoAnswer};
use crate::outcome::Outcome;
use config::{ElasticsearchConfig, Target};
use request::Requests;

/// A cluster.
pub struct Elasticsearch {
    requests: Requests,
    sink: String,
    profile: Profile,
    config: ElasticsearchConfig,
    /// Set once the index template is installed.
    prepared: OnceCell<()>,
}

impl Elasticsearch {
    /// The cluster at `target`; connects to nothing.
    fn new(client: Client, target: Target, config: ElasticsearchConfig, settings: &Settings) -> Self {
        let (sink, profile) = (settings.name.clone(), settings.profile);
        Self { requests: Requests::new(client, target), sink, profile, config, prepared: OnceCell::new() }
    }

    /// Installs the index template, unless the one that is there shall stay.
    ///
    /// Errors: what the failure means for every record.
    async fn prepare(&self) -> Result<(), Outcome> {
        if !self.config.install_templates {
            return Ok(());
        }
        let ask = async |path: &str| self.requests.ask(self.requests.get(path)).await.map_err(NoAnswer::outcome);
        let template = self.config.template();
        let server = template::server(&ask("").await?)?;
        let has_custom = template::is_there(&ask(&format!("_component_template/{}", template.custom())).await?)?;
        let body = template.body(&server, has_custom);
        let installed = ask(&format!("_index_template/{}", template.name)).await?;
        if let Some(why) = template.stays(&installed, &body)? {
            tracing::info!(sink = self.sink, template = template.name, "the index template stays as it is: {why}");
            return Ok(());
        }
        let put = self.requests.template(&template.name, &body);
        template.installed(&self.requests.ask(put).await.map_err(NoAnswer::outcome)?)
    }
}

#[async_trait]
impl Destination for Elasticsearch {
    fn encode(&self, table: Table, event_id: &str, row: &Row) -> Bytes {
        let document = self.profile.document(table, row, &self.config.namespace, Utc::now());
        request::action(&self.config.data_stream(table), event_id, row, document)
    }

    async fn send(&self, records: &[Record]) -> Vec<Outcome> {
        if let Err(outcome) = self.prepared.get_or_try_init(|| self.prepare()).await {
            return outcome.all(records.len());
        }
        let answer = match self.requests.bulk(records) {
            Ok(request) => self.requests.deliver(request).await,
            Err(error) => Err(NoAnswer::Failed(format!("cannot compress: {error}"))),
        };
        match answer {
            Ok(answer) => answer::read(&answer, records.len()),
            Err(no_answer) => no_answer.outcome().all(records.len()),
        }
    }
}

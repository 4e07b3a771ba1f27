//! Splunk HTTP Event Collector, protocol of `services/collector/event`.
//!
//! The events of a request are concatenated JSON objects, gzip-compressed. Splunk processes them in order and stops at
//! the first that it refuses: those before it are indexed, those after it are not processed (`invalid-event-number`
//! counts from 0). So those before it count as delivered, and those after it are sent in a new request. For a receiver
//! that discards the whole request, set `before_refused = "discarded"`.
//!
//! With `acknowledge`, an event is delivered once an indexer acknowledges its request. Ids of acknowledgements count
//! from 0 in each channel, and again from 0 after a restart of Splunk. So a channel has one request at a time, and is not
//! used again after a request that failed: an old id is never mistaken for a new one. Before the first event, the server
//! is asked whether it gives acknowledgements: without them, events would be sent again and again.
//!
//! An event may be indexed twice when the response to a request was lost, an acknowledgement came too late, or the
//! process was killed between delivery and commit. Duplicates have the same `metadata.uid` (profile `ocsf`) or `event.id`
//! (`ecs`), and the same indexed field `event_id`.
//!
//! Sources: Splunk, "Format events for HTTP Event Collector", "About HTTP Event Collector Indexer Acknowledgment",
//! "Troubleshoot HTTP Event Collector" (<https://help.splunk.com/en/splunk-enterprise/get-data-in/collect-http-event-data>).

mod acknowledge;
pub mod answer;
pub mod config;
pub mod request;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::Utc;
use kerntrail_schemas::Table;
use kerntrail_schemas::mapping::Row;
use uuid::Uuid;

use crate::destination::{Destination, Record};
use crate::encode::Profile;
use crate::http::{Answer, Client, NoAnswer};
use crate::outcome::Outcome;
use acknowledge::Acknowledgements;
use config::{Endpoint, Metadata, SplunkHecConfig, Target};
use request::Requests;

/// A HEC endpoint.
pub struct SplunkHec {
    requests: Requests,
    profile: Profile,
    config: SplunkHecConfig,
    acknowledgements: Acknowledgements,
    /// The channel of all requests without acknowledgement.
    channel: String,
}

impl SplunkHec {
    /// The endpoint at `target`; connects to nothing.
    fn new(client: Client, target: Target, config: SplunkHecConfig, profile: Profile) -> Self {
        Self {
            requests: Requests::new(client, target),
            profile,
            acknowledgements: Acknowledgements::new(config.ack_timeout(), config.ack_interval()),
            config,
            channel: Uuid::new_v4().to_string(),
        }
    }

    async fn deliver(&self, records: &[Record], metadata: Option<&Metadata>) -> Vec<Outcome> {
        if self.config.acknowledge
            && let Err(outcome) = self.acknowledgements.check(&self.requests).await
        {
            return outcome.all(records.len());
        }
        let channel = if self.config.acknowledge { self.acknowledgements.channel() } else { self.channel.clone() };
        let read = match self.post(records, &channel, metadata).await {
            Ok(answer) => answer::read(&answer, records.len(), self.config.before_refused),
            Err(no_answer) => answer::Read { outcomes: no_answer.outcome().all(records.len()), ack_id: None },
        };
        // A request that was refused in the middle has no id: the events before count as delivered unacknowledged.
        if !self.config.acknowledge || !read.outcomes.iter().all(|outcome| *outcome == Outcome::Delivered) {
            return read.outcomes;
        }
        let outcome = match read.ack_id {
            Some(id) => self.acknowledgements.wait(&self.requests, channel, id).await,
            None => self.acknowledgements.missing(),
        };
        outcome.all(records.len())
    }

    async fn post(&self, records: &[Record], channel: &str, metadata: Option<&Metadata>) -> Result<Answer, NoAnswer> {
        let request = self.requests.events(records, channel, metadata);
        self.requests.deliver(request.map_err(|error| NoAnswer::Failed(format!("cannot compress: {error}")))?).await
    }
}

#[async_trait]
impl Destination for SplunkHec {
    fn encode(&self, table: Table, event_id: &str, row: &Row) -> Bytes {
        let document = self.profile.document(table, row, "default", Utc::now());
        match self.config.endpoint {
            Endpoint::Event => {
                let metadata = self.config.metadata(table, request::node(row));
                request::event(event_id, row, document, metadata, &self.config.indexed_fields)
            }
            Endpoint::Raw => format!("{document}\n").into(),
        }
    }

    async fn send(&self, records: &[Record]) -> Vec<Outcome> {
        if self.config.endpoint == Endpoint::Event {
            return self.deliver(records, None).await;
        }
        // A request has the metadata of all of its events.
        let metadata = |record: &Record| self.config.metadata(record.table, request::node(&record.row));
        let mut outcomes = Vec::with_capacity(records.len());
        for alike in records.chunk_by(|one, next| metadata(one) == metadata(next)) {
            let metadata = alike.first().map(metadata);
            outcomes.extend(self.deliver(alike, metadata.as_ref()).await);
            // The server takes nothing now; the events behind these have not been sent.
            let waits = match outcomes.last() {
                Some(waits @ (Outcome::Retry { .. } | Outcome::Pause { .. })) => waits.clone(),
                Some(Outcome::Late { words }) => Outcome::retry(words.clone()),
                _ => continue,
            };
            outcomes.extend(waits.all(records.len() - outcomes.len()));
            break;
        }
        outcomes
    }
}

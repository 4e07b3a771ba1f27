//! Splunk HTTP Event Collector, protocol of `services/collector/event`.
//!
//! Events of a request are JSON objects one after the other, gzip-compressed. Splunk works through them in order and
//! stops at the first that it refuses: those before it are indexed, those after it are not looked at
//! (`invalid-event-number` counts from 0). So the ones before count as delivered and the ones after go on in a new
//! request; for a receiver that discards the whole request, say `before_refused = "discarded"`.
//!
//! With `acknowledge`, an event is delivered once an indexer acknowledges its request. Ids of acknowledgements count
//! from 0 in each channel, and a restarted Splunk counts anew; so a channel has one request at a time, and one whose
//! request did not end well is not used again: an old id can never be taken for a new one.
//!
//! Where an event may be indexed twice: the answer to a request was lost, an acknowledgement came too late, or the
//! process was killed between delivery and commit. `metadata.uid` (profile `ocsf`) or `event.id` (`ecs`) and the
//! indexed field `event_id` tell the two apart from two events.
//!
//! Sources: Splunk, "Format events for HTTP Event Collector", "About HTTP Event Collector Indexer Acknowledgment",
//! "Troubleshoot HTTP Event Collector" (<https://help.splunk.com/en/splunk-enterprise/get-data-in/collect-http-event-data>).

mod acknowledge;
pub mod answer;
pub mod config;
pub mod request;

use async_trait::async_trait;
use bytes::Bytes;
use kerntrail_schemas::Table;
use kerntrail_schemas::mapping::Row;
use uuid::Uuid;

use crate::config::{ConfigError, Settings};
use crate::destination::{Destination, Record};
use crate::encode::Profile;
use crate::http::{Answer, client, exchange};
use crate::outcome::Outcome;
use acknowledge::Acknowledgements;
use config::SplunkTarget;
use request::Requests;

/// A HEC endpoint.
pub struct SplunkHec {
    requests: Requests,
    profile: Profile,
    target: SplunkTarget,
    acknowledgements: Acknowledgements,
    /// The channel of all requests that nothing acknowledges.
    channel: String,
}

/// `acknowledge` is set, and the server answered without an id.
const NO_ACKNOWLEDGEMENTS: &str =
    "the token gives no acknowledgements: enable them in Splunk, or set acknowledge = false";

impl SplunkHec {
    /// The endpoint of `target`; connects to nothing.
    ///
    /// Errors: the certificates cannot be read.
    pub fn new(settings: &Settings, target: &SplunkTarget) -> Result<Self, ConfigError> {
        let client = client(settings, target.timeout, target.ca_file.as_deref())?;
        Ok(Self {
            requests: Requests::new(client, target),
            profile: settings.profile,
            target: target.clone(),
            acknowledgements: Acknowledgements::new(target.ack_timeout, target.ack_interval),
            channel: Uuid::new_v4().to_string(),
        })
    }

    async fn deliver(&self, records: &[Record]) -> Vec<Outcome> {
        let channel = if self.target.acknowledge { self.acknowledgements.channel() } else { self.channel.clone() };
        let read = match self.post(records, &channel).await {
            Ok(answer) => answer::read(&answer, records.len(), self.target.before_refused),
            Err(words) => answer::Read { outcomes: Outcome::retry(words).all(records.len()), ack_id: None },
        };
        // A request that was refused in its middle has no id; what was taken before counts as without acknowledgement.
        if !self.target.acknowledge || !read.outcomes.iter().all(|outcome| *outcome == Outcome::Delivered) {
            return read.outcomes;
        }
        let outcome = match read.ack_id {
            Some(id) => self.acknowledgements.wait(&self.requests, channel, id).await,
            None => Outcome::Pause { alert: NO_ACKNOWLEDGEMENTS.to_owned() },
        };
        outcome.all(records.len())
    }

    async fn post(&self, records: &[Record], channel: &str) -> Result<Answer, String> {
        let request = self.requests.events(records, channel).map_err(|error| format!("cannot compress: {error}"))?;
        exchange(request).await
    }
}

#[async_trait]
impl Destination for SplunkHec {
    fn encode(&self, table: Table, event_id: &str, row: &Row) -> Bytes {
        let document = self.profile.document(table, row, "default");
        request::event(table, event_id, row, document, self.target.index.as_deref())
    }

    async fn send(&self, records: &[Record]) -> Vec<Outcome> {
        self.deliver(records).await
    }
}

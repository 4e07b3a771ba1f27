//! What a sink asks of a kind of destination.

use async_trait::async_trait;
use bytes::Bytes;
use kerntrail_schemas::Table;
use kerntrail_schemas::mapping::Row;

use crate::config::ConfigError;
use crate::config::{Settings, Target};
use crate::elasticsearch::Elasticsearch;
use crate::ndjson::Ndjson;
use crate::outcome::Outcome;
use crate::splunk_hec::SplunkHec;

/// A row on its way.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its table.
    pub table: Table,
    /// Its `event_id`.
    pub event_id: String,
    /// The row, for a dead letter.
    pub row: Row,
    /// Its bytes in a request, as [`Destination::encode`] wrote them.
    pub bytes: Bytes,
    /// Which message of the batch it came from.
    pub message: usize,
}

/// A kind of destination.
#[async_trait]
pub trait Destination: Send + Sync {
    /// The bytes of a row in a request, from the row alone: the same row gives the same bytes.
    fn encode(&self, table: Table, event_id: &str, row: &Row) -> Bytes;

    /// Sends `records` in one request and says what became of each, in their order.
    ///
    /// It returns after the configured timeout at the latest (with acknowledgements: after theirs). Dropped before,
    /// it leaves unknown which records arrived.
    async fn send(&self, records: &[Record]) -> Vec<Outcome>;
}

/// The destination that `settings` describe. Nothing is connected or opened yet.
///
/// Errors: a certificate that cannot be read.
pub fn connect(settings: &Settings) -> Result<Box<dyn Destination>, ConfigError> {
    Ok(match &settings.target {
        Target::SplunkHec(target) => Box::new(SplunkHec::new(settings, target)?),
        Target::Elasticsearch(target) => Box::new(Elasticsearch::new(settings, target)?),
        Target::Ndjson(target) => Box::new(Ndjson::new(settings, target)),
    })
}

//! What delivery needs from a kind of destination.

use async_trait::async_trait;
use bytes::Bytes;
use kerntrail_schemas::Table;
use kerntrail_schemas::mapping::Row;

use crate::outcome::Outcome;

/// A row to be delivered.
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
    /// Number of the message that it came from.
    pub message: usize,
    /// Its number among the rows of that message.
    pub place: u32,
}

/// A kind of destination.
#[async_trait]
pub trait Destination: Send + Sync {
    /// The bytes of a row in a request. Besides the time at which that is, they follow from the row alone.
    fn encode(&self, table: Table, event_id: &str, row: &Row) -> Bytes;

    /// Sends `records` in one request and returns the outcome of each, in the same order.
    ///
    /// Returns after the configured timeout at the latest (with acknowledgements, after theirs). When the future is
    /// dropped before, it is not known which records arrived.
    async fn send(&self, records: &[Record]) -> Vec<Outcome>;
}

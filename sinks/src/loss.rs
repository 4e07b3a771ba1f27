//! Rows that a sink did not get, as rows of `event_loss`.
//!
//! The lake has them, so they can be sent again for the time that the row names.

use std::time::{SystemTime, UNIX_EPOCH};

use arrow::error::ArrowError;
use kerntrail_schemas::cell::Micros;
use kerntrail_schemas::identity::StreamId;
use kerntrail_schemas::tables::event_loss::NOT_FORWARDED;
use kerntrail_schemas::tables::{Envelope, LossColumns};
use kerntrail_schemas::{SCHEMA_VERSION, TableBuilder};
use kerntrail_transport::codec::{self, CodecError};
use kerntrail_transport::{Expired, Headers, Message};

use crate::metrics;

/// Why a message cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum LossError {
    /// Its rows do not fit their table.
    #[error("cannot make rows of event_loss")]
    Rows(#[source] ArrowError),
    /// They cannot be encoded.
    #[error("cannot encode rows of event_loss")]
    Codec(#[source] CodecError),
}

/// Makes messages about rows that sinks on a node did not get.
#[derive(Debug)]
pub struct LossWriter {
    node: String,
    stream: StreamId,
    /// Number of the last row, µs since the Unix epoch where rows are seldom.
    last: i64,
}

impl LossWriter {
    /// For the sinks on `node`.
    pub fn new(node: &str) -> Self {
        Self { node: node.to_owned(), stream: StreamId::new(format!("sinks:{node}")), last: 0 }
    }

    /// Counts `expired`, and makes a message of the table `event_loss` with a row for each.
    ///
    /// Errors: it cannot be made; the rows are counted.
    pub fn message(&mut self, expired: &[Expired]) -> Result<Message, LossError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64);
        let first = now.max(self.last + 1);
        let mut builder = TableBuilder::<LossColumns>::default();
        for (seq, expired) in (first..).zip(expired) {
            count(expired);
            builder.append(&self.envelope(seq, now), None, &columns(expired));
        }
        self.last = first + expired.len() as i64 - 1;
        let payload = codec::encode(&builder.finish().map_err(LossError::Rows)?).map_err(LossError::Codec)?;
        let headers = Headers {
            schema_version: SCHEMA_VERSION,
            node: self.node.clone(),
            stream: self.stream.clone(),
            batch: first,
            rows: expired.len() as u32,
            seq_range: (first, self.last),
        };
        Ok(Message { headers, payload })
    }

    fn envelope(&self, seq: i64, now: i64) -> Envelope {
        Envelope {
            date: Some(Micros(now).day()),
            time: Some(Micros(now)),
            node: Some(self.node.clone()),
            source: Some("kerntrail"),
            stream: Some(self.stream.clone()),
            cpu: Some(0),
            seq: Some(seq),
            activity: Some(NOT_FORWARDED.name.into()),
            action: Some("observed"),
            count: Some(1),
            ..Envelope::default()
        }
    }
}

fn sink(expired: &Expired) -> &str {
    expired.group.0.strip_prefix(super::runner::GROUP_PREFIX).unwrap_or(&expired.group.0)
}

fn columns(expired: &Expired) -> LossColumns {
    let time = |ms: u64| Some(Micros(i64::try_from(ms.saturating_mul(1_000)).unwrap_or(i64::MAX)));
    LossColumns {
        lost: Some(i64::try_from(expired.rows).unwrap_or(i64::MAX)),
        start_time: time(expired.from_ms),
        end_time: time(expired.to_ms),
        event_kind: Some(format!("{} for sink {}", expired.table, sink(expired))),
        ..LossColumns::default()
    }
}

fn count(expired: &Expired) {
    let labels = [("sink", sink(expired).to_owned()), ("reason", "expired".to_owned())];
    ::metrics::counter!(metrics::EVENTS_LOST, &labels).increment(expired.rows);
}

#[cfg(test)]
mod tests {
    use kerntrail_schemas::Table;
    use kerntrail_transport::Group;

    use super::*;

    #[test]
    fn rows_are_numbered_on_however_fast_they_follow() {
        let group = Group("sink-s".into());
        let one = Expired { group, table: Table::Findings, messages: 1, rows: 9, from_ms: 1_000, to_ms: 2_000 };
        let mut writer = LossWriter::new("n");
        let mut last = 0;
        for count in [1, 3, 2] {
            let headers = writer.message(&vec![one.clone(); count]).unwrap().headers;
            assert!(headers.batch > last && headers.seq_range == (headers.batch, headers.batch + count as i64 - 1));
            last = headers.seq_range.1;
        }
    }

    #[test]
    fn a_row_says_which_sink_did_not_get_what_and_when() {
        let group = Group("sink-s".into());
        let expired = Expired { group, table: Table::Findings, messages: 1, rows: 9, from_ms: 1_000, to_ms: 2_000 };
        let columns = columns(&expired);
        assert_eq!((columns.lost, columns.event_kind.as_deref()), (Some(9), Some("findings for sink s")));
        assert_eq!((columns.start_time, columns.end_time), (Some(Micros(1_000_000)), Some(Micros(2_000_000))));
    }
}

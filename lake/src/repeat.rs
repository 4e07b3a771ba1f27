//! Events that were sent again so late that the progress of their stream has expired.
//!
//! A batch that the table holds was committed when its stream's progress was last recorded, or before. Progress expires
//! a retention period after that, so the batch's events are at least that old then, by the clock of the pipeline; the
//! clock of the node that they come from may be ahead. An event is therefore suspected when it is half as old: a node's
//! clock may be ahead by the other half, 15 days unless the table says otherwise.

use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::logical_expr::{Expr, col, lit};
use kerntrail_schemas::cell::{Day, Micros};
use kerntrail_schemas::identity::StreamId;

use crate::error::LakeError;
use crate::table::LakeTable;

/// What makes an event one of its kind, and the day that it is filed under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventKey {
    /// Day of the event; `None` when its time is unknown.
    pub day: Option<Day>,
    /// Stream that numbers it.
    pub stream: StreamId,
    /// Processor of its number.
    pub cpu: Option<i32>,
    /// Its number.
    pub seq: Option<i64>,
}

impl LakeTable {
    /// Whether an event of `time`, of a stream without a record of progress, may be in the table all the same, since the
    /// record may have expired. An unknown time may be any.
    ///
    /// Where it is true, [`LakeTable::holds_event`] knows.
    pub fn may_have_expired(&self, time: Option<Micros>) -> bool {
        let Some(retention) = self.state().txns.retention() else { return false };
        let suspected = self.now() - retention / 2;
        time.is_none_or(|time| time.0 / 1000 <= suspected)
    }

    /// Whether the progress of some stream may have expired: the table is older than that takes.
    pub fn may_have_forgotten_streams(&self) -> bool {
        let created = self.state().metadata.as_deref().and_then(|metadata| metadata.created_time());
        let retention = self.state().txns.retention();
        retention.is_some_and(|retention| created.is_none_or(|created| created <= self.now() - retention))
    }

    /// Whether the table holds the event `key`. Reads four columns of the files of its day that may have it.
    ///
    /// Errors: `Store`.
    pub async fn holds_event(&self, key: &EventKey) -> Result<bool, LakeError> {
        let found = self.count_event(key).await;
        found
            .map(|found| found > 0)
            .map_err(|source| LakeError::store(format!("look for an event in {}", self.table()), source))
    }

    async fn count_event(&self, key: &EventKey) -> Result<usize, DataFusionError> {
        let is = |column: &str, value: ScalarValue| -> Expr {
            if value.is_null() { col(column).is_null() } else { col(column).eq(lit(value)) }
        };
        let same = is("date", ScalarValue::Date32(key.day.map(|day| day.0)))
            .and(is("stream", ScalarValue::from(key.stream.as_str())))
            .and(is("cpu", ScalarValue::Int32(key.cpu)))
            .and(is("seq", ScalarValue::Int64(key.seq)));
        let session = kerntrail_session::unguarded(|config| config);
        session.read_table(self.provider())?.filter(same)?.limit(0, Some(1))?.count().await
    }
}

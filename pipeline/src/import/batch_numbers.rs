//! The batch numbers at which an import continues.

use std::collections::BTreeMap;

use kerntrail_lake::{LakeError, LakeTable};
use kerntrail_schemas::identity::StreamId;

use crate::quarantine::now_micros;

/// The last batch number used of each stream of one table.
pub(crate) struct BatchNumbers {
    last: BTreeMap<String, i64>,
    /// Last number of a stream that `last` lacks.
    before_first: i64,
}

impl BatchNumbers {
    /// As `table` records them for the topic of `partition`; without a table, all streams are new.
    ///
    /// A stream that the table may have forgotten is numbered from the present microsecond on: other consumers may
    /// remember its old numbers, and would drop messages with the same ones as known.
    ///
    /// Errors: a newer release records the table's progress.
    pub(crate) fn of(table: Option<&LakeTable>, partition: &str) -> Result<Self, LakeError> {
        let Some(table) = table else { return Ok(Self { last: BTreeMap::new(), before_first: -1 }) };
        let before_first = if table.may_have_forgotten_streams() { now_micros() } else { -1 };
        Ok(Self { last: table.progress(partition)?.batches, before_first })
    }

    /// Number of the last message of `stream`, which the caller raises; -1 before the first.
    pub(crate) fn last_of(&mut self, stream: &StreamId) -> &mut i64 {
        self.last.entry(stream.as_str().to_owned()).or_insert(self.before_first)
    }
}

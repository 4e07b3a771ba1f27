//! How much of a source the table contains, as Delta `txn` actions.
//!
//! appId `<topic>/<n>` records the last offset taken of that partition, appId `<topic>/stream/<stream>` the last batch
//! number taken of that stream, from whichever partition. So a stream must not move to another partition while batches of
//! it wait in the old one: they would be dropped as known. (Add partitions to a topic only when it is drained.)
//!
//! The table property [`VERSION_PROPERTY`] holds the version of this format, [`VERSION`]:
//!
//! | version | format |
//! |---|---|
//! | 1, or no property | offsets and batch numbers have `lastUpdated`; none expires |
//! | 2 | only batch numbers have it, and expire [`RETENTION_PROPERTY`] after the stream's last commit |
//!
//! A message that is resent after the record of its stream has expired cannot be recognized by its number.
//! [`LakeTable::may_have_expired`](crate::LakeTable::may_have_expired) says when to look for its rows instead, with
//! [`LakeTable::holds_event`](crate::LakeTable::holds_event).

use std::collections::BTreeMap;

use deltalake_core::kernel::Transaction;
use kerntrail_schemas::Table;

use crate::error::LakeError;
use crate::txns::Txns;

/// Version of the form in which progress is recorded.
pub(crate) const VERSION: u32 = 2;
/// Table property that holds it.
pub(crate) const VERSION_PROPERTY: &str = "kerntrail.progressVersion";
/// Table property that holds how long batch numbers are kept; Delta's own.
pub(crate) const RETENTION_PROPERTY: &str = "delta.setTransactionRetentionDuration";
/// Value of the property for tables that lack it. A spool is sent as soon as its node has a network, and Kafka keeps
/// messages for a week by default, so resent messages are rarely older than days.
pub(crate) const RETENTION: &str = "interval 30 days";

/// What is between a topic and a stream in an appId.
const STREAM: &str = "/stream/";

/// How far one partition of a source has been taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// `<topic>/<number>`.
    pub partition: String,
    /// Written: offset of the first message, which must be the next one of the lake; otherwise another writer has been
    /// here. Read: the same as `next_offset`.
    pub from_offset: i64,
    /// Offset of the next message to read; 0 when none was read yet.
    pub next_offset: i64,
    /// Last batch number taken of each stream. Read: every stream of the topic whose record has not expired. Written:
    /// those that changed suffice.
    pub batches: BTreeMap<String, i64>,
}

/// Whether `app_id` is that of a stream, not of a partition.
pub(crate) fn is_stream(app_id: &str) -> bool {
    app_id.contains(STREAM)
}

/// The action that records `version` of `app_id` at `now`, in milliseconds since the Unix epoch.
pub(crate) fn action(app_id: &str, version: i64, now: i64) -> Transaction {
    Transaction::new_with_last_update(app_id, version, is_stream(app_id).then_some(now))
}

impl Progress {
    /// Start of the appIds of the streams that come by `partition`.
    fn stream_prefix(partition: &str) -> String {
        let topic = partition.rsplit_once('/').map_or(partition, |(topic, _)| topic);
        format!("{topic}{STREAM}")
    }

    /// The progress of `partition` that `txns` record at `now`.
    pub(crate) fn read(partition: &str, txns: &Txns, now: i64) -> Self {
        let prefix = Self::stream_prefix(partition);
        let batches = txns.below(&prefix, now).map(|(stream, batch)| (stream.to_owned(), batch)).collect();
        let next_offset = txns.get(partition, now).map_or(0, |last| last + 1);
        Self { partition: partition.to_owned(), from_offset: next_offset, next_offset, batches }
    }

    /// The appIds and versions to record on top of `txns` at `now`: those that rise.
    ///
    /// Errors: `Conflict` when the rows do not begin at the next offset of the lake, an offset does not rise, or a batch
    /// number falls: another writer has been here.
    pub(crate) fn rising(
        table: Table,
        progress: &[Self],
        txns: &Txns,
        now: i64,
    ) -> Result<Vec<(String, i64)>, LakeError> {
        let mut rising = Vec::new();
        for source in progress {
            let recorded = txns.get(&source.partition, now).unwrap_or(-1);
            let offered = source.next_offset - 1;
            if recorded + 1 != source.from_offset || recorded >= offered {
                let (app_id, expected) = (source.partition.clone(), source.from_offset - 1);
                return Err(LakeError::Conflict { table, app_id, recorded, expected });
            }
            rising.push((source.partition.clone(), offered));
            let prefix = Self::stream_prefix(&source.partition);
            for (stream, &offered) in &source.batches {
                let app_id = format!("{prefix}{stream}");
                match txns.get(&app_id, now) {
                    Some(recorded) if recorded > offered => {
                        return Err(LakeError::Conflict { table, app_id, recorded, expected: offered });
                    }
                    Some(recorded) if recorded == offered => {}
                    _ => rising.push((app_id, offered)),
                }
            }
        }
        Ok(rising)
    }
}

#[cfg(test)]
mod tests;

//! The latest `txn` action of each application id, and when it expires. No IO.
//!
//! Delta lets every writer of a checkpoint leave out a `txn` action whose `lastUpdated` is older than the table property
//! `delta.setTransactionRetentionDuration`; one without `lastUpdated` stays forever. So the batch numbers of streams,
//! of which each start of a collector makes a new one, are recorded with it, and the offsets of partitions without.
//! Source: Delta protocol, "Transaction Identifiers" and "Checkpoints".

use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use rpds::RedBlackTreeMapSync;

use crate::progress;

/// What a `txn` action records of an application id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// The last offset, or the last batch number.
    pub(crate) version: i64,
    /// When it was recorded, in milliseconds since the Unix epoch; without it, the record does not expire.
    pub(crate) last_updated: Option<i64>,
}

/// The latest `txn` action of each application id. A clone shares its nodes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Txns {
    records: RedBlackTreeMapSync<Arc<str>, Recorded>,
    /// Milliseconds after which a record expires; `None` when none does.
    retention: Option<i64>,
}

impl Txns {
    /// How long records are kept that can expire.
    pub(crate) fn set_retention(&mut self, retention: Option<Duration>) {
        self.retention = retention.and_then(|retention| i64::try_from(retention.as_millis()).ok());
    }

    /// How long records are kept that can expire, in milliseconds; `None` is forever.
    pub(crate) fn retention(&self) -> Option<i64> {
        self.retention
    }

    /// Records a `txn` action in place of the one before it.
    pub(crate) fn record(&mut self, app_id: Arc<str>, recorded: Recorded) {
        self.records.insert_mut(app_id, recorded);
    }

    /// The version recorded for `app_id`, unless it has expired at `now`.
    pub(crate) fn get(&self, app_id: &str, now: i64) -> Option<i64> {
        let recorded = self.records.get(app_id)?;
        (!self.is_expired(app_id, recorded, now)).then_some(recorded.version)
    }

    /// The application ids that start with `prefix`, without it, and their versions; not those expired at `now`.
    pub(crate) fn below(&self, prefix: &str, now: i64) -> impl Iterator<Item = (&str, i64)> {
        let from = (Bound::Included(prefix), Bound::Unbounded);
        self.records
            .range::<str, _>(from)
            .map_while(move |(app_id, recorded)| Some((&**app_id, app_id.strip_prefix(prefix)?, recorded)))
            .filter(move |(app_id, _, recorded)| !self.is_expired(app_id, recorded, now))
            .map(|(_, rest, recorded)| (rest, recorded.version))
    }

    /// Offsets that were recorded with a time, as kerntrail did at first: a checkpoint could leave them out.
    pub(crate) fn perishable_offsets(&self) -> impl Iterator<Item = (&str, i64)> {
        self.records
            .iter()
            .filter(|(app_id, recorded)| recorded.last_updated.is_some() && !progress::is_stream(app_id))
            .map(|(app_id, recorded)| (&**app_id, recorded.version))
    }

    /// Forgets what has expired at `now`.
    pub(crate) fn expire(&mut self, now: i64) {
        let expired: Vec<Arc<str>> = self
            .records
            .iter()
            .filter(|(app_id, recorded)| self.is_expired(app_id, recorded, now))
            .map(|(app_id, _)| Arc::clone(app_id))
            .collect();
        for app_id in expired {
            self.records.remove_mut(&*app_id);
        }
    }

    /// Number of records, expired ones that are not yet forgotten included.
    pub(crate) fn len(&self) -> usize {
        self.records.size()
    }

    fn is_expired(&self, app_id: &str, recorded: &Recorded, now: i64) -> bool {
        match (self.retention, recorded.last_updated) {
            (Some(retention), Some(updated)) => progress::is_stream(app_id) && updated <= now.saturating_sub(retention),
            _ => false,
        }
    }
}

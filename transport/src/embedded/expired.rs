//! What was removed before a group had read it, in rows.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kerntrail_schemas::Table;
use tokio::sync::Notify;

use super::record;
use crate::log::{Group, Partition};

/// Rows that were removed before a group had read them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expired {
    /// The group.
    pub group: Group,
    /// Table of the rows.
    pub table: Table,
    /// How many messages they were in.
    pub messages: u64,
    /// How many rows; those of a message that cannot be read count as none.
    pub rows: u64,
    /// When the first of the messages was appended, in ms since the Unix epoch.
    pub from_ms: u64,
    /// When the last of them was appended.
    pub to_ms: u64,
}

/// Counts what is removed, until somebody takes the counts. There is one for each group and table.
#[derive(Debug, Default)]
pub(super) struct ExpiredRows {
    counts: Mutex<BTreeMap<(Group, Table), Expired>>,
    /// Notified when something was counted.
    pub(super) counted: Notify,
}

impl ExpiredRows {
    fn counts(&self) -> MutexGuard<'_, BTreeMap<(Group, Table), Expired>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts `record` of `partition` for each of `groups`, which have not read it. What a group has read and not committed
    /// is not counted, since it is in its memory.
    pub(super) fn count(&self, groups: &[&Group], partition: &Partition, record: &[u8]) {
        if groups.is_empty() {
            return;
        }
        let (rows, at, table) = (record::rows(record), record::appended_at(record), partition.topic.table);
        let mut counts = self.counts();
        for group in groups {
            let none = || Expired { group: (*group).clone(), table, messages: 0, rows: 0, from_ms: at, to_ms: at };
            let expired = counts.entry(((*group).clone(), table)).or_insert_with(none);
            expired.messages += 1;
            expired.rows += u64::from(rows);
            expired.from_ms = expired.from_ms.min(at);
            expired.to_ms = expired.to_ms.max(at);
        }
        drop(counts);
        self.counted.notify_one();
    }

    /// What was counted since this was called last.
    pub(super) fn take(&self) -> Vec<Expired> {
        std::mem::take(&mut *self.counts()).into_values().collect()
    }
}

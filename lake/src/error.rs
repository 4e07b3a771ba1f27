//! The lake's errors, distinguished by what the caller should do.

use kerntrail_schemas::Table;

use crate::progress::VERSION_PROPERTY;

/// An error of another crate.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What failed in the lake.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// Another writer recorded progress first. Nothing was written: drop the rows, refresh, read the progress again.
    #[error("another writer recorded {app_id} in {table} up to {recorded}; this one expected {expected}")]
    Conflict {
        /// The table.
        table: Table,
        /// Delta application id: the name of a partition or a stream.
        app_id: String,
        /// What the table has: the last offset or batch number; -1 for none.
        recorded: i64,
        /// What the writer expected.
        expected: i64,
    },
    /// The store failed. Whether a commit took place may be unknown; a retry is safe, since it then conflicts.
    #[error("cannot {operation}")]
    Store {
        /// The operation, with the table and the file.
        operation: String,
        /// The store's own error.
        #[source]
        source: BoxError,
    },
    /// This version of kerntrail cannot handle the table or the rows; a retry does not help.
    #[error("{table}: {reason}")]
    Refused {
        /// The table.
        table: Table,
        /// Why.
        reason: String,
    },
    /// A newer release records the table's progress, in a form that this one cannot read. Its rows can be read; what was
    /// taken of a source is not known before the upgrade.
    #[error(
        "{table}: its progress has version {found} ({VERSION_PROPERTY}), newer than {known}, the newest that this release knows; upgrade kerntrail"
    )]
    NewerProgress {
        /// The table.
        table: Table,
        /// The version.
        found: u32,
        /// The newest version that is known.
        known: u32,
    },
    /// Files added after the cursor are gone. Reading can resume at `oldest`, with a gap.
    #[error(
        "the rows that {table} got after version {cursor} can no longer be read commit by commit; reading can resume at version {oldest}"
    )]
    CursorTooOld {
        /// The table.
        table: Table,
        /// The cursor.
        cursor: i64,
        /// Lowest cursor at which reading can resume.
        oldest: i64,
    },
    /// The cursor is of another table: this one has not reached it.
    #[error("{table} is at version {latest}, before the cursor {cursor}: the table was created again")]
    CursorAhead {
        /// The table.
        table: Table,
        /// The cursor.
        cursor: i64,
        /// Latest version.
        latest: i64,
    },
}

impl LakeError {
    /// A [`LakeError::Store`] of `operation`.
    pub(crate) fn store(operation: impl Into<String>, source: impl Into<BoxError>) -> Self {
        Self::Store { operation: operation.into(), source: source.into() }
    }

    /// A [`LakeError::Refused`] of `table`.
    pub(crate) fn refused(table: Table, reason: impl Into<String>) -> Self {
        Self::Refused { table, reason: reason.into() }
    }
}

//! What can go wrong with the lake, by what the caller should do.

use kerntrail_schemas::Table;

/// Any other crate's error.
pub(crate) type Source = Box<dyn std::error::Error + Send + Sync>;

/// What failed in the lake.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// Another writer recorded progress first. Nothing was written: drop the rows, refresh, read the progress again.
    #[error("{table} holds {app_id} up to {recorded}, and the writer took it to be {expected}")]
    Conflict {
        /// The table.
        table: Table,
        /// Delta application id, the name of a partition or a stream.
        app_id: String,
        /// Version that the table holds: the last offset, or the last batch; -1 for none.
        recorded: i64,
        /// What the writer took it to be, at most.
        expected: i64,
    },
    /// The store failed. Whether a commit took place may be unknown; trying again is safe, since it conflicts then.
    #[error("cannot {operation}")]
    Store {
        /// What was tried, with the table and the file.
        operation: String,
        /// The store's own error.
        #[source]
        source: Source,
    },
    /// The table or the rows are not what this version of kerntrail can handle; trying again does not help.
    #[error("{table}: {reason}")]
    Refused {
        /// The table.
        table: Table,
        /// Why.
        reason: String,
    },
    /// The files added after the cursor are gone. Reading on is possible from `oldest`, with a gap.
    #[error(
        "what {table} took after version {cursor} is no longer known one commit at a time; it is from version {oldest} on"
    )]
    CursorTooOld {
        /// The table.
        table: Table,
        /// The cursor.
        cursor: i64,
        /// Lowest cursor that can be read on from.
        oldest: i64,
    },
    /// The cursor is of another table: this one has not come so far.
    #[error("{table} is at version {latest}, before the cursor {cursor}: it was made anew")]
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
    pub(crate) fn store(operation: impl Into<String>, source: impl Into<Source>) -> Self {
        Self::Store { operation: operation.into(), source: source.into() }
    }

    /// A [`LakeError::Refused`] of `table`.
    pub(crate) fn refused(table: Table, reason: impl Into<String>) -> Self {
        Self::Refused { table, reason: reason.into() }
    }
}

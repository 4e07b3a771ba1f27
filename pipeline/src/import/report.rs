//! What an import reports: progress, result, error.

use std::collections::BTreeMap;
use std::path::PathBuf;

use kerntrail_schemas::Table;
use kerntrail_transport::LogError;

use super::reject_file::RejectedRecord;

/// The progress of an import.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportProgress {
    /// Bytes of the input read, before decompression.
    pub bytes_read: u64,
    /// Its length, when known.
    pub bytes_total: Option<u64>,
    /// Records read.
    pub records: u64,
    /// Rows appended to the event log.
    pub rows: u64,
    /// Records rejected.
    pub rejected: u64,
}

/// The result of an import. `records` = `added` + `already_there` + the sum of `without_place` + `rejected`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportReport {
    /// Records read, and stretches of garbage.
    pub records: u64,
    /// Records with a row that was appended to the event log.
    pub added: u64,
    /// Rows appended to the event log; formats may make several of a record.
    pub rows: u64,
    /// Records whose rows are all in the lake already, or come from an earlier record of the input.
    pub already_there: u64,
    /// Valid records of events that no table has a place for, by kernel function or kind.
    pub without_place: BTreeMap<String, u64>,
    /// Records rejected, and stretches of garbage.
    pub rejected: u64,
    /// The file that holds them, if there are any.
    pub rejects_file: Option<PathBuf>,
    /// Those that the file has no room for.
    pub rejects_not_kept: u64,
    /// The first of them.
    pub first_rejects: Vec<RejectedRecord>,
}

/// Why an import failed. What was appended before stays; importing again resumes there.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The input could not be read to its end; the part that was read is in the log.
    #[error("cannot read {name}")]
    Read {
        /// The input.
        name: String,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// The input is a kind of file that is not read.
    #[error("{name} is {what}: JSON is expected, plain or compressed with gzip or zstd")]
    NotReadable {
        /// The input.
        name: String,
        /// What it is.
        what: &'static str,
    },
    /// Rejected records could not be written to their file.
    #[error("cannot store rejected records in {}", path.display())]
    Rejects {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// The rows that the lake holds could not be read.
    #[error("cannot determine which records {table} contains")]
    Known {
        /// The table.
        table: Table,
        /// The lake's or the query's error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Rows could not be encoded.
    #[error("cannot encode rows of {table}")]
    Encode {
        /// The table.
        table: Table,
        /// The codec's error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The event log refused rows.
    #[error("cannot append rows of {table} to the event log")]
    Append {
        /// The table.
        table: Table,
        /// The log's error.
        #[source]
        source: LogError,
    },
    /// A thread could not be started, or ended early.
    #[error("a thread of the import ended unexpectedly")]
    Thread(#[source] Box<dyn std::error::Error + Send + Sync>),
}

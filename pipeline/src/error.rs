//! Why a pipeline stops.

use std::path::PathBuf;

use kerntrail_lake::LakeError;
use kerntrail_transport::{LogError, Partition};

/// Why a pipeline stops, or cannot tell that it is done. Rows that were not committed are read again at the next start.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The event log cannot be read, and trying again does not help.
    #[error("cannot read the event log")]
    Log(#[source] LogError),
    /// The lake cannot be written, and trying again does not help, or the pipeline was told to end.
    #[error("cannot write {table}")]
    Lake {
        /// The table.
        table: &'static str,
        /// The lake's own error.
        #[source]
        source: LakeError,
    },
    /// The log ends before what the lake has already taken of it: the log was replaced. Reading it would lose rows
    /// silently; give the pipeline the log that it read before, or a new lake.
    #[error(
        "{partition} ends at {end}, but the lake has taken it up to {taken}: it is not the log that was read before"
    )]
    LogReplaced {
        /// The partition.
        partition: Partition,
        /// Its end.
        end: i64,
        /// Offset that the lake wants next.
        taken: i64,
    },
    /// A message that cannot be read could not be kept aside either.
    #[error("cannot keep a damaged message in {path}")]
    Reject {
        /// The file.
        path: PathBuf,
        /// The file system's own error.
        #[source]
        source: std::io::Error,
    },
    /// The pipeline ended before everything that was waited for was committed.
    #[error("the pipeline ended before everything was committed")]
    Ended,
}

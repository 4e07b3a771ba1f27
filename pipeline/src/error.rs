//! Why a pipeline stops.

use kerntrail_lake::LakeError;
use kerntrail_transport::{LogError, Newer, Partition, Topic};

use crate::pipeline::GROUP;
use crate::rejected::RejectedError;

/// Why a pipeline stops, or cannot be drained. Rows that were not committed are read again at the next start.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The event log cannot be read, and a retry does not help.
    #[error("cannot read the event log")]
    Log(#[source] LogError),
    /// The lake cannot be written, and a retry does not help, or the pipeline is stopping.
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
        "{partition} ends at {end}, but the lake has stored it up to {taken}: this is not the log that was read before"
    )]
    LogReplaced {
        /// The partition.
        partition: Partition,
        /// Its end.
        end: i64,
        /// Offset that the lake wants next.
        taken: i64,
    },
    /// Another pipeline stores messages of the log in another lake, so each lake would get a part of the rows.
    #[error(
        "{topic} is stored in another lake too ({other}, this one is {own}): use the same lake or another log.kafka cluster or tenant; if the other lake is gone for good, delete the consumer group {GROUP}"
    )]
    OtherLake {
        /// The topic.
        topic: Topic,
        /// Id of the other lake.
        other: String,
        /// Id of this lake.
        own: String,
    },
    /// A rejected message could not be stored.
    #[error("cannot store a rejected message")]
    Quarantine(#[source] RejectedError),
    /// The awaited messages come after a message that a newer release wrote.
    #[error("{partition} is held at message {offset}: {newer}")]
    Held {
        /// The partition.
        partition: Partition,
        /// Offset of the message.
        offset: i64,
        /// Which version is newer.
        newer: Newer,
    },
    /// The pipeline ended before everything that was waited for was committed.
    #[error("the pipeline ended before everything was committed")]
    Ended,
}

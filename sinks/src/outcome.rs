//! What a response means for a record.

use std::time::Duration;

/// The result of sending a record in a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The destination has it.
    Delivered,
    /// It has to be sent again.
    Retry {
        /// The shortest wait that the server asked for.
        after: Option<Duration>,
        /// The server's message, or the reason why no response arrived.
        words: String,
    },
    /// The destination did not respond in time, and may have it: the records are sent again in two halves, and after a
    /// few such requests the sink pauses.
    Late {
        /// What did not happen within which time.
        words: String,
    },
    /// The request was refused as a whole: its records are sent again in two halves; a single record becomes a dead
    /// letter.
    Split {
        /// The server's message.
        words: String,
    },
    /// The destination will never accept it.
    DeadLetter {
        /// Why, as a code.
        reason: Reason,
        /// The server's message.
        words: String,
    },
    /// The destination accepts nothing until an operator fixes something: wait long, and raise an alert.
    Pause {
        /// What is wrong, for the log and the operator.
        alert: String,
    },
}

impl Outcome {
    /// A retry for which the server did not ask for a wait.
    pub fn retry(words: impl Into<String>) -> Self {
        Self::Retry { after: None, words: words.into() }
    }

    /// The same outcome for each of `records`.
    pub fn all(self, records: usize) -> Vec<Self> {
        vec![self; records]
    }
}

/// Why a record is a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The destination refused it.
    Refused,
    /// It is larger than the destination accepts.
    TooLarge,
    /// The sink's `where` failed for it.
    RowFilter,
    /// It could not be decoded, so its bytes in the event log are kept.
    Damaged,
}

impl Reason {
    /// The code, as in metrics and letters.
    pub fn word(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::TooLarge => "too_large",
            Self::RowFilter => "filter",
            Self::Damaged => "damaged",
        }
    }
}

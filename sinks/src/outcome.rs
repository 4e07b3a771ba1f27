//! What an answer means for a record.

use std::time::Duration;

/// What became of a record in a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The destination has it.
    Delivered,
    /// It is to be sent again.
    Retry {
        /// The server's own wish; never waited for less.
        after: Option<Duration>,
        /// What the server said, or why there is no answer.
        words: String,
    },
    /// The request was refused as a whole: send its records in two halves. One that is alone is a dead letter.
    Split {
        /// What the server said.
        words: String,
    },
    /// The destination will never take it.
    DeadLetter {
        /// Why, as a word.
        reason: Reason,
        /// What the server said.
        words: String,
    },
    /// Nothing will be taken before somebody repairs something: wait long and say so.
    Pause {
        /// What is wrong, for the log and for whoever is on call.
        alert: String,
    },
}

impl Outcome {
    /// "Send it again" without a wish of the server's.
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
    /// It is larger than the destination takes.
    TooLarge,
    /// The sink's `where` could not be computed for it.
    Filter,
    /// It could not be decoded, so it is kept as it lay in the event log.
    Damaged,
}

impl Reason {
    /// The word, as in metrics and letters.
    pub fn word(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::TooLarge => "too_large",
            Self::Filter => "filter",
            Self::Damaged => "damaged",
        }
    }
}

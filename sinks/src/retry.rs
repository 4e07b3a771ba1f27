//! What an answer means for a record, and how long to wait before the next try.

use std::time::Duration;

use rand::Rng;

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

/// Exponential backoff with full jitter: a random time between none and a bound that doubles with each failure.
///
/// Source: AWS Architecture Blog, "Exponential Backoff And Jitter".
#[derive(Clone, Debug)]
pub struct Backoff {
    initial: Duration,
    most: Duration,
    failures: u32,
}

impl Backoff {
    /// The first wait is at most `initial`, none is longer than `most`.
    pub fn new(initial: Duration, most: Duration) -> Self {
        Self { initial, most, failures: 0 }
    }

    /// The wait after one more failure.
    pub fn next(&mut self, rng: &mut impl Rng) -> Duration {
        let bound = self.bound();
        self.failures = self.failures.saturating_add(1);
        bound.mul_f64(rng.random::<f64>())
    }

    /// The bound of the next wait.
    pub fn bound(&self) -> Duration {
        let doubled = 2u32.checked_pow(self.failures).and_then(|factor| self.initial.checked_mul(factor));
        doubled.map_or(self.most, |bound| bound.min(self.most))
    }

    /// The longest wait there is.
    pub fn most(&self) -> Duration {
        self.most
    }

    /// Something worked: starts over.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn bounds_double_up_to_the_most_and_waits_stay_below_them() {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(60));
        let mut rng = StdRng::seed_from_u64(7);
        let mut bounds = Vec::new();
        for _ in 0..40 {
            let bound = backoff.bound();
            assert!(backoff.next(&mut rng) <= bound);
            bounds.push(bound.as_millis());
        }
        assert_eq!(bounds[..9], [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
        assert_eq!(bounds[39], 60_000);
        backoff.reset();
        assert_eq!(backoff.bound().as_millis(), 500);
    }

    #[test]
    fn jitter_is_full() {
        let mut rng = StdRng::seed_from_u64(1);
        let second = Duration::from_secs(1);
        let waits: Vec<Duration> = (0..1_000).map(|_| Backoff::new(second, second).next(&mut rng)).collect();
        assert!(waits.iter().any(|wait| wait.as_millis() < 100) && waits.iter().any(|wait| wait.as_millis() > 900));
    }
}

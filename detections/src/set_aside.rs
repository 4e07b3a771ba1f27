//! Rules whose query failed or took too long: when each is tried again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use kerntrail_common::backoff::Backoff;

/// Failures in a row after each of which a rule is tried again in the next pass.
const AT_ONCE: u32 = 3;
/// Longest wait for another attempt.
const LONGEST: Duration = Duration::from_secs(600);

/// The rules that are set aside, by id. Forgotten at a restart, which is reason enough for another attempt.
#[derive(Debug)]
pub(crate) struct SetAside {
    interval: Duration,
    rules: Mutex<HashMap<String, Attempts>>,
}

#[derive(Debug)]
struct Attempts {
    next: Instant,
    failed: u32,
    backoff: Backoff,
}

impl SetAside {
    /// Rules that run every `interval`.
    pub(crate) fn new(interval: Duration) -> Self {
        Self { interval, rules: Mutex::default() }
    }

    /// Whether `rule` may be tried.
    pub(crate) fn is_due(&self, rule: &str) -> bool {
        let rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        rules.get(rule).is_none_or(|attempts| attempts.next <= Instant::now())
    }

    /// `rule` failed once more.
    pub(crate) fn failed(&self, rule: &str) {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let attempts = rules.entry(rule.to_owned()).or_insert_with(|| Attempts {
            next: Instant::now(),
            failed: 0,
            backoff: Backoff::new(self.interval, LONGEST),
        });
        attempts.failed += 1;
        if attempts.failed > AT_ONCE {
            attempts.next = Instant::now() + attempts.backoff.after_failure_alone();
        }
    }

    /// `rule` ran.
    pub(crate) fn succeeded(&self, rule: &str) {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).remove(rule);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_that_keeps_failing_is_tried_less_often() {
        let aside = SetAside::new(Duration::from_secs(3_600));
        for _ in 0..AT_ONCE {
            assert!(aside.is_due("a"));
            aside.failed("a");
        }
        assert!(aside.is_due("a"));
        aside.failed("a");
        assert!(!aside.is_due("a") && aside.is_due("b"));
        aside.succeeded("a");
        assert!(aside.is_due("a"));
    }
}

//! Exponential backoff with full jitter: how long to wait before the next attempt.
//!
//! Each wait is a random time between 0 and a bound that doubles with every failure, so that clients which failed
//! together do not retry together. Source: AWS Architecture Blog, "Exponential Backoff And Jitter". `backon` (as of
//! 1.6) adds its jitter to the full delay instead, which keeps such clients together.

use std::time::Duration;

/// The waits between the attempts of one operation. The caller decides what is worth another attempt, and sleeps.
#[derive(Clone, Debug)]
pub struct Backoff {
    initial: Duration,
    longest: Duration,
    failures: u32,
    random: fastrand::Rng,
}

impl Backoff {
    /// The first wait is at most `initial`; no wait is longer than `longest`.
    pub fn new(initial: Duration, longest: Duration) -> Self {
        Self { initial, longest, failures: 0, random: fastrand::Rng::new() }
    }

    /// The same waits on every run: for tests.
    pub fn seeded(mut self, seed: u64) -> Self {
        self.random = fastrand::Rng::with_seed(seed);
        self
    }

    /// The wait after one more failure.
    pub fn after_failure(&mut self) -> Duration {
        self.after_failure_alone().mul_f64(self.random.f64())
    }

    /// The wait after one more failure without jitter: for what no other process asks for, such as a local file.
    pub fn after_failure_alone(&mut self) -> Duration {
        let bound = self.bound();
        self.failures = self.failures.saturating_add(1);
        bound
    }

    /// The wait after one more failure for which a server asked to wait at least `delay` (`Retry-After`). Jitter is
    /// added to `delay`; no server makes it longer than the longest wait.
    pub fn after_refusal(&mut self, delay: Duration) -> Duration {
        delay.saturating_add(self.after_failure()).min(self.longest)
    }

    /// The bound of the next wait.
    pub fn bound(&self) -> Duration {
        let doubled = 2u32.checked_pow(self.failures).and_then(|factor| self.initial.checked_mul(factor));
        doubled.map_or(self.longest, |bound| bound.min(self.longest))
    }

    /// The bound of all waits.
    pub fn longest(&self) -> Duration {
        self.longest
    }

    /// Failures since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// An attempt succeeded: the next failure is the first again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_double_up_to_the_maximum_and_waits_stay_below_them() {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(60)).seeded(7);
        let mut bounds = Vec::new();
        for _ in 0..40 {
            let bound = backoff.bound();
            assert!(backoff.after_failure() <= bound);
            bounds.push(bound.as_millis());
        }
        assert_eq!(bounds[..9], [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
        assert_eq!(bounds[39], 60_000);
        assert_eq!(backoff.failures(), 40);
        backoff.reset();
        assert_eq!(backoff.bound().as_millis(), 500);
        assert_eq!(Backoff::new(Duration::from_secs(9), Duration::from_secs(5)).bound().as_secs(), 5);
    }

    #[test]
    fn waits_vary_over_the_full_range() {
        let second = Duration::from_secs(1);
        let wait = |seed| Backoff::new(second, second).seeded(seed).after_failure();
        let waits: Vec<Duration> = (0..1_000).map(wait).collect();
        assert!(waits.iter().any(|wait| wait.as_millis() < 100) && waits.iter().any(|wait| wait.as_millis() > 900));
        assert_eq!(waits[3], wait(3), "a seed gives the same waits");
        assert_ne!(waits[3], wait(4));
    }

    #[test]
    fn a_servers_delay_is_the_minimum_wait() {
        let (second, asked, longest) = (Duration::from_secs(1), Duration::from_secs(30), Duration::from_secs(60));
        for seed in 0..100 {
            let wait = Backoff::new(second, longest).seeded(seed).after_refusal(asked);
            assert!(wait >= asked && wait <= asked + second, "{wait:?}");
        }
        for asked in [61, 86_400, u64::MAX].map(Duration::from_secs) {
            assert_eq!(Backoff::new(second, longest).after_refusal(asked), longest);
        }
    }
}

//! How long to wait for a server that was late.
//!
//! A request whose response did not arrive in time may have been processed, so sending it again may store its events
//! twice. Waiting longer avoids that where the server is slow rather than gone.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The configured timeout is doubled at most this often.
const MOST_DOUBLINGS: u32 = 3;

/// The timeout of the next request.
#[derive(Debug)]
pub(super) struct Pace {
    timeout: Duration,
    doublings: AtomicU32,
}

impl Pace {
    /// Begins with `timeout`.
    pub(super) fn new(timeout: Duration) -> Self {
        Self { timeout, doublings: AtomicU32::new(0) }
    }

    /// The configured timeout.
    pub(super) fn shortest(&self) -> Duration {
        self.timeout
    }

    pub(super) fn timeout(&self) -> Duration {
        self.after(self.doublings.load(Ordering::Relaxed))
    }

    fn after(&self, doublings: u32) -> Duration {
        self.timeout.saturating_mul(1 << doublings)
    }

    /// A request had no response within `timeout`. Requests that were sent together count once.
    pub(super) fn late(&self, timeout: Duration) {
        let longer =
            |doublings| (doublings < MOST_DOUBLINGS && self.after(doublings) == timeout).then(|| doublings + 1);
        // Nothing changes where another request has lengthened it already.
        self.doublings.fetch_update(Ordering::Relaxed, Ordering::Relaxed, longer).ok();
    }

    /// A response arrived after `time`: a server that is fast again gets the configured timeout.
    pub(super) fn answered(&self, time: Duration) {
        if time < self.timeout / 2 {
            self.doublings.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_server_gets_more_time_until_it_is_fast_again() {
        let seconds = Duration::from_secs;
        let pace = Pace::new(seconds(30));
        for (late_after, next) in [(30, 60), (30, 60), (60, 120), (120, 240), (240, 240)] {
            pace.late(seconds(late_after));
            assert_eq!(pace.timeout(), seconds(next), "late after {late_after} s");
        }
        pace.answered(seconds(35));
        assert_eq!(pace.timeout(), seconds(240));
        pace.answered(seconds(1));
        assert_eq!(pace.timeout(), seconds(30));
    }
}

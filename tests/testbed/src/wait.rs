//! Waiting for a state, with a limit.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

/// Calls `probe` until it returns `Ok`, and returns that.
///
/// `probe`'s error describes the state it saw; after `limit`, the last of these becomes part of the returned error.
/// `what` completes the sentence "waited for ...". The pause between two calls grows from 5 to 100 ms.
#[allow(clippy::disallowed_methods, reason = "polls a state, in a test")]
pub fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let mut pause = Duration::from_millis(5);
    loop {
        let seen = match probe() {
            Ok(value) => return Ok(value),
            Err(seen) => seen,
        };
        if start.elapsed() >= limit {
            return Err(anyhow!("{seen:#}").context(format!("waited {limit:?} for {what}; last seen")));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

//! Appending until it succeeds.

use std::time::Duration;

use kerntrail_common::backoff::Backoff;
use kerntrail_common::error::chain;

use crate::log::{EventLog, LogError, Message, Topic};

const FIRST_DELAY: Duration = Duration::from_millis(20);
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// Appends `messages`, with retries while the log is full or fails temporarily: backpressure.
///
/// A caller that must end sooner drops the future; the messages may then be in the log, or not.
///
/// Errors: only permanent ones.
pub async fn append_patiently(log: &dyn EventLog, topic: &Topic, messages: Vec<Message>) -> Result<(), LogError> {
    let mut backoff = Backoff::new(FIRST_DELAY, LONGEST_DELAY);
    loop {
        // Copies headers only: payloads are shared.
        match log.append(topic, messages.clone()).await {
            Err(error @ (LogError::Full { .. } | LogError::Failed { retriable: true, .. })) => {
                if backoff.failures() == 0 {
                    tracing::warn!(%topic, error = chain(&error), "cannot append; retrying");
                }
            }
            outcome => return outcome,
        }
        tokio::time::sleep(backoff.after_failure()).await;
    }
}

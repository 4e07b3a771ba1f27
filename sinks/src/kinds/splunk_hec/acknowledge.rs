//! Waiting until indexers acknowledge a request.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::OnceCell;
use tokio::time::Instant;
use uuid::Uuid;

use super::request::Requests;
use crate::http::{Answer, NoAnswer};
use crate::outcome::Outcome;

/// What to do about a token without acknowledgements.
const NOT_GIVEN: &str = "the token gives no acknowledgements: enable them in Splunk, or set acknowledge = false";

/// The channels that are free, and how long to wait.
pub(super) struct Acknowledgements {
    /// Set once the server has answered a query for an acknowledgement.
    checked: OnceCell<()>,
    /// An event was accepted without an id: to send more would store them again and again.
    is_missing: AtomicBool,
    /// Channels whose last request was acknowledged.
    free: Mutex<Vec<String>>,
    timeout: Duration,
    interval: Duration,
}

/// Code of the response of a token without acknowledgements.
const ACK_IS_DISABLED: u32 = 14;

#[derive(Deserialize)]
struct Refusal {
    code: u32,
}

fn code(answer: &Answer) -> Option<u32> {
    serde_json::from_slice::<Refusal>(&answer.body).ok().map(|refusal| refusal.code)
}

#[derive(Deserialize)]
struct Acks {
    acks: HashMap<String, bool>,
}

/// Status of a request's acknowledgement.
#[derive(Debug, PartialEq)]
enum Status {
    Yes,
    NotYet,
    /// The server does not give acknowledgements.
    Refused(String),
}

impl Acknowledgements {
    pub(super) fn new(timeout: Duration, interval: Duration) -> Self {
        let (checked, is_missing) = (OnceCell::new(), AtomicBool::new(false));
        Self { checked, is_missing, free: Mutex::default(), timeout, interval }
    }

    /// Asks for an acknowledgement, before there is one to be had, until the server has answered once.
    ///
    /// Errors: what it means for all records that it does not.
    pub(super) async fn check(&self, requests: &Requests) -> Result<(), Outcome> {
        if self.is_missing.load(Ordering::Relaxed) {
            return Err(Outcome::Pause { alert: format!("{NOT_GIVEN}; then restart") });
        }
        let check = async || {
            let query = requests.acknowledgement(&Uuid::new_v4().to_string(), 0);
            let answer = requests.ask(query).await.map_err(NoAnswer::outcome)?;
            match read(&answer, 0) {
                Status::Refused(words) if code(&answer) == Some(ACK_IS_DISABLED) => {
                    Err(Outcome::Pause { alert: format!("{NOT_GIVEN} ({words})") })
                }
                Status::Refused(alert) => Err(Outcome::Pause { alert }),
                Status::NotYet if answer.status != 200 => {
                    Err(Outcome::Retry { after: answer.retry_after, words: answer.words() })
                }
                Status::Yes | Status::NotYet => Ok(()),
            }
        };
        self.checked.get_or_try_init(check).await.map(drop)
    }

    /// The response to events has no id.
    pub(super) fn missing(&self) -> Outcome {
        self.is_missing.store(true, Ordering::Relaxed);
        Outcome::Pause { alert: format!("{NOT_GIVEN}; then restart") }
    }

    /// A channel that no other request uses until [`Acknowledgements::wait`] gives it back.
    pub(super) fn channel(&self) -> String {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        free.unwrap_or_else(|| Uuid::new_v4().to_string())
    }

    /// Waits until the request `id` on `channel` is acknowledged.
    ///
    /// If it is not, the outcome is to send the events again, on another channel, in smaller requests.
    pub(super) async fn wait(&self, requests: &Requests, channel: String, id: u64) -> Outcome {
        let end = Instant::now() + self.timeout;
        loop {
            let status = match requests.ask(requests.acknowledgement(&channel, id)).await {
                Ok(answer) => read(&answer, id),
                // The server may be unreachable for a moment. After a restart it answers "not yet" until the timeout.
                Err(_) => Status::NotYet,
            };
            match status {
                Status::Yes => {
                    self.free.lock().unwrap_or_else(PoisonError::into_inner).push(channel);
                    return Outcome::Delivered;
                }
                Status::Refused(alert) => return Outcome::Pause { alert },
                Status::NotYet if Instant::now() >= end => {
                    return Outcome::Late { words: format!("not acknowledged within {} s", self.timeout.as_secs()) };
                }
                Status::NotYet => tokio::time::sleep(self.interval).await,
            }
        }
    }
}

fn read(answer: &Answer, id: u64) -> Status {
    if let (200, Ok(Acks { acks })) = (answer.status, serde_json::from_slice(&answer.body)) {
        return if acks.get(&id.to_string()).copied().unwrap_or(false) { Status::Yes } else { Status::NotYet };
    }
    let passing = answer.status >= 500 || answer.status == 429;
    if passing { Status::NotYet } else { Status::Refused(answer.words()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_of_acknowledgement_responses() {
        for (status, body, expected) in [
            (200, r#"{"acks":{"3":true}}"#, "Yes"),
            (200, r#"{"acks":{"3":false}}"#, "NotYet"),
            (200, r#"{"acks":{}}"#, "NotYet"),
            (503, r#"{"text":"Server is busy","code":9}"#, "NotYet"),
            (400, r#"{"text":"ACK is disabled","code":14}"#, "Refused"),
            (403, r#"{"text":"Invalid token","code":4}"#, "Refused"),
            (500, r#"{"text":"Internal server error","code":8}"#, "NotYet"),
        ] {
            let said = read(&Answer { status, retry_after: None, body: body.into() }, 3);
            assert!(format!("{said:?}").starts_with(expected), "{status} {body}: {said:?}");
        }
    }

    #[test]
    fn a_channel_is_used_again_only_after_an_acknowledgement() {
        let acknowledgements = Acknowledgements::new(Duration::ZERO, Duration::ZERO);
        let first = acknowledgements.channel();
        assert_ne!(first, acknowledgements.channel());
        acknowledgements.free.lock().unwrap().push(first.clone());
        assert_eq!(first, acknowledgements.channel());
    }
}

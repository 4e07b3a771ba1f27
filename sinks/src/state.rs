//! What a sink is doing: for the log, the metrics, and whoever asks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::metrics;

/// Shortest time between two log lines about a state whose reason changes.
const CHANGES: Duration = Duration::from_secs(10);
/// Time after which a reason that stays the same is logged again.
const REMINDERS: Duration = Duration::from_secs(600);

/// State of a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkState {
    /// It has not delivered anything yet.
    Started,
    /// The destination accepts events.
    Running,
    /// The destination does not accept events now; the sink retries.
    Retrying {
        /// Its last message, or why there was no response.
        words: String,
    },
    /// The destination accepts nothing until an operator fixes something.
    Paused {
        /// What is wrong.
        alert: String,
    },
    /// [`Sink::run`](crate::Sink::run) has returned.
    Stopped,
}

impl SinkState {
    /// Names of all states, as in [`SinkState::name`].
    pub const NAMES: [&str; 5] = ["started", "running", "retrying", "paused", "stopped"];

    /// The state without its reason.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Running => "running",
            Self::Retrying { .. } => "retrying",
            Self::Paused { .. } => "paused",
            Self::Stopped => "stopped",
        }
    }

    /// Why it is not running.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Retrying { words: reason } | Self::Paused { alert: reason } => Some(reason),
            Self::Started | Self::Running | Self::Stopped => None,
        }
    }
}

/// The state of a sink, as other programs read it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SinkStatus {
    /// Name of the sink.
    pub name: String,
    /// The state, as [`SinkState::name`] names it.
    pub state: String,
    /// Since when, RFC 3339.
    pub since: String,
    /// Why it is not running.
    pub reason: Option<String>,
}

/// Reads the state of a sink while it runs.
#[derive(Clone)]
pub struct StatusReader {
    sink: String,
    state: watch::Receiver<SinkState>,
    since: Arc<Mutex<DateTime<Utc>>>,
}

impl StatusReader {
    /// The state now.
    pub fn status(&self) -> SinkStatus {
        let state = self.state.borrow().clone();
        let since = *self.since.lock().unwrap_or_else(PoisonError::into_inner);
        SinkStatus {
            name: self.sink.clone(),
            state: state.name().to_owned(),
            since: since.to_rfc3339_opts(SecondsFormat::Secs, true),
            reason: state.reason().map(str::to_owned),
        }
    }
}

/// Publishes the state of a sink.
pub(crate) struct StateReporter {
    sink: String,
    state: watch::Sender<SinkState>,
    since: Arc<Mutex<DateTime<Utc>>>,
    /// What was logged last, and when.
    logged: Mutex<Option<(Instant, SinkState)>>,
}

impl StateReporter {
    pub(crate) fn new(sink: &str) -> Self {
        let (state, _) = watch::channel(SinkState::Started);
        let since = Arc::new(Mutex::new(Utc::now()));
        Self { sink: sink.to_owned(), state, since, logged: Mutex::new(None) }
    }

    /// The state, now and at each change.
    pub(crate) fn subscribe(&self) -> watch::Receiver<SinkState> {
        self.state.subscribe()
    }

    /// A reader that can be asked from elsewhere.
    pub(crate) fn reader(&self) -> StatusReader {
        StatusReader { sink: self.sink.clone(), state: self.state.subscribe(), since: Arc::clone(&self.since) }
    }

    /// Publishes `state`. Logs it when it is another one, when its reason changed, and now and then.
    pub(crate) fn report(&self, state: SinkState) {
        self.state.send_if_modified(|current| {
            let is_other = current.name() != state.name();
            let is_new = *current != state;
            if self.is_due(is_other, &state) {
                self.log(&state);
            }
            if is_other {
                *self.since.lock().unwrap_or_else(PoisonError::into_inner) = Utc::now();
                self.measure(&state);
            }
            *current = state;
            is_new
        });
    }

    /// Whether `state` is to be logged: it is another one, it differs from what was logged, or that was long ago.
    fn is_due(&self, is_other: bool, state: &SinkState) -> bool {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = is_other
            || logged
                .as_ref()
                .is_none_or(|(at, logged)| at.elapsed() >= if logged == state { REMINDERS } else { CHANGES });
        if is_due {
            *logged = Some((Instant::now(), state.clone()));
        }
        is_due
    }

    fn log(&self, state: &SinkState) {
        let sink = &self.sink;
        match state {
            SinkState::Paused { alert } => tracing::error!(sink, alert, "the sink is paused"),
            SinkState::Retrying { words } => {
                tracing::warn!(sink, words, "the destination does not accept events; retrying")
            }
            SinkState::Running => tracing::info!(sink, "the destination accepts events"),
            SinkState::Started | SinkState::Stopped => {}
        }
    }

    /// Sets the metrics to `state`.
    pub(crate) fn measure(&self, state: &SinkState) {
        let set = |name, labels: &[(&'static str, String)], is: bool| {
            ::metrics::gauge!(name, labels).set(if is { 1.0 } else { 0.0 });
        };
        let sink = ("sink", self.sink.clone());
        set(metrics::PAUSED, std::slice::from_ref(&sink), state.name() == "paused");
        for name in SinkState::NAMES {
            set(metrics::STATE, &[sink.clone(), ("state", name.to_owned())], state.name() == name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_has_the_reason_and_the_time_of_the_change() {
        let reporter = StateReporter::new("s");
        let reader = reporter.reader();
        assert_eq!((reader.status().state.as_str(), reader.status().reason), ("started", None));
        reporter.report(SinkState::Retrying { words: "refused".into() });
        let since = reader.status().since;
        reporter.report(SinkState::Retrying { words: "HTTP 503".into() });
        let status = reader.status();
        assert_eq!((status.state.as_str(), status.reason.as_deref()), ("retrying", Some("HTTP 503")));
        assert_eq!(status.since, since);
        reporter.report(SinkState::Running);
        assert_eq!((reader.status().state.as_str(), reader.status().reason), ("running", None));
    }

    #[test]
    fn what_is_logged() {
        let reporter = StateReporter::new("s");
        let state = |words: &str| SinkState::Retrying { words: words.to_owned() };
        let logged_before = |time| {
            let mut logged = reporter.logged.lock().unwrap();
            let state = logged.take().unwrap().1;
            *logged = Instant::now().checked_sub(time).map(|at| (at, state));
        };
        assert!(reporter.is_due(true, &state("refused")));
        assert!(!reporter.is_due(false, &state("refused")) && !reporter.is_due(false, &state("HTTP 503")));
        logged_before(CHANGES);
        // What was not logged when it changed is logged as soon as it may be.
        assert!(!reporter.is_due(false, &state("refused")) && reporter.is_due(false, &state("HTTP 503")));
        assert!(!reporter.is_due(false, &state("HTTP 503")));
        logged_before(REMINDERS);
        assert!(reporter.is_due(false, &state("HTTP 503")));
    }
}

//! Packs records into requests and sends them until each record is delivered or is a dead letter.
//!
//! [`settle`] holds the logic of retries and splits, without IO; [`Delivery`] waits, sends and writes dead letters
//! accordingly.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use kerntrail_common::backoff::Backoff;
use kerntrail_common::error::chain;
use kerntrail_schemas::Table;
use tokio_util::sync::CancellationToken;

use crate::config::Settings;
use crate::destination::{Destination, Record};
use crate::dlq::{Content, Letter, Letters};
use crate::metrics;
use crate::outcome::{Outcome, Reason};
use crate::state::{SinkState, StateReporter};

/// Shortest time between two log lines about dead letters; every dead letter is counted.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// Requests without a response in time, one after another, after which the sink pauses.
const MOST_LATE: u32 = 3;

/// What to do after one request.
#[derive(Debug, Default)]
pub struct Settled {
    /// Records delivered.
    pub delivered: Vec<Record>,
    /// Records that the destination will never accept.
    pub dead: Vec<(Record, Reason, String)>,
    /// Requests to send next, in this order.
    pub next: Vec<Vec<Record>>,
    /// How long to wait before that.
    pub wait: Wait,
    /// There was no response in time.
    pub is_late: bool,
}

/// How long to wait before the next request.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Wait {
    /// Not at all: the server accepts events.
    #[default]
    No,
    /// For a backoff, and at least for `after`.
    Backoff {
        /// The wait that the server asked for.
        after: Duration,
        /// The server's message.
        words: String,
    },
    /// For the longest backoff, and raise an alert.
    Pause {
        /// What is wrong.
        alert: String,
    },
}

/// Sorts `records` by their `outcomes`, which are in the same order.
pub fn settle(records: Vec<Record>, outcomes: Vec<Outcome>) -> Settled {
    let mut settled = Settled::default();
    let (mut again, mut split, mut late) = (Vec::new(), Vec::new(), Vec::new());
    let mut split_words = String::new();
    // A record without an outcome counts as not delivered.
    let outcomes =
        outcomes.into_iter().chain(std::iter::repeat_with(|| Outcome::retry("the response does not mention it")));
    for (record, outcome) in records.into_iter().zip(outcomes) {
        match outcome {
            Outcome::Delivered => settled.delivered.push(record),
            Outcome::DeadLetter { reason, words } => settled.dead.push((record, reason, words)),
            Outcome::Retry { after, words } => {
                settled.wait.at_least_backoff(after, words);
                again.push(record);
            }
            Outcome::Late { words } => {
                settled.wait.at_least_backoff(None, words);
                settled.is_late = true;
                late.push(record);
            }
            Outcome::Split { words } => {
                split.push(record);
                split_words = words;
            }
            Outcome::Pause { alert } => {
                settled.wait = Wait::Pause { alert };
                again.push(record);
            }
        }
    }
    if split.len() > 1 {
        settled.next.extend(halves(split));
    } else {
        // It was alone in its request, so it is the one that was refused.
        settled.dead.extend(split.into_iter().map(|record| (record, Reason::Refused, split_words.clone())));
    }
    settled.next.extend(halves(late));
    if !again.is_empty() {
        settled.next.push(again);
    }
    settled
}

/// `records` in two requests; one record stays in one.
fn halves(mut records: Vec<Record>) -> impl Iterator<Item = Vec<Record>> {
    let second = records.split_off(records.len().div_ceil(2));
    [records, second].into_iter().filter(|half| !half.is_empty())
}

impl Wait {
    fn at_least_backoff(&mut self, after: Option<Duration>, words: String) {
        match (&mut *self, after) {
            // The server asked for an immediate retry.
            (Self::No, Some(Duration::ZERO)) | (Self::Pause { .. }, _) => {}
            (Self::No, after) => *self = Self::Backoff { after: after.unwrap_or_default(), words },
            (Self::Backoff { after: so_far, .. }, after) => *so_far = (*so_far).max(after.unwrap_or_default()),
        }
    }

    /// The same with an alert: what was sent may have arrived each time, so it is not sent again soon.
    fn until_repaired(self) -> Self {
        match self {
            Self::Backoff { words, .. } => Self::Pause { alert: format!("the server is too slow: {words}") },
            other => other,
        }
    }
}

/// Which row of which message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowPlace {
    /// Number of the message.
    pub message: usize,
    /// Number of the row among its rows.
    pub row: u32,
}

impl RowPlace {
    fn of(record: &Record) -> Self {
        Self { message: record.message, row: record.place }
    }
}

/// What is called with the rows that were settled by a request.
pub type OnSettled<'a> = dyn Fn(&[RowPlace]) + Sync + 'a;

/// When a sink has to stop.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// It reads nothing more, and delivers what it has read.
    pub asked: CancellationToken,
    /// It sends nothing more.
    pub now: CancellationToken,
}

/// Delivers records to one destination.
pub struct Delivery {
    settings: Settings,
    destination: Box<dyn Destination>,
    letters: Arc<Letters>,
    state: Arc<StateReporter>,
    unlogged: Mutex<Unlogged>,
}

/// Dead letters since the last log line about them.
#[derive(Default)]
struct Unlogged {
    /// When that line was written.
    since: Option<Instant>,
    dead: u64,
}

impl Delivery {
    /// Delivers to `destination`, and writes what it refuses to `letters`.
    pub(crate) fn new(
        settings: Settings,
        destination: Box<dyn Destination>,
        letters: Arc<Letters>,
        state: Arc<StateReporter>,
    ) -> Self {
        Self { settings, destination, letters, state, unlogged: Mutex::default() }
    }

    /// The destination.
    pub fn destination(&self) -> &dyn Destination {
        self.destination.as_ref()
    }

    /// Sends `records` until each is delivered or is a dead letter, or until `stop`; says after each request to `settled`
    /// which are.
    ///
    /// Returns the records that are neither. Whether a request in flight at `stop` arrived is not known.
    pub async fn deliver(&self, records: Vec<Record>, stop: &Stop, settled: &OnSettled<'_>) -> Vec<Record> {
        let requests = pack(records, self.settings.delivery.batch_events(), self.settings.delivery.batch_bytes());
        let in_flight = requests.into_iter().map(|request| self.deliver_request(request, stop, settled));
        let left = futures::stream::iter(in_flight).buffer_unordered(self.settings.concurrency);
        left.collect::<Vec<_>>().await.concat()
    }

    /// Sends one request, and those that it is split into, until all are settled.
    async fn deliver_request(&self, request: Vec<Record>, stop: &Stop, on_settled: &OnSettled<'_>) -> Vec<Record> {
        let mut waiting = VecDeque::from([request]);
        let mut backoff = self.settings.delivery.backoff();
        let mut late = 0;
        while let Some(request) = waiting.pop_front() {
            let sent = tokio::select! {
                biased;
                () = stop.now.cancelled() => None,
                outcomes = self.destination.send(&request) => Some(outcomes),
            };
            let Some(outcomes) = sent else { return self.left(request, waiting) };
            let mut settled = settle(request, outcomes);
            late = if settled.is_late { late + 1 } else { 0 };
            if late >= MOST_LATE {
                settled.wait = settled.wait.until_repaired();
            }
            self.count_delivered(&settled.delivered);
            let dead: Vec<RowPlace> = settled.dead.iter().map(|(record, ..)| RowPlace::of(record)).collect();
            on_settled(&settled.delivered.iter().map(RowPlace::of).collect::<Vec<_>>());
            if let Err(unwritten) = self.write_dead_letters(settled.dead, stop).await {
                waiting.extend(settled.next);
                return self.left(unwritten, waiting);
            }
            on_settled(&dead);
            for request in settled.next.into_iter().rev() {
                waiting.push_front(request);
            }
            match self.pause(&settled.wait, &mut backoff) {
                Some(time) => {
                    let patience = self.patience(&settled.wait, stop);
                    self.sleep(time, patience).await;
                    if patience.is_cancelled() {
                        return waiting.into_iter().flatten().collect();
                    }
                }
                None => {
                    backoff.reset();
                    self.state.report(SinkState::Running);
                }
            }
        }
        Vec::new()
    }

    fn left(&self, first: Vec<Record>, waiting: VecDeque<Vec<Record>>) -> Vec<Record> {
        first.into_iter().chain(waiting.into_iter().flatten()).collect()
    }

    /// How long to wait; publishes why.
    fn pause(&self, wait: &Wait, backoff: &mut Backoff) -> Option<Duration> {
        match wait {
            Wait::No => None,
            Wait::Backoff { after, words } => {
                ::metrics::counter!(metrics::RETRIES, "sink" => self.settings.name.clone()).increment(1);
                self.state.report(SinkState::Retrying { words: words.clone() });
                Some(backoff.after_refusal(*after))
            }
            Wait::Pause { alert } => {
                self.state.report(SinkState::Paused { alert: alert.clone() });
                Some(backoff.longest())
            }
        }
    }

    /// What ends a wait: a stopping sink still waits for a busy destination, but not for one that has to be repaired.
    fn patience<'a>(&self, wait: &Wait, stop: &'a Stop) -> &'a CancellationToken {
        if matches!(wait, Wait::Pause { .. }) { &stop.asked } else { &stop.now }
    }

    async fn sleep(&self, time: Duration, end: &CancellationToken) {
        tokio::select! {
            () = end.cancelled() => {}
            () = tokio::time::sleep(time) => {}
        }
    }

    /// Writes dead letters; waits while their number is at its limit.
    ///
    /// Errors: the sink was stopped before; these records are not written.
    async fn write_dead_letters(&self, dead: Vec<(Record, Reason, String)>, stop: &Stop) -> Result<(), Vec<Record>> {
        let mut dead = dead.into_iter();
        while let Some((record, reason, words)) = dead.next() {
            let letter = self.letter(&record, reason, words);
            if !self.keep(&letter, stop).await {
                return Err(std::iter::once(record).chain(dead.map(|(record, ..)| record)).collect());
            }
        }
        Ok(())
    }

    fn letter(&self, record: &Record, reason: Reason, words: String) -> Letter {
        let content = Content::Row(record.row.clone());
        Letter::new(&self.settings.name, record.table, record.event_id.clone(), reason, words, content)
    }

    /// Writes `letter`, and waits while it cannot be written. `false`: the sink was stopped before.
    pub async fn keep(&self, letter: &Letter, stop: &Stop) -> bool {
        loop {
            let alert = match self.letters.write(letter) {
                Ok(true) => break,
                Ok(false) => format!(
                    "the limit of {} dead letters is reached: see `kerntrail sinks dlq`, then replay or purge them",
                    self.settings.delivery.dead_letters()
                ),
                Err(error) => chain(&error),
            };
            self.state.report(SinkState::Paused { alert });
            if stop.asked.is_cancelled() {
                return false;
            }
            self.sleep(self.settings.delivery.backoff_max(), &stop.asked).await;
        }
        let labels = [("sink", self.settings.name.clone()), ("reason", letter.reason.word().to_owned())];
        ::metrics::counter!(metrics::EVENTS_DEAD, &labels).increment(1);
        self.log(letter);
        true
    }

    /// Logs a dead letter, unless one was logged a moment ago; the next line has their number.
    fn log(&self, letter: &Letter) {
        let mut unlogged = self.unlogged.lock().unwrap_or_else(PoisonError::into_inner);
        unlogged.dead += 1;
        if unlogged.since.is_some_and(|since| since.elapsed() < LOG_INTERVAL) {
            return;
        }
        tracing::warn!(
            sink = self.settings.name,
            events = unlogged.dead,
            event_id = letter.event_id,
            reason = letter.reason.word(),
            words = letter.words,
            "events became dead letters"
        );
        *unlogged = Unlogged { since: Some(Instant::now()), dead: 0 };
    }

    fn count_delivered(&self, delivered: &[Record]) {
        for &table in Table::ALL {
            let count = delivered.iter().filter(|record| record.table == table).count() as u64;
            if count > 0 {
                let labels = [("sink", self.settings.name.clone()), ("table", table.name().to_owned())];
                ::metrics::counter!(metrics::EVENTS_OUT, &labels).increment(count);
            }
        }
    }
}

/// `records` in requests of at most `max_events` and `max_bytes`; a larger record is sent alone.
pub(crate) fn pack(records: Vec<Record>, max_events: usize, max_bytes: usize) -> Vec<Vec<Record>> {
    let mut requests: Vec<Vec<Record>> = Vec::new();
    let mut bytes = 0;
    for record in records {
        let size = record.bytes.len();
        let fits = requests.last().is_some_and(|last| last.len() < max_events && bytes + size <= max_bytes);
        if !fits {
            requests.push(Vec::new());
            bytes = 0;
        }
        bytes += size;
        if let Some(last) = requests.last_mut() {
            last.push(record);
        }
    }
    requests
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kerntrail_schemas::mapping::Row;

    use super::*;

    fn records(sizes: &[usize]) -> Vec<Record> {
        let record = |(number, size): (usize, &usize)| Record {
            table: Table::ProcessEvents,
            event_id: number.to_string(),
            row: Row::new(),
            bytes: Bytes::from(vec![0; *size]),
            message: 0,
            place: 0,
        };
        sizes.iter().enumerate().map(record).collect()
    }

    fn ids(records: &[Record]) -> String {
        records.iter().map(|record| record.event_id.as_str()).collect::<Vec<_>>().join("")
    }

    #[test]
    fn requests_stay_within_both_limits() {
        for (sizes, max_events, max_bytes, expected) in [
            (&[][..], 2, 10, ""),
            (&[1, 1, 1], 2, 10, "01 2"),
            (&[4, 4, 4], 9, 10, "01 2"),
            (&[99, 1, 99], 9, 10, "0 1 2"),
            (&[5, 5, 1], 9, 10, "01 2"),
        ] {
            let requests = pack(records(sizes), max_events, max_bytes);
            assert_eq!(requests.iter().map(|request| ids(request)).collect::<Vec<_>>().join(" "), expected);
        }
    }

    /// Outcomes as letters: Delivered, Retry, Now, Late, Split, dead letter (X), Pause.
    fn outcomes(letters: &str) -> Vec<Outcome> {
        let outcome = |letter| match letter {
            'D' => Outcome::Delivered,
            'R' => Outcome::retry("busy"),
            'N' => Outcome::Retry { after: Some(Duration::ZERO), words: "beside".into() },
            'S' => Outcome::Split { words: "bad request".into() },
            'L' => Outcome::Late { words: "30 s".into() },
            'X' => Outcome::DeadLetter { reason: Reason::Refused, words: "wrong type".into() },
            _ => Outcome::Pause { alert: "token".into() },
        };
        letters.chars().map(outcome).collect()
    }

    #[test]
    fn outcomes_decide_the_next_requests() {
        // outcomes: delivered, dead, next requests, wait
        for (letters, delivered, dead, next, wait) in [
            ("DDDD", "0123", "", "", "No"),
            ("RRRR", "", "", "0123", "Backoff"),
            ("DXNN", "0", "1", "23", "No"),
            ("DXD", "02", "1", "", "No"),
            ("NRN", "", "", "012", "Backoff"),
            ("SSSS", "", "", "01 23", "No"),
            ("SSS", "", "", "01 2", "No"),
            ("LLLL", "", "", "01 23", "Backoff"),
            ("L", "", "", "0", "Backoff"),
            ("SS", "", "", "0 1", "No"),
            ("S", "", "0", "", "No"),
            ("DSSR", "0", "", "1 2 3", "Backoff"),
            ("PPP", "", "", "012", "Pause"),
            ("DPX", "0", "2", "1", "Pause"),
            ("PR", "", "", "01", "Pause"),
            ("RP", "", "", "01", "Pause"),
        ] {
            let settled = settle(records(&vec![1; letters.len()]), outcomes(letters));
            let next_ids: Vec<String> = settled.next.iter().map(|request| ids(request)).collect();
            let dead_records: Vec<Record> = settled.dead.into_iter().map(|(record, ..)| record).collect();
            assert_eq!(ids(&settled.delivered), delivered, "{letters}");
            assert_eq!(ids(&dead_records), dead, "{letters}");
            assert_eq!(next_ids.join(" "), next, "{letters}");
            assert!(format!("{:?}", settled.wait).starts_with(wait), "{letters}: {:?}", settled.wait);
        }
    }

    #[test]
    fn the_longest_wait_that_the_server_requested_is_used() {
        let asked = |seconds| Outcome::Retry { after: Some(Duration::from_secs(seconds)), words: "busy".into() };
        let settled = settle(records(&[1, 1, 1]), vec![asked(3), asked(9), Outcome::retry("busy")]);
        assert_eq!(settled.wait, Wait::Backoff { after: Duration::from_secs(9), words: "busy".into() });
    }
}

//! What a HEC response means for each event of the request.
//!
//! The codes are those that Splunk documents ("Troubleshoot HTTP Event Collector", possible error codes).

use std::time::Duration;

use serde::Deserialize;

use super::config::BeforeRefused;
use crate::http::Answer;
use crate::outcome::{Outcome, Reason};

/// Wait after codes 24 and 25, unless the server asks for another.
const SLOW_DOWN: Duration = Duration::from_secs(5);

/// A decoded response.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    /// One for each event.
    pub outcomes: Vec<Outcome>,
    /// Id of the acknowledgement.
    pub ack_id: Option<u64>,
}

#[derive(Deserialize)]
struct Body {
    code: Option<u16>,
    #[serde(rename = "invalid-event-number")]
    invalid_event_number: Option<usize>,
    #[serde(rename = "ackId")]
    ack_id: Option<u64>,
}

/// Decodes the response to a request with `events` events.
pub(crate) fn read(answer: &Answer, events: usize, before_refused: BeforeRefused) -> Read {
    let body = serde_json::from_slice::<Body>(&answer.body).ok();
    let code = body.as_ref().and_then(|body| body.code);
    let words = answer.words();
    let retry = |after: Option<Duration>| Outcome::Retry { after: answer.retry_after.or(after), words: words.clone() };
    let outcomes = match (code, answer.status) {
        // Without the code the response may come from a proxy, and the events are not indexed.
        (Some(0), 200..=299) => Outcome::Delivered.all(events),
        // The index is configured, and the same for all.
        (Some(7), _) => {
            let refused = body.as_ref().and_then(|body| body.invalid_event_number).unwrap_or(0).min(events);
            let mut outcomes = before(refused, before_refused);
            outcomes.extend(Outcome::Pause { alert: words }.all(events - refused));
            outcomes
        }
        (Some(6 | 12 | 13 | 15), _) => match body.as_ref().and_then(|body| body.invalid_event_number) {
            Some(refused) if refused < events => around(refused, events, before_refused, &words),
            _ => Outcome::Split { words }.all(events),
        },
        (Some(8 | 9 | 18..=20 | 23 | 26 | 27), _) => busy(body.as_ref(), events, before_refused, retry(None)),
        (Some(24 | 25), _) => retry(Some(SLOW_DOWN)).all(events),
        (Some(1..=4 | 10 | 11 | 14 | 16 | 21 | 22), _) => Outcome::Pause { alert: words }.all(events),
        (_, 413) => Outcome::Split { words }.all(events),
        (_, 408 | 425 | 429 | 500..=599) => retry(None).all(events),
        (_, 400) => Outcome::Split { words }.all(events),
        // This address has no HEC, or something in front of it refuses access.
        _ => Outcome::Pause { alert: words }.all(events),
    };
    Read { outcomes, ack_id: body.and_then(|body| body.ack_id) }
}

/// Event number `refused` is a dead letter; the server did not process those after it.
fn around(refused: usize, events: usize, before_refused: BeforeRefused, words: &str) -> Vec<Outcome> {
    let mut outcomes = before(refused, before_refused);
    outcomes.push(Outcome::DeadLetter { reason: Reason::Refused, words: words.to_owned() });
    outcomes.extend(again().all(events - refused - 1));
    outcomes
}

/// A server that becomes busy in the middle of a request responds in the same way.
fn busy(body: Option<&Body>, events: usize, before_refused: BeforeRefused, retry: Outcome) -> Vec<Outcome> {
    let stopped_at = body.and_then(|body| body.invalid_event_number).unwrap_or(0).min(events);
    let mut outcomes = before(stopped_at, before_refused);
    outcomes.extend(retry.all(events - stopped_at));
    outcomes
}

fn before(place: usize, before_refused: BeforeRefused) -> Vec<Outcome> {
    match before_refused {
        BeforeRefused::Indexed => Outcome::Delivered.all(place),
        BeforeRefused::Discarded => again().all(place),
    }
}

/// Retry immediately: the server accepts events.
fn again() -> Outcome {
    Outcome::Retry { after: Some(Duration::ZERO), words: "was in a request with a refused event".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer's outcomes as letters: Delivered, Retry, Now (retry at once), Split, dead letter (X), Pause.
    fn letters(status: u16, body: &str, before: BeforeRefused) -> String {
        let answer = Answer { status, retry_after: None, body: body.to_owned().into() };
        let letter = |outcome: &Outcome| match outcome {
            Outcome::Delivered => 'D',
            Outcome::Retry { after: Some(Duration::ZERO), .. } => 'N',
            Outcome::Retry { .. } => 'R',
            Outcome::Split { .. } => 'S',
            Outcome::DeadLetter { .. } => 'X',
            Outcome::Pause { .. } => 'P',
            Outcome::Late { .. } => 'L',
        };
        read(&answer, 4, before).outcomes.iter().map(letter).collect()
    }

    #[test]
    fn outcomes_of_every_documented_code() {
        for (status, body, expected) in [
            (200, r#"{"text":"Success","code":0}"#, "DDDD"),
            (200, "", "PPPP"),
            (204, "", "PPPP"),
            (200, r#"{"status":"ok"}"#, "PPPP"),
            (403, r#"{"text":"Token disabled","code":1}"#, "PPPP"),
            (401, r#"{"text":"Token is required","code":2}"#, "PPPP"),
            (401, r#"{"text":"Invalid authorization","code":3}"#, "PPPP"),
            (403, r#"{"text":"Invalid token","code":4}"#, "PPPP"),
            (400, r#"{"text":"No data","code":5}"#, "SSSS"),
            (400, r#"{"text":"Invalid data format","code":6,"invalid-event-number":0}"#, "XNNN"),
            (400, r#"{"text":"Invalid data format","code":6}"#, "SSSS"),
            (400, r#"{"text":"Incorrect index","code":7,"invalid-event-number":1}"#, "DPPP"),
            (400, r#"{"text":"Incorrect index","code":7}"#, "PPPP"),
            (500, r#"{"text":"Internal server error","code":8}"#, "RRRR"),
            (503, r#"{"text":"Server is busy","code":9}"#, "RRRR"),
            (503, r#"{"text":"Server is busy","code":9,"invalid-event-number":3}"#, "DDDR"),
            (400, r#"{"text":"Data channel is missing","code":10}"#, "PPPP"),
            (400, r#"{"text":"Invalid data channel","code":11}"#, "PPPP"),
            (400, r#"{"text":"Event field is required","code":12,"invalid-event-number":3}"#, "DDDX"),
            (400, r#"{"text":"Event field cannot be blank","code":13,"invalid-event-number":2}"#, "DDXN"),
            (400, r#"{"text":"ACK is disabled","code":14}"#, "PPPP"),
            (400, r#"{"text":"Error in handling indexed fields","code":15,"invalid-event-number":9}"#, "SSSS"),
            (400, r#"{"text":"Query string authorization is not enabled","code":16}"#, "PPPP"),
            (503, r#"{"text":"HEC is unhealthy, queues are full","code":18}"#, "RRRR"),
            (503, r#"{"text":"HEC is unhealthy, ack service unavailable","code":19}"#, "RRRR"),
            (503, r#"{"text":"HEC is unhealthy","code":20}"#, "RRRR"),
            (400, r#"{"text":"Invalid token","code":21}"#, "PPPP"),
            (400, r#"{"text":"Token disabled","code":22}"#, "PPPP"),
            (503, r#"{"text":"Server is shutting down","code":23}"#, "RRRR"),
            (429, r#"{"text":"too fast","code":24}"#, "RRRR"),
            (429, r#"{"text":"too fast","code":25}"#, "RRRR"),
            (429, r#"{"text":"queue at capacity","code":26}"#, "RRRR"),
            (429, r#"{"text":"ack channel at capacity","code":27}"#, "RRRR"),
            (413, "<html>Content-Length too large</html>", "SSSS"),
            (502, "<html>Bad gateway</html>", "RRRR"),
            (404, r#"{"text":"The requested URL was not found on this server.","code":404}"#, "PPPP"),
            (302, "", "PPPP"),
            (200, "<html>please log in</html>", "PPPP"),
        ] {
            assert_eq!(letters(status, body, BeforeRefused::Indexed), expected, "{status} {body}");
        }
    }

    #[test]
    fn discarded_events_before_a_refused_one_are_sent_again() {
        let body = r#"{"text":"Invalid data format","code":6,"invalid-event-number":2}"#;
        assert_eq!(letters(400, body, BeforeRefused::Discarded), "NNXN");
    }

    #[test]
    fn the_servers_message_and_retry_delay_are_kept() {
        let body = r#"{"text":"Invalid data format","code":6,"invalid-event-number":0}"#;
        let answer = Answer { status: 400, retry_after: None, body: body.into() };
        let read_it = read(&answer, 1, BeforeRefused::Indexed);
        let words = format!("HTTP 400: {body}");
        assert_eq!(read_it.outcomes, [Outcome::DeadLetter { reason: Reason::Refused, words }]);
        let wait = Some(Duration::from_secs(7));
        let busy = Answer { status: 503, retry_after: wait, body: r#"{"code":9}"#.into() };
        assert!(
            matches!(&read(&busy, 1, BeforeRefused::Indexed).outcomes[0], Outcome::Retry { after, .. } if *after == wait)
        );
        let acked = Answer { status: 200, retry_after: None, body: r#"{"text":"Success","code":0,"ackId":12}"#.into() };
        assert_eq!(read(&acked, 1, BeforeRefused::Indexed).ack_id, Some(12));
    }
}

//! The server's state and the faults that a test injects. It survives a restart, except for the acknowledgements.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::Query;
use axum::http::HeaderMap;
use serde_json::Value;

use super::acks::{Acks, Ledger};
use super::reply::{Code, Reply};
use super::token::Token;

/// An indexed event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The secret of the token that it was sent with.
    pub token: String,
    /// The channel that it was sent on.
    pub channel: Option<String>,
    /// Whether it was sent to `/raw`.
    pub raw: bool,
    /// Its index: the one it names, or the token's default.
    pub index: String,
    /// The object as it was sent (`event`, `time`, `host`, ...); for a raw line, the same built from line and query string.
    pub body: Value,
}

impl Event {
    /// The `event` field.
    pub fn event(&self) -> &Value {
        &self.body["event"]
    }
}

/// A delivery that was answered, or would have been without a fault.
#[derive(Clone, Debug)]
pub struct Request {
    /// Whether it was sent to `/raw`.
    pub raw: bool,
    /// The channel as it was sent.
    pub channel: Option<String>,
    /// Whether the body was compressed.
    pub gzip: bool,
    /// The body's length as it was sent.
    pub bytes: usize,
    /// The query string.
    pub query: HashMap<String, String>,
    /// The reply.
    pub reply: Reply,
}

impl Request {
    pub(super) fn new(
        headers: &HeaderMap,
        query: &Query<HashMap<String, String>>,
        raw: bool,
        bytes: usize,
        reply: Reply,
    ) -> Self {
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Self {
            raw,
            channel: header("x-splunk-request-channel").or_else(|| query.get("channel").cloned()),
            gzip: header("content-encoding").as_deref() == Some("gzip"),
            bytes,
            query: query.0.clone(),
            reply,
        }
    }
}

/// A fault injected into one delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is read or indexed; the reply has this code.
    Answer(Code),
    /// The connection is closed without a reply, after or instead of indexing: the client cannot know which.
    NoAnswer {
        /// Whether the events are indexed first.
        index: bool,
    },
}

type Refusal = Box<dyn Fn(&Value) -> Option<Code> + Send>;

#[derive(Default)]
struct Inner {
    tokens: Vec<Token>,
    events: Vec<Event>,
    requests: Vec<Request>,
    refusal: Option<Refusal>,
    faults: VecDeque<Fault>,
    busy: bool,
    delay: Duration,
    acks: Acks,
    ledger: Ledger,
}

/// The state shared by the handle and the HTTP side.
pub(super) struct Shared {
    pub(super) max_content_length: usize,
    inner: Mutex<Inner>,
}

impl Shared {
    pub(super) fn new(tokens: Vec<Token>, max_content_length: usize) -> Self {
        Self { max_content_length, inner: Mutex::new(Inner { tokens, ..Inner::default() }) }
    }

    /// A test's check may panic while the lock is held; the state is still consistent, so poisoning is ignored.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn authorize(&self, find: impl FnOnce(&[Token]) -> Result<Token, Code>) -> Result<Token, Code> {
        find(&self.lock().tokens)
    }

    pub(super) fn set_token(&self, token: Token) {
        let mut inner = self.lock();
        inner.tokens.retain(|other| other.value != token.value);
        inner.tokens.push(token);
    }

    pub(super) fn events(&self) -> Vec<Event> {
        self.lock().events.clone()
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.lock().requests.clone()
    }

    pub(super) fn clear(&self) {
        let mut inner = self.lock();
        inner.events.clear();
        inner.requests.clear();
    }

    pub(super) fn index(&self, events: impl Iterator<Item = Event>) {
        self.lock().events.extend(events);
    }

    pub(super) fn record(&self, request: Request) {
        self.lock().requests.push(request);
    }

    pub(super) fn set_refusal(&self, refusal: Option<Refusal>) {
        self.lock().refusal = refusal;
    }

    pub(super) fn refuses(&self, event: &Value) -> Option<Code> {
        self.lock().refusal.as_ref().and_then(|refusal| refusal(event))
    }

    pub(super) fn add_faults(&self, fault: Fault, count: usize) {
        self.lock().faults.extend(std::iter::repeat_n(fault, count));
    }

    pub(super) fn set_busy(&self, busy: bool) {
        self.lock().busy = busy;
    }

    pub(super) fn is_busy(&self) -> bool {
        self.lock().busy
    }

    pub(super) fn set_delay(&self, delay: Duration) {
        self.lock().delay = delay;
    }

    /// The delay and the fault for the delivery that has just arrived.
    pub(super) fn next_fault(&self) -> (Duration, Option<Fault>) {
        let mut inner = self.lock();
        let fault = if inner.busy { Some(Fault::Answer(Code::ServerBusy)) } else { inner.faults.pop_front() };
        (inner.delay, fault)
    }

    pub(super) fn set_acks(&self, acks: Acks) {
        self.lock().acks = acks;
    }

    pub(super) fn open_ack(&self, token: &str, channel: &str) -> u64 {
        let mut inner = self.lock();
        let mode = inner.acks;
        inner.ledger.record(token, channel, mode)
    }

    pub(super) fn take_acks(&self, token: &str, channel: &str, ids: &[u64]) -> Value {
        let mut inner = self.lock();
        let mode = inner.acks;
        inner.ledger.take(token, channel, ids, mode)
    }

    pub(super) fn forget_acks(&self) {
        self.lock().ledger = Ledger::default();
    }
}

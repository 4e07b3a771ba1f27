//! A Splunk HTTP Event Collector in the test's own process, written from Splunk's public documentation.
//!
//! It has what third-party receivers lack: token checks, every documented error code with the position of the refused
//! event, `/raw`, channels and indexer acknowledgement; and a test can inject faults. As in Splunk, the events before
//! a refused one in a batch are indexed.
//!
//! It is stricter than Splunk where the documentation leaves a choice: `/raw` always needs a channel, and a batch is
//! concatenated objects, never an array.

mod acks;
mod batch;
mod reply;
mod routes;
mod state;
mod token;

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::runtime::Runtime;

pub use self::acks::Acks;
pub use self::reply::{Code, Reply};
pub use self::state::{Event, Fault, Request};
pub use self::token::Token;
use crate::port::Port;
use crate::wait;
use state::Shared;

/// The documented default of `max_content_length`; a longer body gets HTTP 413.
const MAX_CONTENT_LENGTH: usize = 838_860_800;

/// The server. It has its own runtime, so any test may use it, async or not.
pub struct Hec {
    port: Port,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

impl Hec {
    /// A token that [`Hec::start`] knows: enabled, without acknowledgement, for all indexes.
    pub const TOKEN: &str = "7c7c5d8c-4a3e-4b8e-9a3f-0c2f3a6f1d01";
    /// A token that [`Hec::start`] knows: the same with acknowledgement.
    pub const ACK_TOKEN: &str = "7c7c5d8c-4a3e-4b8e-9a3f-0c2f3a6f1d02";

    /// Starts a server that knows [`Hec::TOKEN`] and [`Hec::ACK_TOKEN`].
    pub fn start() -> Result<Self> {
        let tokens = vec![Token::new(Self::TOKEN), Token::new(Self::ACK_TOKEN).with_acknowledgement()];
        Self::start_with(tokens, MAX_CONTENT_LENGTH)
    }

    /// Starts a server that knows `tokens` and refuses bodies of more than `max_content_length` bytes.
    pub fn start_with(tokens: Vec<Token>, max_content_length: usize) -> Result<Self> {
        let shared = Arc::new(Shared::new(tokens, max_content_length));
        let mut hec = Self { port: Port::reserve()?, shared, runtime: None };
        hec.start_again()?;
        Ok(hec)
    }

    /// The base URL, without a trailing slash. It stays the same after a restart.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Closes all connections and stops listening. Events are kept, acknowledgements are lost.
    pub fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Does not wait: a request in progress gets no answer, as in a crash. The caller may be in another runtime,
            // where blocking is not allowed.
            runtime.shutdown_background();
            self.shared.forget_acks();
        }
    }

    /// Listens again on the same port.
    pub fn start_again(&mut self) -> Result<()> {
        ensure!(self.runtime.is_none(), "the HEC server already runs");
        // A runtime that was just stopped closes its listener in the background.
        let listener = wait::until("the HEC port to be free", Duration::from_secs(240), || {
            TcpListener::bind((Ipv4Addr::LOCALHOST, self.port.number())).context("listen")
        })?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("testbed-hec")
            .enable_all()
            .build()
            .context("make the HEC server's runtime")?;
        let listener = {
            let _entered = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let router = routes::router(Arc::clone(&self.shared));
        runtime.spawn(async move { axum::serve(listener, router).await });
        self.runtime = Some(runtime);
        Ok(())
    }

    /// The indexed events, in order of arrival.
    pub fn events(&self) -> Vec<Event> {
        self.shared.events()
    }

    /// The requests so far, in the order they were answered.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests()
    }

    /// Waits until at least `count` events are indexed, and returns all of them.
    pub fn wait_events(&self, count: usize, limit: Duration) -> Result<Vec<Event>> {
        wait::until(&format!("{count} HEC events"), limit, || {
            let events = self.events();
            ensure!(events.len() >= count, "{} events, last answers {:?}", events.len(), self.last_replies());
            Ok(events)
        })
    }

    /// Forgets the events and requests so far.
    pub fn clear(&self) {
        self.shared.clear();
    }

    /// Adds a token, or changes the one with the same secret.
    pub fn set_token(&self, token: Token) {
        self.shared.set_token(token);
    }

    /// From now on, refuses an event with the code that `check` returns for it. `check` gets the event object with its
    /// index filled in, and replaces an earlier check.
    pub fn refuse(&self, check: impl Fn(&Value) -> Option<Code> + Send + 'static) {
        self.shared.set_refusal(Some(Box::new(check)));
    }

    /// Removes the check of [`Hec::refuse`].
    pub fn refuse_nothing(&self) {
        self.shared.set_refusal(None);
    }

    /// While `true`, deliveries get HTTP 503 with code 9, and the health check code 18.
    pub fn set_busy(&self, busy: bool) {
        self.shared.set_busy(busy);
    }

    /// Injects `fault` into the next `count` deliveries.
    pub fn fail_next(&self, count: usize, fault: Fault) {
        self.shared.add_faults(fault, count);
    }

    /// From now on, answers each delivery `delay` after its events are indexed.
    pub fn set_delay(&self, delay: Duration) {
        self.shared.set_delay(delay);
    }

    /// Sets what happens to acknowledgements from now on.
    pub fn set_acks(&self, acks: Acks) {
        self.shared.set_acks(acks);
    }

    fn last_replies(&self) -> Vec<Value> {
        self.requests().iter().rev().take(3).map(|request| request.reply.body()).collect()
    }
}

impl Drop for Hec {
    fn drop(&mut self) {
        self.stop();
    }
}

impl std::fmt::Debug for Hec {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Hec").field("port", &self.port).field("running", &self.runtime.is_some()).finish()
    }
}

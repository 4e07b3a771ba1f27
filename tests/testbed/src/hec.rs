//! A Splunk HTTP Event Collector of our own, in the test's process, written to Splunk's public documentation.
//!
//! It has what a foreign receiver lacks: token checks, every documented error code with the place of the refused
//! event, `/raw`, channels and indexer acknowledgement; and faults that a test orders. As in Splunk, the events before
//! a refused one in a batch are indexed.
//!
//! Stricter than the real one where the documentation leaves it open: `/raw` always needs a channel, and a batch is
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

/// The documented default of `max_content_length`; a longer body is answered with HTTP 413.
const MAX_CONTENT_LENGTH: usize = 838_860_800;

/// The server. It has a runtime of its own, so it may be used from any test, async or not.
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

    /// The base address, without a slash at the end. It stays the same after a restart.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Cuts all connections and stops listening. Events stay, acknowledgements are forgotten.
    pub fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waits for nothing: a request in work ends without an answer, as in a crash. It may also be called from
            // within another runtime, where waiting is not allowed.
            runtime.shutdown_background();
            self.shared.forget_acks();
        }
    }

    /// Listens again on the same port.
    pub fn start_again(&mut self) -> Result<()> {
        ensure!(self.runtime.is_none(), "the HEC server already runs");
        // The listener of a run that was just stopped is closed by its runtime, a moment later.
        let listener = wait::until("the HEC port to be free", Duration::from_secs(10), || {
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

    /// The indexed events, in the order they came.
    pub fn events(&self) -> Vec<Event> {
        self.shared.events()
    }

    /// The deliveries so far, in the order they were answered.
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

    /// From now on an event is refused with the code that `check` returns for it. `check` sees the whole object with
    /// its index filled in. It replaces an earlier one.
    pub fn refuse(&self, check: impl Fn(&Value) -> Option<Code> + Send + 'static) {
        self.shared.set_refusal(Some(Box::new(check)));
    }

    /// Ends [`Hec::refuse`].
    pub fn refuse_nothing(&self) {
        self.shared.set_refusal(None);
    }

    /// While `true`, deliveries are answered with 503 and code 9, and health with code 18.
    pub fn set_busy(&self, busy: bool) {
        self.shared.set_busy(busy);
    }

    /// The next `count` deliveries meet `fault`.
    pub fn fail_next(&self, count: usize, fault: Fault) {
        self.shared.add_faults(fault, count);
    }

    /// From now on each delivery is worked on only after `delay`.
    pub fn set_delay(&self, delay: Duration) {
        self.shared.set_delay(delay);
    }

    /// What happens with acknowledgements from now on.
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

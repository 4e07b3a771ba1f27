//! Queries in a process of their own: whatever a query does, it ends that process at worst.
//!
//! Way of a request: the server of the program accepts and checks it -> [`forward`] hands it to the query process over a
//! pair of sockets that nobody else can reach (HTTP/2) -> [`process`] answers it there, [`confine`]d in memory and
//! processor time. The [`supervisor`] starts the query process, and another one when it ends or has a query that cannot
//! be stopped.
//!
//! Invariant: the program's own process never plans or executes a query of a client.

pub mod confine;
mod forward;
mod process;
mod supervisor;

use axum::http::HeaderName;

pub use forward::{metrics, router};
pub use process::answer;
pub use supervisor::{QueryProcess, Supervisor};

/// Who makes a forwarded request, as JSON of a [`Caller`](crate::server::Caller).
const CALLER: HeaderName = HeaderName::from_static("kerntrail-caller");
/// Path that is answered once the process accepts requests.
const READY: &str = "/ready";
/// Path that is answered once a query of the process cannot be stopped.
const OVERDUE: &str = "/overdue";
/// Path of the process's metrics.
const METRICS: &str = "/metrics";

/// Requests that the query process takes at a time; more than wait for a query's turn.
const STREAMS: u32 = 1_024;
/// Bytes of one request or response that may be on the way, and of all of them: a reader that stops reading holds up
/// nobody else.
const WINDOWS: (u32, u32) = (128 << 10, STREAMS * (128 << 10));

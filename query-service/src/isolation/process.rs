//! The query process's side: answers what arrives on its socket.

use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use super::{CALLER, METRICS, OVERDUE, READY, STREAMS, WINDOWS};
use crate::server::Caller;

/// Requests that the other end may give up at once before the connection counts as an attack: all clients may leave together,
/// and the other end is this program itself.
const RESETS: usize = 100_000;

/// Answers requests on `socket` with `routes` until the other end closes it; `metrics` renders the process's metrics, and
/// `overdue` says that a query cannot be stopped.
///
/// Errors: the socket cannot be used, or what arrives is not HTTP/2.
pub async fn answer(
    socket: StdUnixStream,
    routes: Router,
    metrics: impl Fn() -> String + Clone + Send + Sync + 'static,
    overdue: CancellationToken,
) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let socket = TokioIo::new(UnixStream::from_std(socket)?);
    let routes = routes
        .route(READY, get(async || ""))
        .route(METRICS, get(async move || metrics()))
        .route(OVERDUE, get(async move || overdue.cancelled().await))
        .layer(middleware::from_fn(with_caller));
    let connection = http2::Builder::new(TokioExecutor::new())
        .max_concurrent_streams(STREAMS)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(RESETS)
        .initial_stream_window_size(WINDOWS.0)
        .initial_connection_window_size(WINDOWS.1)
        .serve_connection(socket, TowerToHyperService::new(routes));
    connection.await.map_err(io::Error::other)
}

async fn with_caller(mut request: Request, next: Next) -> Response {
    let caller = request.headers().get(CALLER).and_then(|value| serde_json::from_slice(value.as_bytes()).ok());
    if let Some(caller) = caller {
        request.extensions_mut().insert::<Caller>(caller);
    }
    next.run(request).await
}

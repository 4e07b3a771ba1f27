//! Connections: accepted up to a number, closed when their client is too slow, ended when the program ends.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use kerntrail_common::error::chain;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;

use super::callers::{Caller, Rights};
use super::connections::{Busy, Connection, Connections};
use super::stall::Stalling;

/// Wait after a connection could not be accepted: without a free file descriptor the next attempt fails as well.
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);
/// Least time between two messages about refused connections.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// Bytes of a request's head, at most.
const MAX_HEAD: usize = 64 << 10;

/// What the clients of a listener may take.
#[derive(Clone, Copy, Debug)]
pub struct ClientBounds {
    /// Connections at a time. One more closes the one that has waited longest for a complete request; it is refused when all
    /// have a request in progress.
    pub connections: usize,
    /// Time for the head of a request, and for the next request of a connection to begin.
    pub head: Duration,
    /// Time without progress for a client that reads an answer.
    pub stall: Duration,
}

impl Default for ClientBounds {
    /// 256 connections, 30 s, 30 s.
    fn default() -> Self {
        Self { connections: 256, head: Duration::from_secs(30), stall: Duration::from_secs(30) }
    }
}

/// Something that accepts connections and knows who makes them.
pub trait Listener: Send {
    /// A connection.
    type Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next connection, and who made it.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Socket, Caller)>> + Send;
}

impl Listener for TcpListener {
    type Socket = tokio::net::TcpStream;

    async fn accept(&self) -> io::Result<(Self::Socket, Caller)> {
        let (socket, peer) = Self::accept(self).await?;
        Ok((socket, Caller::remote(peer)))
    }
}

/// Whoever may connect may read: the permissions of the socket's file decide that.
impl Listener for UnixListener {
    type Socket = tokio::net::UnixStream;

    async fn accept(&self) -> io::Result<(Self::Socket, Caller)> {
        let (socket, _) = Self::accept(self).await?;
        let uid = socket.peer_cred()?.uid();
        Ok((socket, Caller::local(uid)))
    }
}

/// Serves `routes` over HTTP/1.1 until `stop`, then waits for requests in flight. Dropping it afterwards aborts the wait.
///
/// Handlers find the client as [`Caller`].
pub async fn serve(listener: impl Listener, routes: Router, bounds: ClientBounds, stop: CancellationToken) {
    let (requests, connections) = (GracefulShutdown::new(), Connections::new(bounds.connections));
    let mut refused = Refused::default();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((socket, caller)) => match connections.open() {
                Some(open) => {
                    tokio::spawn(connection(socket, caller, routes.clone(), bounds, open, requests.watcher()));
                }
                None => refused.one_more(bounds.connections),
            },
            Err(error) => {
                tracing::warn!(error = chain(&error), "cannot accept a connection");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
    drop(listener);
    requests.shutdown().await;
}

/// Connections that were refused, logged now and then.
#[derive(Default)]
struct Refused {
    unlogged: u64,
    logged: Option<Instant>,
}

impl Refused {
    fn one_more(&mut self, most: usize) {
        self.unlogged += 1;
        if self.logged.is_none_or(|logged| logged.elapsed() >= LOG_INTERVAL) {
            tracing::warn!(refused = self.unlogged, "connections were refused: {most} have a request in progress");
            (self.unlogged, self.logged) = (0, Some(Instant::now()));
        }
    }
}

async fn connection<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    socket: S,
    caller: Caller,
    routes: Router,
    bounds: ClientBounds,
    open: Arc<Connection>,
    watcher: Watcher,
) {
    let routes = TowerToHyperService::new(routes);
    let (closed, requests) = (open.closed(), Arc::clone(&open));
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let work = Arc::new(Work::new(Arc::clone(&requests)));
        // Whoever may write may also take a long time for it.
        if request.body().is_end_stream() || caller.rights >= Rights::Write {
            work.begin();
        }
        let mut request: Request = request.map(|body| Body::new(Arriving { body, work: Arc::clone(&work) }));
        request.extensions_mut().insert(caller.clone());
        request.extensions_mut().insert(Arc::clone(&work));
        let answered = routes.call(request);
        async move { answered.await.map(|response| response.map(|body| Body::new(Answer { body, _work: work }))) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(Stalling::new(socket, bounds.stall)), service);
    let served = tokio::select! {
        served = watcher.watch(connection) => served,
        () = closed.cancelled() => Ok(()),
    };
    if let Err(error) = served {
        tracing::debug!(error = chain(&error), "a connection ended early");
    }
    drop(open);
}

/// The work on a request, from the moment when all of it has arrived and its caller is known to be allowed to make it: a
/// connection whose client still sends, or has shown no right to anything here, can make room for others.
pub(super) struct Work {
    connection: Arc<Connection>,
    state: Mutex<WorkState>,
}

#[derive(Default)]
struct WorkState {
    has_arrived: bool,
    is_allowed: bool,
    busy: Option<Busy>,
}

impl Work {
    fn new(connection: Arc<Connection>) -> Self {
        Self { connection, state: Mutex::default() }
    }

    fn begin(&self) {
        self.change(|state| state.has_arrived = true);
    }

    /// The caller may make this request.
    pub(super) fn allow(&self) {
        self.change(|state| state.is_allowed = true);
    }

    fn change(&self, change: impl FnOnce(&mut WorkState)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        if state.has_arrived && state.is_allowed {
            state.busy.get_or_insert_with(|| self.connection.busy());
        }
    }
}

/// The body of a request; work begins at its end.
struct Arriving {
    body: Incoming,
    work: Arc<Work>,
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.is_none() || self.body.is_end_stream() {
            self.work.begin();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer; its connection has a request in progress until it is dropped.
struct Answer {
    body: Body,
    _work: Arc<Work>,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

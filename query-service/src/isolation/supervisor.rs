//! The program's side: starts the query process, and another one whenever that is necessary.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kerntrail_common::backoff::Backoff;
use kerntrail_common::error::chain;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::forward::get;
use super::{OVERDUE, READY, WINDOWS};

/// Longest time until a new query process accepts requests.
const START: Duration = Duration::from_secs(60);
/// Longest time that a query process may take to end after its last request.
const END: Duration = Duration::from_secs(5);
/// Longest time for the other requests of a process that is replaced: until it ends, its memory comes on top of that of
/// the next one.
const REPLACED: Duration = Duration::from_secs(10);
/// Waits before another attempt to start. After a process that did start, the next one starts at once.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// Why there is no query process.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("cannot start the query process")]
    Spawn(#[source] io::Error),
    #[error("cannot talk to the query process")]
    Talk(#[source] hyper::Error),
    #[error("the query process does not accept requests after {START:?}")]
    Slow,
    #[error("the query process answers {0}")]
    Refused(StatusCode),
}

/// Requests to the query process that runs at the moment.
#[derive(Clone)]
pub struct QueryProcess(watch::Receiver<Option<SendRequest<Body>>>);

impl QueryProcess {
    /// Whether requests are answered.
    pub fn is_up(&self) -> bool {
        self.0.borrow().as_ref().is_some_and(|sender| !sender.is_closed())
    }

    /// The process that answers, as soon as there is one; `None` when that takes longer than `patience`.
    pub(super) async fn current(&self, patience: Duration) -> Option<SendRequest<Body>> {
        let mut states = self.0.clone();
        let up = states.wait_for(|state| state.as_ref().is_some_and(|sender| !sender.is_closed()));
        timeout(patience, up).await.ok()?.ok()?.clone()
    }
}

/// Keeps a query process running.
pub struct Supervisor {
    /// A new process, without its standard input.
    command: Box<dyn Fn() -> Command + Send + Sync>,
    state: watch::Sender<Option<SendRequest<Body>>>,
}

impl Supervisor {
    /// Will run `command`, which must serve [`answer`](super::answer) on its standard input.
    pub fn new(command: impl Fn() -> Command + Send + Sync + 'static) -> Self {
        Self { command: Box::new(command), state: watch::Sender::new(None) }
    }

    /// Where requests go.
    pub fn process(&self) -> QueryProcess {
        QueryProcess(self.state.subscribe())
    }

    /// Runs one query process after the other until `stop`; then lets the last one finish its requests.
    pub async fn run(self, stop: CancellationToken) {
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        while !stop.is_cancelled() {
            let error = match self.start().await {
                Ok(running) => {
                    backoff.reset();
                    self.until_end(running, &stop).await;
                    continue;
                }
                Err(error) => error,
            };
            tracing::error!(error = chain(&error), "queries are not answered; trying again");
            tokio::select! {
                () = tokio::time::sleep(backoff.after_failure_alone()) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    async fn start(&self) -> Result<Running, StartError> {
        let (ours, theirs) = StdUnixStream::pair().map_err(StartError::Spawn)?;
        ours.set_nonblocking(true).map_err(StartError::Spawn)?;
        let ours = UnixStream::from_std(ours).map_err(StartError::Spawn)?;
        let stdin = Stdio::from(OwnedFd::from(theirs));
        // Dropping the command closes this process's copy of the other end.
        let child = (self.command)().stdin(stdin).kill_on_drop(true).spawn().map_err(StartError::Spawn)?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(WINDOWS.0)
            .initial_connection_window_size(WINDOWS.1)
            .handshake(TokioIo::new(ours))
            .await
            .map_err(StartError::Talk)?;
        let connection = AbortOnDropHandle::new(tokio::spawn(connection));
        let ready = timeout(START, get(&mut sender.clone(), READY)).await.map_err(|_| StartError::Slow)?;
        match ready.map_err(StartError::Talk)?.status() {
            StatusCode::OK => Ok(Running { child, sender, connection }),
            other => Err(StartError::Refused(other)),
        }
    }

    /// Sends requests to `running` until it ends, has a query that cannot be stopped, or `stop`.
    async fn until_end(&self, running: Running, stop: &CancellationToken) {
        self.state.send_replace(Some(running.sender.clone()));
        let mut running = running;
        let mut sender = running.sender.clone();
        let overdue = async move { get(&mut sender, OVERDUE).await };
        tokio::select! {
            status = running.child.wait() => {
                self.state.send_replace(None);
                tracing::error!(status = ended(status), "the query process ended; starting another");
            }
            // An error means that the process is ending; `wait` then returns its exit status.
            Ok(_) = overdue => {
                tracing::error!("a query cannot be stopped; starting another query process");
                self.state.send_replace(None);
                tokio::spawn(running.finish(REPLACED));
            }
            () = stop.cancelled() => {
                self.state.send_replace(None);
                running.finish(END).await;
            }
        }
    }
}

/// A query process that accepts requests.
struct Running {
    child: Child,
    sender: SendRequest<Body>,
    connection: AbortOnDropHandle<Result<(), hyper::Error>>,
}

impl Running {
    /// Lets the process finish the requests that it has, for `longest`, and ends it.
    async fn finish(self, longest: Duration) {
        let Self { mut child, sender, connection } = self;
        // The connection closes with the last request that holds a sender or a response; the process ends with it.
        drop(sender);
        let _ = timeout(longest, connection).await;
        if timeout(END, child.wait()).await.is_err()
            && let Err(error) = child.kill().await
        {
            tracing::error!(error = chain(&error), "cannot end a query process");
        }
    }
}

/// How the process ended, in words.
fn ended(status: io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => status.to_string(),
        Err(error) => chain(&error).to_string(),
    }
}

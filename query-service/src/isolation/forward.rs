//! Hands requests over to the query process, and its answers back.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::uri::{Authority, PathAndQuery, Scheme};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, Version, header};
use axum::response::Response;
use axum::routing::any;
use futures::{Stream, StreamExt};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use kerntrail_common::error::chain;
use serde_json::json;
use tokio::time::Instant;

use super::supervisor::QueryProcess;
use super::{CALLER, METRICS};
use crate::server::{Caller, PATHS, refusal};

/// Longest time for the body of a request to arrive.
const REQUEST: Duration = Duration::from_secs(30);
/// How often, and at what distance, to look whether a process has ended.
const NOTICES: u32 = 20;
const NOTICE: Duration = Duration::from_millis(5);
/// Longest wait for a query process to start.
const PATIENCE: Duration = Duration::from_secs(10);

/// Headers that concern one connection only (RFC 9110, section 7.6.1), and those that only this side may set.
const NOT_FORWARDED: [HeaderName; 9] = [
    header::CONNECTION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::HOST,
    header::EXPECT,
    HeaderName::from_static("keep-alive"),
    CALLER,
];

/// The error when the process ended before or during the answer.
const INTERRUPTED: &str = "the process that answers queries ended during this one, because queries needed more \
                           memory than it may use, or since another query could not be stopped; another process is \
                           there or starting: try again";
const STARTING: &str = "the process that answers queries is not running; see the log of the server, or try again soon";

/// The routes of [`router`](crate::server::router), answered by `process`.
pub fn router(process: QueryProcess) -> Router {
    let routes = PATHS.iter().fold(Router::new(), |routes, path| routes.route(path, any(forward)));
    routes.with_state(process)
}

/// The metrics of the query process, in Prometheus' text format; empty when it does not answer.
pub async fn metrics(process: &QueryProcess) -> String {
    let Some(mut sender) = process.current(Duration::ZERO).await else { return String::new() };
    let Ok(response) = get(&mut sender, METRICS).await else { return String::new() };
    let body = axum::body::to_bytes(Body::new(response.into_body()), MOST_METRICS).await;
    body.map_or_else(|_| String::new(), |body| String::from_utf8_lossy(&body).into_owned())
}

/// Bytes of the metrics, at most.
const MOST_METRICS: usize = 1 << 20;

/// The answer of the query process to a GET of `path`.
pub(super) async fn get(
    sender: &mut SendRequest<Body>,
    path: &'static str,
) -> Result<hyper::Response<Incoming>, hyper::Error> {
    sender.ready().await?;
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = with_path(PathAndQuery::from_static(path));
    sender.send_request(request).await
}

/// `path` of the query process: HTTP/2 wants a scheme and an authority.
fn with_path(path: PathAndQuery) -> Uri {
    let mut parts = axum::http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(Authority::from_static("queries"));
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).unwrap_or_default()
}

async fn forward(State(process): State<QueryProcess>, caller: Caller, request: Request) -> Response {
    let Some(mut sender) = process.current(PATIENCE).await else {
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "busy", STARTING);
    };
    let late = Arc::new(AtomicBool::new(false));
    match sender.send_request(prepared(request, &caller, Arc::clone(&late))).await {
        Ok(response) => {
            let (mut parts, body) = response.into_parts();
            parts.version = Version::default();
            let last_words = last_words(&parts.headers);
            let body = Body::new(body).into_data_stream();
            Response::from_parts(parts, Body::from_stream(with_last_words(body, sender, last_words)))
        }
        Err(_) if late.load(Ordering::Relaxed) => {
            let message = format!("the body of the request broke off, or did not arrive within {REQUEST:?}");
            refusal(StatusCode::REQUEST_TIMEOUT, "user", &message)
        }
        Err(error) => {
            tracing::warn!(error = chain(&error), "a query got no answer");
            refusal(StatusCode::SERVICE_UNAVAILABLE, "interrupted", INTERRUPTED)
        }
    }
}

/// `request` as the query process gets it; `late` tells whether its body broke off.
fn prepared(request: Request, caller: &Caller, late: Arc<AtomicBool>) -> Request {
    let (mut parts, body) = request.into_parts();
    NOT_FORWARDED.iter().for_each(|name| {
        parts.headers.remove(name);
    });
    let caller = serde_json::to_vec(caller).unwrap_or_default();
    if let Ok(value) = HeaderValue::from_bytes(&caller) {
        parts.headers.insert(CALLER, value);
    }
    let mut prepared = Request::new(in_time(body, late));
    *prepared.method_mut() = parts.method;
    *prepared.uri_mut() =
        with_path(parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")));
    *prepared.headers_mut() = parts.headers;
    prepared
}

/// `body`, which breaks off when it takes longer than [`REQUEST`]; `late` tells whether it did.
fn in_time(body: Body, late: Arc<AtomicBool>) -> Body {
    let deadline = Instant::now() + REQUEST;
    let pieces = futures::stream::unfold(body.into_data_stream(), move |mut pieces| async move {
        let piece = match tokio::time::timeout_at(deadline, pieces.next()).await {
            Ok(piece) => piece?.map_err(io::Error::other),
            Err(elapsed) => Err(elapsed.into()),
        };
        Some((piece, pieces))
    });
    Body::from_stream(pieces.inspect(move |piece| late.store(piece.is_err(), Ordering::Relaxed)))
}

/// The last line of an answer of this type whose process ended; `None` where text would be taken for data.
fn last_words(headers: &HeaderMap) -> Option<String> {
    let media_type = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    if media_type.contains("json") {
        return Some(format!("\n{}\n", json!({"error": {"kind": "interrupted", "message": INTERRUPTED}})));
    }
    media_type.starts_with("text/").then(|| format!("\nerror: {INTERRUPTED}\n"))
}

/// Whether the process has ended, which its connection notices a moment after the answers on it.
async fn has_ended(sender: &SendRequest<Body>) -> bool {
    for _ in 0..NOTICES {
        if sender.is_closed() {
            return true;
        }
        tokio::time::sleep(NOTICE).await;
    }
    false
}

/// `body`, and `last_words` when it breaks off because the process ended. It breaks off for the client as well, so that
/// nobody takes it for complete.
fn with_last_words<S, E>(
    body: S,
    sender: SendRequest<Body>,
    last_words: Option<String>,
) -> impl Stream<Item = Result<Bytes, io::Error>>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    enum State {
        Open,
        Broken(io::Error),
        Closed,
    }
    futures::stream::unfold((body, State::Open), move |(mut body, state)| {
        let (sender, last_words) = (sender.clone(), last_words.clone());
        async move {
            match state {
                State::Open => match body.next().await? {
                    Ok(piece) => Some((Ok(piece), (body, State::Open))),
                    Err(error) => {
                        let error = io::Error::other(error);
                        match last_words {
                            Some(words) if has_ended(&sender).await => {
                                Some((Ok(Bytes::from(words)), (body, State::Broken(error))))
                            }
                            _ => Some((Err(error), (body, State::Closed))),
                        }
                    }
                },
                State::Broken(error) => {
                    // Lets the words leave: the server flushes when there is nothing more to take.
                    tokio::task::yield_now().await;
                    Some((Err(error), (body, State::Closed)))
                }
                State::Closed => None,
            }
        }
    })
}

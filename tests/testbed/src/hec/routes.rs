//! The HTTP side: paths, authorization, channels, compression and injected faults.

use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use flate2::read::MultiGzDecoder;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::batch::{self, Batch};
use super::reply::{Code, Reply};
use super::state::{Event, Fault, Request, Shared};
use super::token::{Token, authorize};

type Parameters = Query<HashMap<String, String>>;

pub(super) fn router(shared: Arc<Shared>) -> Router {
    let limit = DefaultBodyLimit::max(shared.max_content_length);
    let mut router = Router::new();
    for path in ["/services/collector", "/services/collector/event", "/services/collector/event/1.0"] {
        router = router.route(path, post(event));
    }
    for path in ["/services/collector/raw", "/services/collector/raw/1.0"] {
        router = router.route(path, post(raw));
    }
    for path in ["/services/collector/ack", "/services/collector/ack/1.0"] {
        router = router.route(path, post(ack));
    }
    for path in ["/services/collector/health", "/services/collector/health/1.0"] {
        router = router.route(path, get(health));
    }
    router.fallback(not_found).layer(limit).with_state(shared)
}

async fn event(shared: State<Arc<Shared>>, query: Parameters, headers: HeaderMap, body: Bytes) -> Response {
    deliver(&shared, &query, &headers, &body, false).await
}

async fn raw(shared: State<Arc<Shared>>, query: Parameters, headers: HeaderMap, body: Bytes) -> Response {
    deliver(&shared, &query, &headers, &body, true).await
}

async fn deliver(shared: &Shared, query: &Parameters, headers: &HeaderMap, body: &[u8], raw: bool) -> Response {
    let (delay, fault) = shared.next_fault();
    let reply = match fault {
        Some(Fault::Answer(code)) => Reply::from(code),
        Some(Fault::NoAnswer { index: false }) => hang_up(),
        _ => accept(shared, query, headers, body, raw).unwrap_or_else(Reply::from),
    };
    shared.record(Request::new(headers, query, raw, body.len(), reply));
    // A client that does not wait any longer cannot know that its events are indexed.
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    match fault {
        Some(Fault::NoAnswer { .. }) => hang_up(),
        _ => reply.into_response(),
    }
}

/// Closes the connection without a reply: hyper drops it with the panicking task, and `resume_unwind` prints nothing.
fn hang_up() -> ! {
    std::panic::resume_unwind(Box::new("a test injected a lost reply"))
}

fn accept(shared: &Shared, query: &Parameters, headers: &HeaderMap, body: &[u8], raw: bool) -> Result<Reply, Code> {
    let token = shared.authorize(|tokens| authorize(tokens, headers, query.get("token").map(String::as_str)))?;
    let channel = channel(headers, query)?;
    if channel.is_none() && (token.acknowledge || raw) {
        return Err(Code::ChannelMissing);
    }
    let body = content(headers, body)?;
    let refuse = |event: &Value| shared.refuses(event);
    let Batch { accepted, mut reply } = match raw {
        true => batch::lines(&body, &metadata(query), &token, refuse),
        false => batch::events(&body, &token, refuse),
    };
    let events = accepted.into_iter().map(|(index, body)| Event {
        token: token.value.clone(),
        channel: channel.clone(),
        raw,
        index,
        body,
    });
    shared.index(events);
    if let (Code::Success, true, Some(channel)) = (reply.code, token.acknowledge, &channel) {
        reply.ack_id = Some(shared.open_ack(&token.value, channel));
    }
    Ok(reply)
}

async fn ack(shared: State<Arc<Shared>>, query: Parameters, headers: HeaderMap, body: Bytes) -> Response {
    match acknowledged(&shared, &query, &headers, &body) {
        Ok(acks) => Json(json!({"acks": acks})).into_response(),
        Err(code) => Reply::from(code).into_response(),
    }
}

fn acknowledged(shared: &Shared, query: &Parameters, headers: &HeaderMap, body: &[u8]) -> Result<Value, Code> {
    let token: Token = shared.authorize(|tokens| authorize(tokens, headers, query.get("token").map(String::as_str)))?;
    if !token.acknowledge {
        return Err(Code::AckDisabled);
    }
    let channel = channel(headers, query)?.ok_or(Code::ChannelMissing)?;
    let asked: Value = serde_json::from_slice(&content(headers, body)?).map_err(|_| Code::InvalidDataFormat)?;
    let ids: Option<Vec<u64>> = asked["acks"].as_array().and_then(|ids| ids.iter().map(Value::as_u64).collect());
    Ok(shared.take_acks(&token.value, &channel, &ids.ok_or(Code::InvalidDataFormat)?))
}

async fn health(shared: State<Arc<Shared>>) -> Reply {
    let busy = shared.is_busy();
    Reply::from(if busy { Code::UnhealthyQueuesFull } else { Code::Healthy })
}

async fn not_found() -> Response {
    let body = json!({"text": "The requested URL was not found on this server.", "code": 404});
    (StatusCode::NOT_FOUND, Json(body)).into_response()
}

/// The channel from the header or the query string; it must be a UUID.
fn channel(headers: &HeaderMap, query: &Parameters) -> Result<Option<String>, Code> {
    let header = headers.get("x-splunk-request-channel").map(|value| value.to_str().unwrap_or_default());
    let Some(text) = header.or(query.get("channel").map(String::as_str)) else {
        return Ok(None);
    };
    let channel = Uuid::parse_str(text).map_err(|_| Code::InvalidChannel)?;
    Ok(Some(channel.to_string()))
}

fn content(headers: &HeaderMap, body: &[u8]) -> Result<Vec<u8>, Code> {
    match headers.get("content-encoding").map(|value| value.as_bytes()) {
        None | Some(b"identity") => Ok(body.to_vec()),
        Some(b"gzip") => {
            let mut plain = Vec::new();
            MultiGzDecoder::new(body).read_to_end(&mut plain).map_err(|_| Code::InvalidDataFormat)?;
            Ok(plain)
        }
        Some(_) => Err(Code::InvalidDataFormat),
    }
}

/// The metadata in the query string of a raw delivery, which applies to all its events.
fn metadata(query: &Parameters) -> Value {
    let known = ["time", "host", "source", "sourcetype", "index"];
    let pairs = known.iter().filter_map(|key| Some((key.to_string(), Value::from(query.get(*key)?.clone()))));
    Value::Object(pairs.collect::<Map<_, _>>())
}

//! `POST /api/v1/query`.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use kerntrail_common::period;
use kerntrail_query_engine::output::{Format, UnknownFormat};
use kerntrail_query_engine::{Bounds, QueryError};
use serde::Deserialize;

use super::MAX_BODY;
use super::answer::{failure, refusal, rows};
use super::callers::{Caller, Callers};

/// A request as JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QueryRequest {
    /// One statement that reads.
    sql: String,
    /// `json` (default), `ndjson`, `csv`, `arrow`, `markdown` or `table`.
    format: Option<String>,
    /// Seconds, or text such as `30s`; more than the server allows has no effect.
    timeout: Option<Timeout>,
    /// More than the server allows has no effect.
    max_rows: Option<usize>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Timeout {
    Seconds(f64),
    Text(String),
}

impl Timeout {
    fn duration(&self) -> Option<Duration> {
        match self {
            Self::Seconds(seconds) => Duration::try_from_secs_f64(*seconds).ok(),
            Self::Text(text) => period::parse(text).ok(),
        }
    }
}

/// Answers a query. The format is that of the request, else of its `Accept`, else JSON.
pub(super) async fn query(
    State(callers): State<Callers>,
    caller: Caller,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(rejected) if rejected.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            let message = format!("the request is larger than {MAX_BODY} bytes");
            return refusal(StatusCode::PAYLOAD_TOO_LARGE, "limit", &message);
        }
        Err(rejected) => return refusal(rejected.status(), "user", &rejected.body_text()),
    };
    let answer = async {
        let (sql, format, bounds) = read(&headers, &body)?;
        rows(callers.session(caller).query_within(&sql, &bounds).await?, format).await
    };
    answer.await.unwrap_or_else(failure)
}

fn read(headers: &HeaderMap, body: &[u8]) -> Result<(String, Format, Bounds), QueryError> {
    let value = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let accepted = accepted(value(header::ACCEPT))?;
    if !value(header::CONTENT_TYPE).starts_with("application/json") {
        let sql = std::str::from_utf8(body).map_err(|_| QueryError::user("the query is not UTF-8 text"))?;
        return Ok((sql.to_owned(), accepted, Bounds::default()));
    }
    let request: QueryRequest =
        serde_json::from_slice(body).map_err(|error| QueryError::user(format!("the request is invalid: {error}")))?;
    let format = match &request.format {
        Some(name) => name.parse().map_err(|error: UnknownFormat| QueryError::user(error.to_string()))?,
        None => accepted,
    };
    let timeout = request.timeout.map(|timeout| {
        timeout.duration().ok_or_else(|| QueryError::user("timeout must be seconds, or text such as \"30s\""))
    });
    Ok((request.sql, format, Bounds { timeout: timeout.transpose()?, max_rows: request.max_rows }))
}

/// The first media type of `accept` that is a format; JSON when anything will do.
fn accepted(accept: &str) -> Result<Format, QueryError> {
    let mut types = accept.split(',').map(|entry| entry.split(';').next().unwrap_or_default().trim()).peekable();
    let format = types.find_map(|wanted| match wanted {
        "" | "*/*" | "application/*" => Some(Format::Json),
        "text/*" | "text/plain" => Some(Format::Table),
        "application/x-ndjson" | "application/jsonl" => Some(Format::Ndjson),
        other => Format::ALL.into_iter().find(|format| format.media_type().split(';').next() == Some(other)),
    });
    format.ok_or_else(|| {
        let known: Vec<&str> = Format::ALL.iter().filter_map(|format| format.media_type().split(';').next()).collect();
        QueryError::user(format!("Accept names no known format; expected one of {}", known.join(", ")))
    })
}

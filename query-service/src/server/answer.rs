//! Responses: streams of rows, whole texts, errors.

use std::io;

use arrow::array::RecordBatch;
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use futures::stream::try_unfold;
use futures::{Stream, StreamExt};
use kerntrail_query_engine::output::{Encoder, Format, Options, encoder, escape};
use kerntrail_query_engine::{ErrorKind, QueryError, QueryStream};
use serde_json::json;

fn status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::User => StatusCode::BAD_REQUEST,
        ErrorKind::ReadOnly => StatusCode::FORBIDDEN,
        ErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
        ErrorKind::Limit => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorKind::Busy => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The response to a query that failed before its first rows.
pub(super) fn failure(error: QueryError) -> Response {
    let mut response = refusal(status(error.kind()), error.kind().as_str(), error.message());
    if error.kind() == ErrorKind::Busy {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// An error as JSON.
pub(crate) fn refusal(status: StatusCode, kind: &str, message: &str) -> Response {
    let body = json!({"error": {"kind": kind, "message": message}}).to_string();
    let mut response = whole(Format::Json, escape::json(&body).into_owned() + "\n");
    *response.status_mut() = status;
    response
}

/// A complete text.
pub(super) fn whole(format: Format, text: String) -> Response {
    respond(format, Body::from(text))
}

fn respond(format: Format, body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The rows of `answer` in `format`. It begins once the first rows are there, so an error before them has a status
/// of its own; a later one is part of the answer. A format without a place for it breaks the
/// connection, after a last line with the reason if the format is text.
pub(super) async fn rows(mut answer: QueryStream, format: Format) -> Result<Response, QueryError> {
    let first = answer.next().await.transpose()?;
    let served = Served {
        answer,
        format,
        encoder: encoder(format, Options { served: true, ..Options::default() }),
        next: Next::Begin(first),
    };
    Ok(respond(format, Body::from_stream(served.pieces())))
}

/// An answer being sent.
struct Served {
    answer: QueryStream,
    format: Format,
    encoder: Box<dyn Encoder>,
    next: Next,
}

enum Next {
    Begin(Option<RecordBatch>),
    Rows,
    Broken(QueryError),
    Nothing,
}

impl Served {
    fn pieces(self) -> impl Stream<Item = Result<Bytes, io::Error>> {
        try_unfold(self, |mut served| async move {
            let piece = served.piece().await.map_err(io::Error::other)?;
            Ok(piece.map(|piece| (piece, served)))
        })
    }

    /// The next piece of the body; an error breaks the connection.
    async fn piece(&mut self) -> Result<Option<Bytes>, Box<dyn std::error::Error + Send + Sync>> {
        let mut out = Vec::new();
        match std::mem::replace(&mut self.next, Next::Rows) {
            Next::Begin(first) => {
                self.encoder.begin(&self.answer.schema(), &mut out)?;
                match first {
                    Some(batch) => self.encoder.rows(&batch, &mut out)?,
                    None => self.end(&mut out)?,
                }
            }
            Next::Rows => match self.answer.next().await {
                Some(Ok(batch)) => self.encoder.rows(&batch, &mut out)?,
                None => self.end(&mut out)?,
                Some(Err(error)) if self.encoder.fail(&error, &mut out) => self.next = Next::Nothing,
                Some(Err(error)) => {
                    if self.format != Format::Arrow {
                        out.extend_from_slice(format!("error: {}\n", escape::visible(error.message())).as_bytes());
                    }
                    self.next = Next::Broken(error);
                }
            },
            Next::Broken(error) => {
                // Lets the rows before the error leave: the server flushes when there is nothing more to take.
                tokio::task::yield_now().await;
                return Err(error.into());
            }
            Next::Nothing => return Ok(None),
        }
        Ok(Some(Bytes::from(out)))
    }

    fn end(&mut self, out: &mut Vec<u8>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.next = Next::Nothing;
        Ok(self.encoder.end(out)?)
    }
}

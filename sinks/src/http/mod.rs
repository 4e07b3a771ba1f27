//! What sinks that send over HTTP share: configuration, client, and the possible results of a request.

pub mod config;
mod no_answer;
mod pace;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::StreamExt;
use reqwest::{IntoUrl, Method, RequestBuilder};

pub(crate) use no_answer::{NoAnswer, Resolver};
use pace::Pace;

/// Largest response that is read; that of a `_bulk` of 10,000 refused records is smaller.
const MAX_RESPONSE: usize = 64 << 20;
/// Longest part of a response that is quoted.
const MAX_QUOTE: usize = 500;

/// A response, whatever its status.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// How long `Retry-After` asks to wait.
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: Bytes,
}

impl Answer {
    /// Status and beginning of the body, for log messages and dead letters.
    pub(crate) fn words(&self) -> String {
        format!("HTTP {}: {}", self.status, excerpt(&String::from_utf8_lossy(&self.body)))
    }
}

/// A client of one server. A clone is the same client.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    pace: Arc<Pace>,
}

impl Client {
    /// Sends with `http`, and waits `timeout` for a response, longer once the server was late.
    pub(crate) fn new(http: reqwest::Client, timeout: Duration) -> Self {
        Self { http, pace: Arc::new(Pace::new(timeout)) }
    }

    pub(crate) fn request(&self, method: Method, url: impl IntoUrl) -> RequestBuilder {
        self.http.request(method, url)
    }

    /// Sends `request`, which asks for something and stores nothing.
    ///
    /// Errors: as [`Client::deliver`].
    pub(crate) async fn ask(&self, request: RequestBuilder) -> Result<Answer, NoAnswer> {
        answer(request.timeout(self.pace.shortest())).await
    }

    /// Sends `request`, which holds events.
    ///
    /// Errors: no response arrived, or it cannot be read. The server may have processed the request all the same.
    pub(crate) async fn deliver(&self, request: RequestBuilder) -> Result<Answer, NoAnswer> {
        let (timeout, began) = (self.pace.timeout(), Instant::now());
        match answer(request.timeout(timeout)).await {
            Err(NoAnswer::Late(words)) => {
                self.pace.late(timeout);
                Err(NoAnswer::Late(format!("no response within {} s: {words}", timeout.as_secs())))
            }
            Ok(answer) => {
                self.pace.answered(began.elapsed());
                Ok(answer)
            }
            Err(no_answer) => Err(no_answer),
        }
    }
}

async fn answer(request: RequestBuilder) -> Result<Answer, NoAnswer> {
    let response = request.send().await.map_err(NoAnswer::from)?;
    let status = response.status().as_u16();
    let header = response.headers().get(reqwest::header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = header.and_then(|value| wait(value.trim(), SystemTime::now()));
    let mut body = BytesMut::new();
    let mut parts = response.bytes_stream();
    while let Some(part) = parts.next().await {
        let part = part.map_err(NoAnswer::from)?;
        if body.len() + part.len() > MAX_RESPONSE {
            return Err(NoAnswer::Failed(format!("the response has more than {MAX_RESPONSE} bytes")));
        }
        body.extend_from_slice(&part);
    }
    Ok(Answer { status, retry_after, body: body.freeze() })
}

/// How long a `Retry-After` asks to wait: seconds, or the time of the next attempt (RFC 9110, section 10.2.3).
fn wait(value: &str, now: SystemTime) -> Option<Duration> {
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number has room for are a long time all the same.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let until = httpdate::parse_http_date(value).ok()?;
    Some(until.duration_since(now).unwrap_or_default())
}

/// `body`, compressed.
pub(crate) fn gzip(body: &[u8]) -> Result<Vec<u8>, std::io::Error> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    std::io::Write::write_all(&mut encoder, body)?;
    encoder.finish()
}

/// The beginning of `text`.
pub(crate) fn excerpt(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTE) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_time() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        for (value, seconds) in [
            ("0", Some(0)),
            ("120", Some(120)),
            ("18446744073709551615", Some(u64::MAX)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sunday, 06-Nov-94 08:49:38 GMT", Some(1)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
        ] {
            assert_eq!(wait(value, now), seconds.map(Duration::from_secs), "{value:?}");
        }
    }
}

//! The HTTP client that the sinks share, and how an exchange can end.

use std::path::Path;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::StreamExt;
use kerntrail_common::error::chain;
use reqwest::{Client, RequestBuilder};

use crate::config::{ConfigError, Settings};

/// Longest answer that is read; a `_bulk` of 10,000 refused records stays below.
const MOST_ANSWER: usize = 64 << 20;
/// Longest part of an answer that is quoted.
const MOST_WORDS: usize = 500;

/// A client that waits at most `timeout` for an answer and trusts `ca_file`, or what the system trusts.
///
/// Errors: the file cannot be read or holds no certificates.
pub(crate) fn client(settings: &Settings, timeout: Duration, ca_file: Option<&Path>) -> Result<Client, ConfigError> {
    // Only the first installation in the process counts.
    rustls::crypto::ring::default_provider().install_default().ok();
    let sink = || settings.name.clone();
    let mut builder = Client::builder()
        .timeout(timeout)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("kerntrail/", env!("CARGO_PKG_VERSION")));
    if let Some(path) = ca_file {
        let pem = std::fs::read(path).map_err(|source| ConfigError::File {
            sink: sink(),
            field: "ca_file",
            path: path.to_owned(),
            source,
        })?;
        let certificates =
            reqwest::Certificate::from_pem_bundle(&pem).map_err(|source| ConfigError::Http { sink: sink(), source })?;
        if certificates.is_empty() {
            let problem = format!("{} holds no certificate", path.display());
            return Err(ConfigError::Value { sink: sink(), field: "ca_file", problem });
        }
        builder = builder.tls_certs_only(certificates);
    }
    builder.build().map_err(|source| ConfigError::Http { sink: sink(), source })
}

/// An answer, whatever its status.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Seconds of `Retry-After`.
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: Bytes,
}

impl Answer {
    /// Status and beginning of the body, for a log or a letter.
    pub(crate) fn words(&self) -> String {
        format!("HTTP {}: {}", self.status, excerpt(&String::from_utf8_lossy(&self.body)))
    }
}

/// Sends `request`.
///
/// Errors: there is no answer, or none that can be read; the words say why. Whether the server worked on the request
/// is not known then.
pub(crate) async fn exchange(request: RequestBuilder) -> Result<Answer, String> {
    let response = request.send().await.map_err(|error| chain(&error))?;
    let status = response.status().as_u16();
    let header = response.headers().get(reqwest::header::RETRY_AFTER);
    let seconds = header.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let mut body = BytesMut::new();
    let mut parts = response.bytes_stream();
    while let Some(part) = parts.next().await {
        let part = part.map_err(|error| chain(&error))?;
        if body.len() + part.len() > MOST_ANSWER {
            return Err(format!("the answer has more than {MOST_ANSWER} bytes"));
        }
        body.extend_from_slice(&part);
    }
    Ok(Answer { status, retry_after: seconds.map(Duration::from_secs), body: body.freeze() })
}

/// `body`, compressed.
pub(crate) fn gzip(body: &[u8]) -> Result<Vec<u8>, std::io::Error> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    std::io::Write::write_all(&mut encoder, body)?;
    encoder.finish()
}

/// The beginning of `text`.
pub(crate) fn excerpt(text: &str) -> String {
    match text.char_indices().nth(MOST_WORDS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

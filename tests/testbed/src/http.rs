//! A small blocking HTTP client for the servers under test; a response of any status is a result, not an error.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use ureq::http::{Method, Request};

/// An HTTP response of any status.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body as text.
    pub text: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.text).with_context(|| format!("HTTP {}, not JSON: {}", self.status, self.text))
    }

    /// The body as one JSON value per line.
    pub fn json_lines(&self) -> Result<Vec<Value>> {
        let lines = self.text.lines().filter(|line| !line.trim().is_empty());
        lines.map(|line| serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))).collect()
    }

    /// The response itself when its status is 2xx, else an error with status and body.
    pub fn success(self) -> Result<Self> {
        anyhow::ensure!((200..300).contains(&self.status), "HTTP {}: {}", self.status, self.text);
        Ok(self)
    }
}

/// Sends one request on its own connection. `headers` are added as they are.
///
/// Errors: no complete response within 30 seconds.
pub fn request(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer> {
    let context = || format!("{method} {url}");
    let mut request = Request::builder().method(Method::from_bytes(method.as_bytes())?).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    // A connection that is kept alive would break when a server restarts.
    let request = request.header("connection", "close").body(body).with_context(context)?;
    let agent = ureq::Agent::new_with_config(
        ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(30)))
            .allow_non_standard_methods(true)
            .build(),
    );
    let mut response = agent.run(request).with_context(context)?;
    let status = response.status().as_u16();
    let text = response.body_mut().with_config().limit(1 << 30).read_to_string().with_context(context)?;
    Ok(Answer { status, text })
}

/// Sends a GET request.
pub fn get(url: &str) -> Result<Answer> {
    request("GET", url, &[], &[])
}

/// Sends `body` as JSON with the given method.
pub fn send_json(method: &str, url: &str, body: &Value) -> Result<Answer> {
    request(method, url, &[("content-type", "application/json")], body.to_string().as_bytes())
}

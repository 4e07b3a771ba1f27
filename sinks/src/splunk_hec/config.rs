//! The keys of a Splunk sink, checked.

use std::fmt;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::config::{ConfigError, SinkConfig};

/// Path of the endpoint for events, unless `url` has one.
const EVENTS: &str = "/services/collector/event";

/// What the server did with the events of a request before the refused one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BeforeRefused {
    /// They are indexed: Splunk.
    #[default]
    Indexed,
    /// They are discarded with the request.
    Discarded,
}

/// Where a Splunk sink sends to.
#[derive(Clone)]
pub struct SplunkTarget {
    /// Where events go.
    pub events_url: Url,
    /// Where acknowledgements are asked for.
    pub ack_url: Url,
    /// Value of `Authorization`.
    pub(super) authorization: String,
    /// Index to write to; the token's default without one.
    pub index: Option<String>,
    /// Whether to wait for acknowledgements.
    pub acknowledge: bool,
    /// Longest wait for one.
    pub ack_timeout: Duration,
    /// Pause between two questions.
    pub ack_interval: Duration,
    /// What happened to events before a refused one.
    pub before_refused: BeforeRefused,
    /// Longest wait for an answer.
    pub timeout: Duration,
    /// Certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
}

impl fmt::Debug for SplunkTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SplunkTarget").field("events_url", &self.events_url.as_str()).finish_non_exhaustive()
    }
}

impl SplunkTarget {
    pub(crate) fn of(config: &SinkConfig) -> Result<Self, ConfigError> {
        let Some(token) = &config.token else { return Err(config.wrong("token", "is required")) };
        let acknowledge = config.acknowledge.unwrap_or(false);
        for (field, set) in [
            ("ack_timeout_seconds", config.ack_timeout_seconds.is_some()),
            ("ack_interval_ms", config.ack_interval_ms.is_some()),
        ] {
            if set && !acknowledge {
                return Err(config.wrong(field, "needs acknowledge = true"));
            }
        }
        let mut events_url = config.server()?;
        if events_url.path() == "/" {
            events_url.set_path(EVENTS);
        }
        let token = config.reveal("token", token)?;
        if !token.chars().all(|c| c.is_ascii_graphic()) {
            return Err(config.wrong("token", "holds characters that no HTTP header can"));
        }
        Ok(Self {
            ack_url: ack_url(&events_url),
            events_url,
            authorization: format!("Splunk {token}"),
            index: config.index.clone(),
            acknowledge,
            ack_timeout: Duration::from_secs(config.ack_timeout_seconds.map_or(120, NonZeroU64::get)),
            ack_interval: Duration::from_millis(config.ack_interval_ms.map_or(1_000, NonZeroU64::get)),
            before_refused: config.before_refused.unwrap_or_default(),
            timeout: config.timeout(),
            ca_file: config.ca_file.clone(),
        })
    }
}

/// `.../collector/event` becomes `.../collector/ack`, also behind a proxy's prefix.
fn ack_url(events: &Url) -> Url {
    let path = events.path().trim_end_matches('/');
    let collector = path.strip_suffix("/1.0").unwrap_or(path);
    let collector = collector.strip_suffix("/event").unwrap_or(collector);
    let mut url = events.clone();
    url.set_path(&format!("{collector}/ack"));
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (url, events, ack) in [
            ("https://s:8088", "https://s:8088/services/collector/event", "https://s:8088/services/collector/ack"),
            (
                "https://s/services/collector/event/1.0",
                "https://s/services/collector/event/1.0",
                "https://s/services/collector/ack",
            ),
            ("https://s/x/services/collector", "https://s/x/services/collector", "https://s/x/services/collector/ack"),
        ] {
            let config = serde_json::json!({"name": "s", "kind": "splunk_hec", "url": url, "token": "t"});
            let config: SinkConfig = serde_json::from_value(config).unwrap();
            let target = SplunkTarget::of(&config).unwrap();
            assert_eq!((target.events_url.as_str(), target.ack_url.as_str()), (events, ack), "{url}");
        }
    }
}

//! The keys of a Splunk sink, and the addresses and credentials made from them.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use kerntrail_common::settings::positive;
use reqwest::Client;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use super::SplunkHec;
use crate::config::{KeyError, Settings};
use crate::destination::Destination;
use crate::http::config::HttpKind;
use crate::secret::{CurrentSecret, Secret};

/// Path of the endpoint for events, unless `url` has one.
const EVENTS: &str = "/services/collector/event";

/// A Splunk HTTP Event Collector (HEC).
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct SplunkHecConfig {
    /// HEC token: text, `{ env = "NAME" }` or `{ file = "/path" }`.
    pub token: Secret,
    /// Index to write to; the token's default index where it is not set.
    #[serde(default)]
    pub index: Option<String>,
    /// Wait until indexers acknowledge events, and resend those that they do not acknowledge. The token must have
    /// acknowledgement enabled.
    #[serde(default)]
    pub acknowledge: bool,
    /// Longest wait for an acknowledgement, in seconds.
    #[serde(default = "ack_timeout")]
    pub ack_timeout_seconds: NonZeroU32,
    /// Interval at which acknowledgements are queried, in milliseconds.
    #[serde(default = "ack_interval")]
    pub ack_interval_ms: NonZeroU32,
    /// What the server does with the events of a request that precede a refused one.
    #[serde(default)]
    pub before_refused: BeforeRefused,
}

fn ack_timeout() -> NonZeroU32 {
    positive::<120, _>()
}

fn ack_interval() -> NonZeroU32 {
    positive::<1_000, _>()
}

/// What the server did with the events of a request before the refused one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BeforeRefused {
    /// It indexes them, as Splunk does.
    #[default]
    Indexed,
    /// It discards the whole request, as some receivers of the protocol do.
    Discarded,
}

/// Where a Splunk sink sends to.
#[derive(Clone)]
pub(super) struct Target {
    /// Where events go.
    pub(super) events_url: Url,
    /// Where acknowledgements are queried.
    pub(super) ack_url: Url,
    /// What `Authorization` has behind `Splunk `.
    pub(super) token: CurrentSecret,
}

impl fmt::Debug for Target {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("events_url", &self.events_url.as_str()).finish_non_exhaustive()
    }
}

impl SplunkHecConfig {
    pub(super) fn ack_timeout(&self) -> Duration {
        Duration::from_secs(self.ack_timeout_seconds.get().into())
    }

    pub(super) fn ack_interval(&self) -> Duration {
        Duration::from_millis(self.ack_interval_ms.get().into())
    }

    fn target(&self, mut url: Url) -> Result<Target, KeyError> {
        for (key, is_set) in [
            ("ack_timeout_seconds", self.ack_timeout_seconds != ack_timeout()),
            ("ack_interval_ms", self.ack_interval_ms != ack_interval()),
        ] {
            if is_set && !self.acknowledge {
                return Err(KeyError::value(key, "needs acknowledge = true"));
            }
        }
        if url.path() == "/" {
            url.set_path(EVENTS);
        }
        let token = self.token.of_key("token")?;
        if !token.text().chars().all(|c| c.is_ascii_graphic()) {
            return Err(KeyError::value("token", "contains characters that are not allowed in an HTTP header"));
        }
        Ok(Target { ack_url: ack_url(&url), events_url: url, token })
    }
}

impl HttpKind for SplunkHecConfig {
    fn connect(&self, url: Url, client: Client, settings: &Settings) -> Result<Box<dyn Destination>, KeyError> {
        Ok(Box::new(SplunkHec::new(client, self.target(url)?, self.clone(), settings.profile)))
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
        let config: SplunkHecConfig = serde_json::from_value(serde_json::json!({"token": "t"})).unwrap();
        for (url, events, ack) in [
            ("https://s:8088", "https://s:8088/services/collector/event", "https://s:8088/services/collector/ack"),
            (
                "https://s/services/collector/event/1.0",
                "https://s/services/collector/event/1.0",
                "https://s/services/collector/ack",
            ),
            ("https://s/x/services/collector", "https://s/x/services/collector", "https://s/x/services/collector/ack"),
        ] {
            let target = config.target(url.parse().unwrap()).unwrap();
            assert_eq!((target.events_url.as_str(), target.ack_url.as_str()), (events, ack), "{url}");
        }
    }
}

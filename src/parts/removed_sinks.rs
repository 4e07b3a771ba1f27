//! Sinks that are no longer configured: what they have not read waits for a while, in case they come back.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use kerntrail_common::durable;
use kerntrail_common::error::chain;
use kerntrail_sinks::runner::GROUP_PREFIX;
use kerntrail_transport::Group;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::parts::event_log::Log;

/// Version of the file.
const VERSION: u32 = 1;

/// The file `removed-sinks.json` in the data folder.
#[derive(Debug, Default, PartialEq, Deserialize, Serialize)]
struct RemovedSinks {
    version: u32,
    /// When a server first ran without each of them, in seconds since the Unix epoch.
    since: BTreeMap<String, u64>,
}

impl RemovedSinks {
    /// Errors: the file is damaged, or a newer release wrote it.
    fn read(path: &Path) -> anyhow::Result<Self> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error).context("cannot read it"),
        };
        let removed: Self = serde_json::from_slice(&text).context("it is damaged")?;
        anyhow::ensure!(removed.version <= VERSION, "version {} is of a newer release", removed.version);
        Ok(removed)
    }

    /// Of the sinks `missing` from the configuration at `now` (in seconds), those that have been for `keep`; the others are
    /// noted.
    fn due(&mut self, missing: &[&str], now: u64, keep: Duration) -> Vec<String> {
        let since = |name: &&str| ((*name).to_owned(), self.since.get(*name).copied().unwrap_or(now));
        let (due, waiting): (Vec<_>, Vec<_>) =
            missing.iter().map(since).partition(|(_, since)| now.saturating_sub(*since) >= keep.as_secs());
        *self = Self { version: VERSION, since: waiting.into_iter().collect() };
        due.into_iter().map(|(name, _)| name).collect()
    }
}

/// Forgets what sinks have read that have not been configured for `log.keep_for_removed_sinks`. Only a server calls this:
/// a command may have been given another configuration.
pub async fn forget(config: &Config, log: &Log) {
    let (Some(log), Ok(sinks)) = (&log.embedded, config.sinks()) else { return };
    let path = config.data_dir.join("removed-sinks.json");
    let mut removed = match RemovedSinks::read(&path) {
        Ok(removed) => removed,
        Err(error) => {
            tracing::warn!(path = %path.display(), "sinks that are no longer configured are not forgotten: {error:#}");
            return;
        }
    };
    let groups = log.groups();
    let names = groups.iter().filter_map(|group| group.0.strip_prefix(GROUP_PREFIX));
    let missing: Vec<&str> = names.filter(|name| !sinks.iter().any(|sink| sink.name == *name)).collect();
    let keep = config.log.keep_for_removed_sinks;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let before = removed.since.clone();
    for sink in removed.due(&missing, now, keep.0) {
        match log.forget(&Group(format!("{GROUP_PREFIX}{sink}"))).await {
            Ok(()) => tracing::warn!(sink, "forgot a sink that is no longer configured, and what it had not read"),
            Err(error) => {
                tracing::warn!(sink, error = chain(&error), "cannot forget a sink");
                let since = before.get(&sink).copied().unwrap_or(now);
                removed.since.insert(sink, since);
            }
        }
    }
    for sink in removed.since.keys() {
        tracing::warn!(
            sink,
            "this sink is no longer configured; rows wait for it for {keep} (log.keep_for_removed_sinks)"
        );
    }
    let stored =
        serde_json::to_vec(&removed).map_err(std::io::Error::from).and_then(|text| durable::replace(&path, &text));
    if let Err(error) = stored {
        tracing::warn!(path = %path.display(), %error, "cannot note which sinks are no longer configured");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sink_is_forgotten_once_it_was_missing_for_long_enough() {
        let (mut removed, keep) = (RemovedSinks::default(), Duration::from_secs(100));
        // sinks that are missing, at which time, those to forget
        for (missing, now, expected) in [
            (&["a"][..], 1_000, &[][..]),
            (&["a", "b"], 1_050, &[]),
            (&["a", "b"], 1_099, &[]),
            (&["a", "b"], 1_100, &["a"]),
            // It was there in between, so its time begins anew.
            (&[], 1_120, &[]),
            (&["b"], 1_160, &[]),
            (&["b"], 1_260, &["b"]),
        ] {
            assert_eq!(removed.due(missing, now, keep), expected, "{missing:?} at {now}");
        }
    }

    #[test]
    fn a_file_of_a_newer_release_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("removed-sinks.json");
        assert_eq!(RemovedSinks::read(&path).unwrap(), RemovedSinks::default());
        std::fs::write(&path, r#"{"version":1,"since":{"s":7}}"#).unwrap();
        assert_eq!(RemovedSinks::read(&path).unwrap().since["s"], 7);
        for text in ["{\"version\":2,\"since\":{}}", "{"] {
            std::fs::write(&path, text).unwrap();
            assert!(RemovedSinks::read(&path).is_err(), "{text}");
        }
    }
}

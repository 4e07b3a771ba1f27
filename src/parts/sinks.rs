//! The configured sinks.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use kerntrail_common::error::chain;
use kerntrail_sinks::config::{check_all, check_distinct};
use kerntrail_sinks::loss::LossWriter;
use kerntrail_sinks::runner::SinkError;
use kerntrail_sinks::{Sink, SinkConfig, SinkStatus};
use kerntrail_transport::{EmbeddedLog, EventLog, Topic, append_patiently};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, ConfigError};
use crate::parts::{self, event_log::Log, http};

/// Shortest time between two messages about what sinks did not get.
const LOSSES: Duration = Duration::from_secs(10);

/// Where the running server says what its sinks do.
pub const PATH: &str = "/api/v1/sinks";

/// Checks the configured sinks; connects to nothing.
///
/// Errors: the first thing that is wrong, where it was written.
pub fn check(config: &Config) -> Result<(), ConfigError> {
    check_all(config.sinks()?).map_err(|error| config.sources.error_in_sink(None, error))
}

/// A runner for each configured sink.
pub fn make(config: &Config, opened: &Log) -> anyhow::Result<Vec<Sink>> {
    let sinks = config.sinks()?;
    check_distinct(sinks).map_err(|error| config.sources.error_in_sink(None, error))?;
    sinks.iter().map(|sink| make_one(config, sink, opened)).collect()
}

/// A runner for `sink`, one of those of `config`.
pub fn make_one(config: &Config, sink: &SinkConfig, opened: &Log) -> anyhow::Result<Sink> {
    match Sink::new(sink, Arc::clone(&opened.log), &parts::dead_letters_dir(config), &config.tenant) {
        Err(SinkError::Config(error)) => Err(config.sources.error_in_sink(None, *error).into()),
        made => Ok(made?.with_holds(opened.holds.clone())),
    }
}

/// The states of the sinks in the running server; `None` when none runs.
pub async fn ask_server(config: &Config) -> anyhow::Result<Option<Vec<SinkStatus>>> {
    let Ok(response) = http::Client::new(config)?.get(PATH).send().await else { return Ok(None) };
    let response = response.error_for_status().context("the running kerntrail does not say what its sinks do")?;
    response.json().await.map(Some).context("unexpected response from the running kerntrail")
}

/// Appends rows to `topic` about what the sinks did not get, until `stop`, and then once more: storing still runs. At most
/// one message every [`LOSSES`].
pub async fn record_losses(
    log: EmbeddedLog,
    topic: Topic,
    mut writer: LossWriter,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        let is_last = stop.is_cancelled();
        let expired = tokio::select! {
            biased;
            expired = log.expired() => expired,
            () = stop.cancelled() => return Ok(()),
        };
        match writer.message(&expired) {
            Ok(message) if is_last => {
                if let Err(error) = log.append(&topic, vec![message]).await {
                    tracing::warn!(error = chain(&error), ?expired, "sinks did not get these rows");
                }
            }
            Ok(message) => tokio::select! {
                appended = append_patiently(&log, &topic, vec![message]) => {
                    appended.context("cannot record what sinks did not get")?
                }
                () = stop.cancelled() => tracing::warn!(?expired, "sinks did not get these rows"),
            },
            Err(error) => tracing::error!(error = chain(&error), ?expired, "sinks did not get these rows"),
        }
        if is_last {
            return Ok(());
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(LOSSES) => {}
        }
    }
}

/// Registers each sink's consumer group in the log, so that rows appended before its first run wait for it. If the
/// sinks cannot be read, logs a warning and registers none: the service does it.
pub async fn register(config: &Config, opened: &Log) -> anyhow::Result<()> {
    if let Err(error) = config.sinks() {
        tracing::warn!(error = chain(&error), "sinks that have never run do not get the rows of this command");
        return Ok(());
    }
    for sink in make(config, opened)? {
        sink.register().await?;
    }
    Ok(())
}

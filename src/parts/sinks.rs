//! The configured sinks.

use std::sync::Arc;

use kerntrail_common::error::chain;
use kerntrail_sinks::Sink;
use kerntrail_sinks::config::{check_all, check_distinct};
use kerntrail_sinks::runner::SinkError;

use crate::config::{Config, ConfigError};
use crate::parts::{self, event_log::Log};

/// Checks the configured sinks; connects to nothing.
///
/// Errors: the first thing that is wrong, where it was written.
pub fn check(config: &Config) -> Result<(), ConfigError> {
    check_all(config.sinks()?).map_err(|error| config.sources.error_in_sink(None, error))
}

/// A runner for each configured sink.
pub fn make(config: &Config, opened: &Log) -> anyhow::Result<Vec<Sink>> {
    let wrong = |error| config.sources.error_in_sink(None, error);
    let sinks = config.sinks()?;
    check_distinct(sinks).map_err(wrong)?;
    let dead_letters = parts::dead_letters_dir(config);
    let one = |sink| match Sink::new(sink, Arc::clone(&opened.log), &dead_letters, &config.tenant) {
        Err(SinkError::Config(error)) => Err(wrong(*error).into()),
        made => Ok(made?.with_holds(opened.holds.clone())),
    };
    sinks.iter().map(one).collect()
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

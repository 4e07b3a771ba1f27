//! The configured sinks.

use std::sync::Arc;

use kerntrail_common::error::chain;
use kerntrail_sinks::Sink;
use kerntrail_sinks::config::check_all;
use kerntrail_sinks::runner::SinkError;

use crate::config::{Config, ConfigError};
use crate::parts::{self, event_log::Log};

/// Checks the configured sinks; connects to nothing.
///
/// Errors: the first thing that is wrong, where it was written.
pub fn check(config: &Config) -> Result<(), ConfigError> {
    check_all(&config.sinks).map_err(|error| blame(config, error))
}

fn blame(config: &Config, error: kerntrail_sinks::config::ConfigError) -> ConfigError {
    let path = format!("sinks.{}.{}", error.sink(), error.field());
    config.sources.blame(&path, chain(&error))
}

/// A runner for each configured sink.
pub fn make(config: &Config, opened: &Log) -> anyhow::Result<Vec<Sink>> {
    check(config)?;
    let dead_letters = parts::dead_letters_dir(config);
    let one = |sink| match Sink::new(sink, Arc::clone(&opened.log), &dead_letters, &config.tenant) {
        Err(SinkError::Config(error)) => Err(blame(config, error).into()),
        made => Ok(made?.with_holds(opened.holds.clone())),
    };
    config.sinks.iter().map(one).collect()
}

/// Gives each sink its place in the log, so that rows appended before it first runs wait for it.
pub async fn register(config: &Config, opened: &Log) -> anyhow::Result<()> {
    for sink in make(config, opened)? {
        sink.register().await?;
    }
    Ok(())
}

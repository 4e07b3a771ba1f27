//! The program's own messages: structured, on standard error.

use std::io::IsTerminal;

use kerntrail_common::settings::checked;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use tracing_subscriber::EnvFilter;

/// Level of messages from crates that are not ours.
const OTHERS: &str = "warn";

/// The program's own messages.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LoggingConfig {
    /// Level of the messages: error, warn, info, debug, trace, or a tracing filter such as `kerntrail_sinks=debug`.
    #[serde(deserialize_with = "level")]
    pub level: String,
    /// Format of the messages on standard error.
    pub format: LogFormat,
}

impl Default for LoggingConfig {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Text }
    }
}

/// Format of the program's own messages.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// A line of text per message.
    Text,
    /// A JSON object per line.
    Json,
}

fn level<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    checked(deserializer, |level: &String| filter_of(level).map(drop))
}

/// Starts writing messages as `config` says; a command that is not a server writes only warnings and errors.
pub fn start(config: &LoggingConfig, serves: bool) -> anyhow::Result<()> {
    let level = if !serves && config.level == "info" { "warn" } else { config.level.as_str() };
    let filter = filter_of(level).map_err(anyhow::Error::msg)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match config.format {
        LogFormat::Text => builder.with_target(false).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    Ok(())
}

/// The filter that `level` stands for.
///
/// Errors: why it is neither a level nor a filter.
fn filter_of(level: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(filter(level)).map_err(|error| format!("{level:?} is neither a level nor a filter: {error}"))
}

/// A bare level applies to kerntrail's own crates.
fn filter(level: &str) -> String {
    if level.contains(['=', ',']) {
        return level.to_owned();
    }
    format!("{OTHERS},kerntrail={level},{}", crate_filters(level))
}

fn crate_filters(level: &str) -> String {
    let crates =
        ["ebpf", "collector", "transport", "lake", "pipeline", "sinks", "query_engine", "query_service", "detections"];
    crates.map(|name| format!("kerntrail_{name}={level}")).join(",")
}

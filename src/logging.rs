//! The program's own messages: structured, on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, Logging};

/// Other people's crates speak only of what is wrong.
const OTHERS: &str = "warn";

/// Starts writing messages as `config` says; a command that is no server keeps to what is wrong.
pub fn start(config: &Logging, serves: bool) -> anyhow::Result<()> {
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

/// What `level` lets through.
///
/// Errors: why it is neither a level nor a filter.
pub fn filter_of(level: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(filter(level)).map_err(|error| format!("{level:?} is no level and no filter: {error}"))
}

/// A bare level is meant for kerntrail itself.
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

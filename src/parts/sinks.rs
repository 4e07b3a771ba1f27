//! The configured sinks.

use std::sync::Arc;

use kerntrail_sinks::{Sink, config::check_all};
use kerntrail_transport::EventLog;

use crate::config::Config;
use crate::parts;

/// A runner for each configured sink.
pub fn make(config: &Config, log: &Arc<dyn EventLog>) -> anyhow::Result<Vec<Sink>> {
    check_all(&config.sinks)?;
    let dead_letters = parts::dead_letters_dir(config);
    let one = |sink| Ok(Sink::new(sink, Arc::clone(log), &dead_letters, &config.tenant)?);
    config.sinks.iter().map(one).collect()
}

/// Gives each sink its place in the log, so that rows appended before it first runs wait for it.
pub async fn register(config: &Config, log: &Arc<dyn EventLog>) -> anyhow::Result<()> {
    for sink in make(config, log)? {
        sink.register().await?;
    }
    Ok(())
}

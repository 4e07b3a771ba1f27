//! The collector, set up from the configuration.

use std::sync::Arc;

use anyhow::Context;
use kerntrail_collector::{Collector, CollectorConfig};
use kerntrail_transport::EventLog;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::parts;

/// The collector's own settings.
pub fn settings(config: &Config) -> CollectorConfig {
    CollectorConfig {
        node: config.node.clone(),
        kube: config.kubernetes.access(),
        cluster: config.cluster.clone(),
        tenant: config.tenant.clone(),
        state_dir: Some(parts::state_dir(config)),
        ..config.collector.clone()
    }
}

/// Loads the kernel programs: events are seen from now on. The future collects until `stop`, then drains.
pub fn start(
    config: &Config,
    log: Arc<dyn EventLog>,
    stop: CancellationToken,
) -> anyhow::Result<impl Future<Output = anyhow::Result<()>> + Send + 'static> {
    let collector = Collector::live(settings(config)).context("cannot start the collector")?;
    Ok(async move { collector.run(log, stop).await.context("the collector failed") })
}

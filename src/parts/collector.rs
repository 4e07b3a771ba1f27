//! The collector, as the configuration asks for it.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use kerntrail_collector::{Collector, CollectorConfig, Kube, MaskConfig};
use kerntrail_transport::EventLog;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Watch};

/// Where a pod finds its service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// The collector's own settings.
pub fn settings(config: &Config) -> CollectorConfig {
    CollectorConfig {
        node: config.node.name(),
        cluster: config.cluster.clone(),
        tenant: config.tenant.clone(),
        host_root: config.node.root.clone(),
        host_pid: config.node.pid,
        kube: kube(config),
        batch_rows: config.collector.batch_rows,
        batch_wait_ms: config.collector.batch_interval.0.as_millis() as u64,
        ring_bytes: u32::try_from(config.collector.ring_size.0).unwrap_or(u32::MAX),
        max_processes: config.collector.max_processes,
        state_dir: Some(config.data_dir.join("state")),
        mask: MaskConfig { patterns: config.collector.mask.clone(), ..MaskConfig::default() },
        ..CollectorConfig::default()
    }
}

fn kube(config: &Config) -> Kube {
    let kubeconfig = &config.kubernetes.kubeconfig;
    match config.kubernetes.watch {
        Watch::Off => Kube::Off,
        Watch::Auto if !kubeconfig.as_os_str().is_empty() => Kube::Kubeconfig(kubeconfig.clone()),
        Watch::Auto if Path::new(SERVICE_ACCOUNT).exists() => Kube::InCluster,
        Watch::Auto => Kube::Off,
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

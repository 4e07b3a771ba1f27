//! Prometheus metrics of all parts.

use anyhow::Context;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

/// Starts counting; the handle renders what was counted.
pub fn start() -> anyhow::Result<PrometheusHandle> {
    PrometheusBuilder::new().install_recorder().context("cannot start metrics")
}

//! Prometheus metrics of all parts.

use anyhow::Context;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

/// Starts counting; the handle renders what was counted, each metric with its meaning.
pub fn start() -> anyhow::Result<PrometheusHandle> {
    let handle = PrometheusBuilder::new().install_recorder().context("cannot start metrics")?;
    kerntrail_collector::metrics::describe();
    kerntrail_transport::metrics::describe();
    kerntrail_pipeline::metrics::describe();
    kerntrail_lake::metrics::describe();
    kerntrail_sinks::metrics::describe();
    kerntrail_query_engine::metrics::describe();
    kerntrail_detections::metrics::describe();
    Ok(handle)
}

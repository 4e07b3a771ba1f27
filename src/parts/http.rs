//! The HTTP service: queries, imports, health and metrics on one loopback address.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use kerntrail_query_service::{Engine, http as query};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// A bound listener, so that a port in use is told before anything starts.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} (http.listen); is another kerntrail running?"))
}

/// Serves until `stop` ends.
pub async fn serve(
    listener: TcpListener,
    engine: Arc<Engine>,
    extra: Router,
    metrics: PrometheusHandle,
    ready: watch::Receiver<bool>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let routes = query::router(engine).merge(extra).merge(health(metrics, ready)).fallback(nowhere);
    let app = query::only_from_here(routes);
    axum::serve(listener, app).with_graceful_shutdown(stop).await.context("the HTTP service failed")
}

/// What there is, for who asks for something else.
async fn nowhere() -> (StatusCode, &'static str) {
    let routes = "POST /api/v1/query, GET /api/v1/tree, GET /api/v1/timeline, POST /api/v1/import, \
                  GET /healthz, GET /readyz, GET /metrics\n";
    (StatusCode::NOT_FOUND, routes)
}

/// `/healthz`: the process lives. `/readyz`: every part runs. `/metrics`: Prometheus text.
fn health(metrics: PrometheusHandle, ready: watch::Receiver<bool>) -> Router {
    let readyz = move || {
        let ready = *ready.borrow();
        async move { if ready { (StatusCode::OK, "ready\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "starting\n") } }
    };
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(async move || metrics.render()))
}

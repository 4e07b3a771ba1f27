//! The HTTP service: queries, imports, health and metrics on one loopback address.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use kerntrail_query_service::server;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long requests under way may go on once the program is to end.
const GRACE: Duration = Duration::from_secs(5);

/// A bound listener, so that a port in use is told before anything starts.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} (http.listen); is another kerntrail running?"))
}

/// Serves until `stop`, then lets requests under way end, for [`GRACE`] at most.
pub async fn serve(
    listener: TcpListener,
    queries: Router,
    extra: Router,
    metrics: PrometheusHandle,
    ready: watch::Receiver<bool>,
    stop: CancellationToken,
) {
    let routes = queries.merge(extra).merge(health(metrics, ready)).fallback(nowhere);
    let app = server::only_from_here(routes);
    let served = server::serve(listener, app, server::HEAD_TIMEOUT, stop.clone());
    let cut = async {
        stop.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        () = served => {}
        () = cut => tracing::warn!("requests that do not end were cut off"),
    }
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

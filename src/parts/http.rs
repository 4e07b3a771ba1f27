//! The HTTP service: queries, imports, health and metrics on one loopback address.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use kerntrail_query_service::server;
use kerntrail_transport::Holds;
use metrics_exporter_prometheus::PrometheusHandle;
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The HTTP service.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Address that the HTTP service listens on; loopback only.
    #[serde(deserialize_with = "loopback")]
    #[schemars(with = "String")]
    pub listen: SocketAddr,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 7474)) }
    }
}

fn loopback<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    let address =
        text.parse().map_err(|_| D::Error::custom(format!("{text:?} is not an address such as 127.0.0.1:7474")))?;
    server::check_loopback(address).map_err(D::Error::custom)?;
    Ok(address)
}

/// How long requests in flight may continue during shutdown.
const GRACE: Duration = Duration::from_secs(5);

/// A bound listener, so that a port in use is reported before anything starts.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} (http.listen); is another kerntrail running?"))
}

/// A client of the running server. It is on this machine, where no proxy leads: `HTTP_PROXY` does not count.
pub fn client() -> anyhow::Result<reqwest::Client> {
    reqwest::Client::builder().no_proxy().build().context("cannot prepare the HTTP client")
}

/// Serves until `stop`, then waits for requests in flight, for at most [`GRACE`].
pub async fn serve(
    listener: TcpListener,
    queries: Router,
    extra: Router,
    metrics: PrometheusHandle,
    readiness: Readiness,
    stop: CancellationToken,
) {
    let routes = queries.merge(extra).merge(health(metrics, readiness)).fallback(not_found);
    let app = server::only_from_here(routes);
    let served = server::serve(listener, app, server::HEAD_TIMEOUT, stop.clone());
    let cut = async {
        stop.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        () = served => {}
        () = cut => tracing::warn!("requests that did not end in time were cancelled"),
    }
}

/// The response to an unknown path: the paths that exist.
async fn not_found() -> (StatusCode, &'static str) {
    let routes = "POST /api/v1/query, GET /api/v1/tree, GET /api/v1/timeline, POST /api/v1/import, \
                  POST /api/v1/rejected/replay, GET /healthz, GET /readyz, GET /metrics\n";
    (StatusCode::NOT_FOUND, routes)
}

/// Whether every component runs and accepts work.
#[derive(Clone)]
pub struct Readiness {
    /// Whether every component has started and none is stopping.
    pub started: watch::Receiver<bool>,
    /// What waits for an upgrade.
    pub holds: Holds,
}

impl Readiness {
    fn answer(&self) -> (StatusCode, String) {
        if !*self.started.borrow() {
            return (StatusCode::SERVICE_UNAVAILABLE, "starting\n".to_owned());
        }
        let held = self.holds.all();
        if held.is_empty() {
            return (StatusCode::OK, "ready\n".to_owned());
        }
        (StatusCode::SERVICE_UNAVAILABLE, held.iter().map(|hold| format!("{hold}\n")).collect())
    }
}

/// `/healthz`: the process is alive. `/readyz`: every part runs, and none waits for an upgrade. `/metrics`: Prometheus
/// text.
fn health(metrics: PrometheusHandle, readiness: Readiness) -> Router {
    let readyz = move || {
        let answer = readiness.answer();
        async move { answer }
    };
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(async move || metrics.render()))
}

#[cfg(test)]
mod tests {
    use kerntrail_transport::Newer;

    use super::*;

    #[test]
    fn not_ready_while_starting_and_while_something_waits_for_an_upgrade() {
        let (start, started) = watch::channel(false);
        let readiness = Readiness { started, holds: Holds::default() };
        assert_eq!(readiness.answer(), (StatusCode::SERVICE_UNAVAILABLE, "starting\n".to_owned()));
        start.send_replace(true);
        assert_eq!(readiness.answer(), (StatusCode::OK, "ready\n".to_owned()));
        let mut rules = readiness.holds.of("rules");
        rules.hold_file(std::path::Path::new("/x"), Newer { of: "state", version: 2, known: 1 });
        let (status, reason) = readiness.answer();
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(reason.contains("rules leaves /x unchanged: state version 2"), "{reason}");
        drop(rules);
        assert_eq!(readiness.answer().0, StatusCode::OK);
    }
}

//! The HTTP service: queries, imports, health and metrics on one loopback address.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use kerntrail_query_service::isolation::{self, QueryProcess};
use kerntrail_query_service::server::{self, ClientBounds};
use kerntrail_transport::Holds;
use metrics_exporter_prometheus::PrometheusHandle;
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::parts::access;

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

/// A client of the running server, over its Unix socket.
pub struct Client {
    http: reqwest::Client,
    /// Keeps a path of the socket valid.
    _folder: Option<std::fs::File>,
}

impl Client {
    /// A client of the server with the data folder of `config`.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let (socket, folder) = access::short_path(&access::socket_path(config))?;
        let http = reqwest::Client::builder().unix_socket(socket).build().context("cannot prepare the HTTP client")?;
        Ok(Self { http, _folder: folder })
    }

    /// A POST to `path` with these parameters.
    pub fn post(&self, path: &str, parameters: &[(&str, String)]) -> anyhow::Result<reqwest::RequestBuilder> {
        let url = reqwest::Url::parse_with_params(&format!("http://localhost{path}"), parameters)?;
        Ok(self.http.post(url))
    }

    /// A GET of `path`.
    pub fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.http.get(format!("http://localhost{path}"))
    }
}

/// Serves on both listeners until `stop`, then waits for requests in flight, for at most [`GRACE`].
pub async fn serve(
    (tcp, unix): (TcpListener, UnixListener),
    routes: Router,
    bounds: ClientBounds,
    stop: CancellationToken,
) {
    let app = server::only_from_here(routes.fallback(not_found));
    let tcp = server::serve(tcp, app.clone(), bounds, stop.clone());
    let unix = server::serve(unix, app, bounds, stop.clone());
    let served = async { tokio::join!(tcp, unix) };
    let cut = async {
        stop.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        _ = served => {}
        () = cut => tracing::warn!("requests that did not end in time were cancelled"),
    }
}

/// The response to an unknown path: the paths that exist.
async fn not_found() -> (StatusCode, &'static str) {
    let routes = "POST /api/v1/query, GET /api/v1/tree, GET /api/v1/timeline, GET /api/v1/sinks, \
                  POST /api/v1/import, POST /api/v1/rejected/replay, GET /healthz, GET /readyz, GET /metrics\n";
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
    fn answer(&self, queries_are_answered: bool) -> (StatusCode, String) {
        if !*self.started.borrow() {
            return (StatusCode::SERVICE_UNAVAILABLE, "starting\n".to_owned());
        }
        if !queries_are_answered {
            return (StatusCode::SERVICE_UNAVAILABLE, "the process that answers queries is starting\n".to_owned());
        }
        let held = self.holds.all();
        if held.is_empty() {
            return (StatusCode::OK, "ready\n".to_owned());
        }
        (StatusCode::SERVICE_UNAVAILABLE, held.iter().map(|hold| format!("{hold}\n")).collect())
    }
}

/// What other programs ask to know how this one is.
pub struct Health {
    /// The metrics of this process.
    pub metrics: PrometheusHandle,
    /// Whether it accepts work.
    pub readiness: Readiness,
    /// The process that answers queries.
    pub queries: QueryProcess,
}

impl Health {
    /// `/healthz`: the process is alive. `/readyz`: every part runs, and none waits for an upgrade. `/metrics`: Prometheus
    /// text, of both processes.
    pub fn routes(self) -> Router {
        let Self { metrics, readiness, queries } = self;
        let asked = queries.clone();
        let readyz = move || {
            let answer = readiness.answer(asked.is_up());
            async move { answer }
        };
        Router::new()
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(readyz))
            .route("/metrics", get(async move || metrics.render() + &isolation::metrics(&queries).await))
    }
}

#[cfg(test)]
mod tests {
    use kerntrail_transport::Newer;

    use super::*;

    #[test]
    fn not_ready_while_starting_and_while_something_waits_for_an_upgrade() {
        let (start, started) = watch::channel(false);
        let readiness = Readiness { started, holds: Holds::default() };
        assert_eq!(readiness.answer(true), (StatusCode::SERVICE_UNAVAILABLE, "starting\n".to_owned()));
        start.send_replace(true);
        assert_eq!(readiness.answer(true), (StatusCode::OK, "ready\n".to_owned()));
        assert_eq!(readiness.answer(false).0, StatusCode::SERVICE_UNAVAILABLE);
        let mut rules = readiness.holds.of("rules");
        rules.hold_file(std::path::Path::new("/x"), Newer { of: "state", version: 2, known: 1 });
        let (status, reason) = readiness.answer(true);
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(reason.contains("rules holds /x, which it does not change: state version 2"), "{reason}");
        drop(rules);
        assert_eq!(readiness.answer(true).0, StatusCode::OK);
    }
}

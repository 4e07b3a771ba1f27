//! Connections: accepted, bounded in time where nothing is asked, ended when the program ends.

use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use kerntrail_common::error::chain;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Longest time for the head of a request, and for the next request of a connection to begin.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Wait after a connection could not be accepted: with no file descriptor left, the next attempt fails as well.
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);

/// Serves `routes` over HTTP/1.1 until `stop`, then lets requests under way end. Dropping it afterwards leaves them.
///
/// A client that takes longer than `head_timeout` to ask is disconnected.
pub async fn serve(listener: TcpListener, routes: Router, head_timeout: Duration, stop: CancellationToken) {
    let connections = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((socket, _)) => {
                tokio::spawn(connection(socket, routes.clone(), head_timeout, connections.watcher()));
            }
            Err(error) => {
                tracing::warn!(error = chain(&error), "cannot accept a connection");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
    drop(listener);
    connections.shutdown().await;
}

async fn connection(socket: TcpStream, routes: Router, head_timeout: Duration, watcher: Watcher) {
    let service = TowerToHyperService::new(routes);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .serve_connection(TokioIo::new(socket), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(error = chain(&error), "a connection ended early");
    }
}

//! Connections: accepted, closed when no request arrives in time, ended when the program ends.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use kerntrail_common::error::chain;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Longest time for the head of a request, and for the next request of a connection to begin.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Wait after a connection could not be accepted: without a free file descriptor the next attempt fails as well.
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);

/// Serves `routes` over HTTP/1.1 until `stop`, then waits for requests in flight. Dropping it afterwards aborts the wait.
///
/// A client that takes longer than `head_timeout` to send the head of a request is disconnected. Handlers find the
/// client's address as [`ConnectInfo`].
pub async fn serve(listener: TcpListener, routes: Router, head_timeout: Duration, stop: CancellationToken) {
    let connections = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((socket, peer)) => {
                tokio::spawn(connection(socket, peer, routes.clone(), head_timeout, connections.watcher()));
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

async fn connection(socket: TcpStream, peer: SocketAddr, routes: Router, head_timeout: Duration, watcher: Watcher) {
    let routes = TowerToHyperService::new(routes);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        routes.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .serve_connection(TokioIo::new(socket), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(error = chain(&error), "a connection ended early");
    }
}

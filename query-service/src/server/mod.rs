//! Queries, trees and timelines over HTTP, for this machine only.
//!
//! `POST /api/v1/query` takes SQL (as text, or in JSON with options) and streams rows. `GET /api/v1/tree` and
//! `GET /api/v1/timeline` take the options of the commands of the same names. Every refusal is JSON:
//! `{"error":{"kind","message"}}`. There is no login: whoever can reach the socket may read. So the listener is to be
//! on loopback ([`check_loopback`]), and requests that a web page elsewhere made are refused ([`access`]).

mod access;
mod answer;
mod query;
mod serve;
mod story;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware;
use axum::routing::{get, post};

use crate::engine::Engine;

pub use serve::{HEAD_TIMEOUT, serve};

/// Largest request body, in bytes.
pub const MAX_BODY: usize = 1 << 20;

/// An address that others can reach.
#[derive(Debug, thiserror::Error)]
#[error("{0} can be reached from other machines, and queries need no login: listen on 127.0.0.1 or [::1]")]
pub struct NotLoopback(SocketAddr);

/// Refuses an address that is not a loopback address.
pub fn check_loopback(address: SocketAddr) -> Result<(), NotLoopback> {
    if address.ip().to_canonical().is_loopback() { Ok(()) } else { Err(NotLoopback(address)) }
}

/// The routes under `/api/v1`; to be served behind [`only_from_here`], with whatever else is served there.
pub fn router(engine: Arc<Engine>) -> Router {
    Router::new()
        .route("/api/v1/query", post(query::query))
        .route("/api/v1/tree", get(story::tree))
        .route("/api/v1/timeline", get(story::timeline))
        .method_not_allowed_fallback(|| async {
            answer::refusal(
                StatusCode::METHOD_NOT_ALLOWED,
                "user",
                "POST /api/v1/query, GET /api/v1/tree, GET /api/v1/timeline",
            )
        })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(engine)
}

/// `routes`, for requests that were made on this machine and by no foreign web page.
pub fn only_from_here(routes: Router) -> Router {
    routes.layer(middleware::from_fn(access::from_here))
}

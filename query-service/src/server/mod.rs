//! Queries, trees and timelines over HTTP, for this machine only.
//!
//! `POST /api/v1/query` takes SQL (as text, or in JSON with options) and streams rows. `GET /api/v1/tree` and
//! `GET /api/v1/timeline` take the options of the commands of the same names. Every refusal is JSON:
//! `{"error":{"kind","message"}}`. Listeners are on loopback ([`check_loopback`]) or Unix sockets. Local users are distinguished
//! by the credentials of a Unix socket or by a [`Token`]; requests made by a web page of another site are refused ([`access`]).

mod access;
mod answer;
mod callers;
mod connections;
mod query;
mod serve;
mod stall;
mod story;
mod token;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware;
use axum::routing::{get, post};
use kerntrail_query_engine::{Engine, Limits};

use self::callers::Callers;

pub(crate) use self::answer::refusal;
pub use self::callers::{Caller, Rights};
pub use self::token::Token;

pub use serve::{ClientBounds, Listener, serve};

const QUERY: &str = "/api/v1/query";
const TREE: &str = "/api/v1/tree";
const TIMELINE: &str = "/api/v1/timeline";
/// Paths of [`router`].
pub(crate) const PATHS: [&str; 3] = [QUERY, TREE, TIMELINE];

/// Largest request body, in bytes.
pub const MAX_BODY: usize = 1 << 20;

/// An address that others can reach.
#[derive(Debug, thiserror::Error)]
#[error("{0} can be reached from other machines, which nothing encrypts: listen on 127.0.0.1 or [::1]")]
pub struct NotLoopback(SocketAddr);

/// Refuses an address that is not a loopback address.
pub fn check_loopback(address: SocketAddr) -> Result<(), NotLoopback> {
    if address.ip().to_canonical().is_loopback() { Ok(()) } else { Err(NotLoopback(address)) }
}

/// The routes under `/api/v1`, over the tables of `tenant`, each query within `limits`. To be served by [`serve`]
/// behind [`only_from_here`], with whatever else is served there.
pub fn router(engine: Arc<Engine>, tenant: &str, limits: Limits) -> Router {
    Router::new()
        .route(QUERY, post(query::query))
        .route(TREE, get(story::tree))
        .route(TIMELINE, get(story::timeline))
        .method_not_allowed_fallback(async || {
            let methods = format!("POST {QUERY}, GET {TREE}, GET {TIMELINE}");
            answer::refusal(StatusCode::METHOD_NOT_ALLOWED, "user", &methods)
        })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(Callers { engine, tenant: tenant.to_owned(), limits })
}

/// `routes`, for callers who may read, or show `token`.
pub fn for_readers(routes: Router, token: Token) -> Router {
    routes.layer(middleware::from_fn_with_state(token, token::reads))
}

/// `routes`, for callers who may write.
pub fn for_writers(routes: Router) -> Router {
    routes.layer(middleware::from_fn(token::writes))
}

/// `routes`, for requests that were made on this machine and by no foreign web page.
pub fn only_from_here(routes: Router) -> Router {
    routes.layer(middleware::from_fn(access::from_here))
}

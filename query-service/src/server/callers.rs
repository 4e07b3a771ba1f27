//! On whose behalf a request reads.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use kerntrail_query_engine::{Engine, Limits, Principal, RequestOrigin, Role, Session};
use serde::{Deserialize, Serialize};

use super::answer::refusal;

/// What a caller may do. Each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rights {
    /// Ask how the program is.
    Nothing,
    /// Read the history.
    Read,
    /// Add to it.
    Write,
}

/// Who makes a request; an extension of it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Caller {
    /// Name, as the log shows it.
    pub name: String,
    /// Where the request comes from.
    pub origin: RequestOrigin,
    /// What it may do.
    pub rights: Rights,
}

impl Caller {
    /// The user `uid` of this machine. Whoever may write the program's files may also write history through it.
    pub(super) fn local(uid: u32) -> Self {
        // SAFETY: reads a number of this process, and cannot fail.
        let own = unsafe { libc::geteuid() };
        let rights = if uid == 0 || uid == own { Rights::Write } else { Rights::Read };
        Self { name: format!("uid {uid}"), origin: RequestOrigin::Local { protocol: "http".into(), uid }, rights }
    }

    /// A client that has shown nothing yet.
    pub(super) fn remote(peer: SocketAddr) -> Self {
        let origin = RequestOrigin::Network { protocol: "http".into(), peer };
        Self { name: "anonymous".to_owned(), origin, rights: Rights::Nothing }
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        let unknown = || refusal(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the request has no caller");
        parts.extensions.get::<Self>().cloned().ok_or_else(unknown)
    }
}

/// Makes the session of a caller, over the one tenant.
#[derive(Clone)]
pub(super) struct Callers {
    pub(super) engine: Arc<Engine>,
    pub(super) tenant: String,
    pub(super) limits: Limits,
}

impl Callers {
    /// The session of a request by `caller`.
    pub(super) fn session(&self, caller: Caller) -> Session {
        self.engine.session(Principal {
            name: caller.name,
            tenant: self.tenant.clone(),
            role: Role::Reader,
            limits: self.limits,
            origin: caller.origin,
        })
    }
}

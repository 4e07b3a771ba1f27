//! On whose behalf a request reads.

use std::net::SocketAddr;
use std::sync::Arc;

use kerntrail_query_engine::{Engine, Limits, Principal, RequestOrigin, Role, Session};

/// Makes the session of a request. No authentication: anyone who can reach the socket can read the one tenant.
#[derive(Clone)]
pub(super) struct Callers {
    pub(super) engine: Arc<Engine>,
    pub(super) tenant: String,
    pub(super) limits: Limits,
}

impl Callers {
    /// The session of a request from `peer`.
    pub(super) fn session(&self, peer: SocketAddr) -> Session {
        self.engine.session(Principal {
            name: "anonymous".to_owned(),
            tenant: self.tenant.clone(),
            role: Role::Reader,
            limits: self.limits,
            origin: RequestOrigin::Network { protocol: "http", peer },
        })
    }
}

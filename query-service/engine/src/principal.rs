//! On whose behalf a session reads.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::limits::Limits;

/// Who reads: the one thing that a protocol must know before it gets a [`Session`](crate::Session).
#[derive(Clone, Debug)]
pub struct Principal {
    /// Name, as the log shows it.
    pub name: String,
    /// Tenant: the SQL catalog of this name is the only one that the session has.
    pub tenant: String,
    /// What the principal may do.
    pub role: Role,
    /// What each of the principal's queries may use.
    pub limits: Limits,
    /// Where the principal's requests come from.
    pub origin: RequestOrigin,
}

/// What a principal may do. Each role includes those before it; every role may read all tables of its tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Reads.
    Reader,
    /// Reads, and keeps results of an investigation.
    Analyst,
    /// Changes what others may do.
    Admin,
}

impl Role {
    /// Name in configuration and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Analyst => "analyst",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a request comes from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestOrigin {
    /// This process, such as a subcommand.
    Process,
    /// A client over the network.
    Network {
        /// Name of the protocol.
        protocol: Cow<'static, str>,
        /// The client's address.
        peer: SocketAddr,
    },
    /// A process of this machine, over a Unix socket.
    Local {
        /// Name of the protocol.
        protocol: Cow<'static, str>,
        /// The user who runs it.
        uid: u32,
    },
}

impl fmt::Display for RequestOrigin {
    /// `process`, `protocol address:port` or `protocol uid number`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process => f.write_str("process"),
            Self::Network { protocol, peer } => write!(f, "{protocol} {peer}"),
            Self::Local { protocol, uid } => write!(f, "{protocol} uid {uid}"),
        }
    }
}

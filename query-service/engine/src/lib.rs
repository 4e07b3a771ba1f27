//! SQL over any tables: one guarded, read-only way in, within limits.
//!
//! Path of a query: a protocol makes a [`Principal`] and opens its [`Session`] -> a slot among the running queries
//! (bounded number, short wait) -> parsed, and refused if it would write -> planned against a [`Snapshot`] of the
//! tenant's tables -> executed on its own threads, at most two batches ahead of the reader -> [`QueryStream`].
//! Dropping the stream stops all of it.
//!
//! Invariant: a [`Session`] is the only way to the tables, whatever the protocol, and every session has a principal.
//! Invariant: nothing here writes. SQL that would is refused before it is planned, any other plan when it is executed.
//! Invariant: no table, activity or protocol is known here; tables come from [`Tenants`].
//! Invariant: the client and the log get different texts of an error ([`QueryError`]).

mod engine;
mod error;
mod explain;
mod functions;
mod guard;
mod heap;
mod held;
mod implied;
mod in_memory;
mod limits;
mod memory;
pub mod metrics;
pub mod output;
mod pass_through;
mod pieces;
mod principal;
mod session;
mod size;
mod slots;
mod snapshot;
mod spill;
mod stop;
mod stream;
mod tenants;
mod turns;
mod windows;

pub use engine::{Engine, EngineError};
pub use error::{ErrorKind, QueryError};
pub use heap::Tallied;
pub use limits::{Bounds, Capacity, Limits};
pub use principal::{Principal, RequestOrigin, Role};
pub use session::Session;
pub use snapshot::Snapshot;
pub use stream::QueryStream;
pub use tenants::Tenants;

//! SQL, process trees and timelines over the lake.
//!
//! Invariant: nothing here writes; a statement that would is refused before it is planned.
//! Invariant: only `lake_tables` and [`Engine::new`] know the lake; everything else sees [`Tables`].
//! Invariant: text that came from a watched process reaches a terminal or a page only through [`output::escape`].
//! Invariant: what a client is told and what the log is told are different texts ([`QueryError`]).

pub mod engine;
mod error;
mod explain;
mod functions;
mod guard;
pub mod http;
mod lake_tables;
mod limits;
pub mod metrics;
pub mod output;
mod schema;
mod stop;
mod stream;
mod tables;
pub mod timeline;
pub mod tree;
mod views;
mod workers;

pub use engine::Engine;
pub use error::{ErrorKind, QueryError};
pub use limits::{Bounds, Limits};
pub use stream::QueryStream;
pub use tables::{Tables, TablesError};

//! SQL over tables: one guarded, read-only way in, within limits.

pub(crate) mod error;
mod explain;
mod functions;
mod guard;
pub(crate) mod limits;
pub mod metrics;
pub mod output;
mod run;
mod stop;
pub(crate) mod stream;
mod workers;

pub use error::{ErrorKind, QueryError};
pub use limits::{Bounds, Limits};
pub use run::{Engine, EngineError};
pub use stream::QueryStream;

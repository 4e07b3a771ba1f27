//! Event log to lake, and the adapters of imported formats.
//!
//! Path of a row: [`Consumer::poll`](kerntrail_transport::Consumer::poll) -> decode and flatten (`take`) -> the
//! table's buffer -> one Delta commit with the progress of its partitions (`flush`) -> the group's offsets.
//!
//! Invariant: the lake alone knows how far a partition was taken; the group's offsets are for monitoring only.
//! Invariant: what was taken, dropped as known or held is decided in [`progress`], which does no IO.
//! Invariant: bytes that are not a message block nothing; they are set aside ([`rejected`]) and counted in `event_loss`.
//! Invariant: a message of a newer release is neither skipped nor set aside: its partition waits, the others continue.

mod config;
mod error;
mod flush;
pub mod import;
mod late;
mod maintain;
pub mod metrics;
mod pipeline;
pub mod progress;
mod quarantine;
pub mod rejected;
mod run;
mod take;

pub use config::PipelineConfig;
pub use error::PipelineError;
pub use pipeline::Pipeline;

//! Event log to lake, and the adapters of imported formats.
//!
//! The way of a row: [`Consumer::poll`](kerntrail_transport::Consumer::poll) -> decode and flatten (`take`) -> the
//! table's buffer -> one Delta commit with the progress of its partitions (`flush`) -> the group's offsets.
//!
//! Invariant: the lake alone knows how far a partition was taken; the group's offsets are for people and for lag.
//! Invariant: what was taken, dropped as known or set aside is decided in [`progress`], which does no IO.
//! Invariant: a message that cannot be read holds nothing up: it is kept aside and counted in `event_loss`.

mod config;
mod error;
mod flush;
pub mod import;
mod late;
mod maintain;
pub mod metrics;
mod pipeline;
pub mod progress;
mod reject;
mod run;
mod take;

pub use config::PipelineConfig;
pub use error::PipelineError;
pub use pipeline::Pipeline;

//! The foundation: what any crate may need, one module per concept.
//!
//! Invariant: this crate uses no words of the domain and no other crate of the workspace (`tests/architecture.rs`).
//! Invariant: nothing here waits or starts a task; the caller decides where blocking is allowed.

pub mod backoff;
pub mod durable;
pub mod error;
pub mod ids;
pub mod lock;
pub mod mask;
pub mod metric_names;
pub mod period;
pub mod regular_file;
pub mod settings;
pub mod shell;
pub mod size;
pub mod suggest;
pub mod words;

//! The pipeline from an event log in memory to a real lake in a temporary folder.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(unreachable_pub)]

mod damaged;
mod embedded;
mod exactly_once;
#[path = "../../lake/tests/faulty_store.rs"]
mod faulty_store;
mod flow;
mod held;
mod import;
mod late;
mod memory_log;
mod produced;
mod rejected;
mod support;

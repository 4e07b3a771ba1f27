//! Sinks between an event log and real receivers.
//!
//! Every test waits for a state with a limit, and asserts on what the receiver holds and what is committed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod dlq;
mod elastic;
mod embedded;
mod files;
mod held;
mod log;
mod produced;
mod runner;
mod splunk;
mod support;

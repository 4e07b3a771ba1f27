//! The detector through its public boundary: rules in, rows into a lake, findings out of an event log.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod compile;
mod correlations;
mod cursor;
mod produced;
mod shipped;
mod support;

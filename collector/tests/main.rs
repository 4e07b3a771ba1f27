//! The collector through its public boundary: scripted kernel events in, rows in an event log out.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "helpers that the modules share")]

mod ancestry;
mod batches;
mod entries;
mod identity;
mod kernel_records;
mod live;
mod log;
mod losses;
mod memory;
mod pod_watch;
mod produced;
mod script;
mod start;

//! The lake through its public face: real Delta tables in temporary folders.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(unreachable_pub)]

mod added;
mod append;
mod compaction;
mod expiry;
mod faults;
mod faulty_store;
mod lock;
mod reading;
mod snapshots;
mod support;
mod upkeep;

//! Starts each server, uses it, and stops and restarts it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod hec;
mod kafka;
mod kube;
mod opensearch;
mod process;
mod readers;

use std::time::Duration;

/// Longer than anything here takes, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(240);

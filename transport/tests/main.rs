//! The event log as its users see it: what all implementations promise, and what each promises beyond.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail the test")]

mod contract;
mod embedded;
mod golden;
mod kafka;
mod kill;
mod model;
mod spooled;
mod support;

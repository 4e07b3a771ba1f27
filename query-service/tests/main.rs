//! The query service through its public boundary, over a real lake.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod examples;
mod formats;
mod golden;
mod http;
mod limits;
mod obeyed;
mod queries;
mod read_only;
mod rows;
mod script;
mod sessions;
mod skipped_files;
mod story;

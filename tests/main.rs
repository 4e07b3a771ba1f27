//! End-to-end tests, one file per subject: each starts the program as a user would, and real servers where needed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "a test binary exports nothing")]

mod access;
mod architecture;
mod deploy;
mod elastic;
mod escape;
mod hostile;
mod http;
mod kafka;
mod kill;
mod program;
mod reload;
mod replay;
mod rules;
mod splunk;
mod tetragon;

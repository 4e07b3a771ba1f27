//! End to end, by theme: each test starts the program as a user does, and real servers where it needs them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "nothing of a test binary can be reached from outside")]

mod architecture;
mod deploy;
mod elastic;
mod escape;
mod http;
mod kafka;
mod kill;
mod program;
mod replay;
mod splunk;
mod tetragon;

//! Sinks between an event log and real receivers.
//!
//! Every test waits for a state with a limit, and asserts on what the receiver holds and what is committed.

mod dlq;
mod elastic;
mod embedded;
mod files;
mod log;
mod runner;
mod splunk;
mod support;

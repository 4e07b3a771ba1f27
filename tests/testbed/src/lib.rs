//! Starts the real servers that the tests use, and ends only what it started.
//!
//! Invariant: a server listens on 127.0.0.1 only (the Kubernetes node: in its own network namespace).
//! Invariant: nothing waits for a time; every wait is for a state, has a limit, and fails with the last state seen.
//! Invariant: a process is ended by the handle of the child that was started, never by name. This holds when a
//! test panics and when the test process is killed: see [`process`].
//! Invariant: what is downloaded or built lies in one cache folder outside the target directory: see [`cache`].
//!
//! Calls block. An async test may call them directly, as the test has its runtime to itself, or through
//! `spawn_blocking` while it needs its own tasks to go on.

pub mod cache;
pub mod duckdb;
pub mod hec;
pub mod http;
pub mod kafka;
pub mod kube;
pub mod opensearch;
pub mod port;
pub mod process;
pub mod require;
pub mod victorialogs;
pub mod wait;

pub use hec::Hec;
pub use kafka::Kafka;
pub use kube::Node;
pub use opensearch::OpenSearch;
pub use victorialogs::VictoriaLogs;

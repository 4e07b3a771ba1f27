//! Starts the real servers that the tests use, and stops only what it started.
//!
//! Invariant: a server listens on 127.0.0.1 only (the Kubernetes node: in its own network namespace).
//! Invariant: every wait is for a state, never for a time; it has a limit, and fails with the last state seen.
//! Invariant: a process is stopped through the handle of the child that was started, never by name; also when a test
//! panics or the test process is killed: see [`process`].
//! Invariant: what is downloaded or built is in one cache folder outside the target directory: see [`cache`].
//!
//! All calls block. An async test may call them directly, as it has its own runtime; if its own tasks must continue
//! meanwhile, it has to use `spawn_blocking`.

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
pub mod tls;
pub mod victorialogs;
pub mod wait;

pub use hec::Hec;
pub use kafka::Kafka;
pub use kube::Node;
pub use opensearch::OpenSearch;
pub use tls::TlsServer;
pub use victorialogs::VictoriaLogs;

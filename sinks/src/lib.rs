//! Event log to Splunk HEC, Elasticsearch or OpenSearch and NDJSON files, with dead letters.
//!
//! The way of a row: [`runner`] takes messages as a consumer group of the sink's own -> [`select`] decodes them and
//! keeps the rows that `where` selects ([`filter`]) -> [`encode`] writes each in the sink's profile -> [`deliver`]
//! packs requests, tries again, splits, and writes dead letters ([`dlq`]) -> a [`destination::Destination`] talks to
//! one kind of server: one file builds its request, one reads its per-record answer -> [`runner`] commits.
//!
//! Invariant: a message's offset is committed only when each of its selected rows is delivered or is a dead letter
//! on disk. Delivery is therefore at least once; [`splunk_hec`] and [`elasticsearch`] say where a row may arrive twice.
//! Invariant: a destination that is down, and dead letters that are full, hold up their own sink and nothing else.
//! Invariant: what a server's answer means is a pure function to [`outcome::Outcome`]s; only [`deliver`] acts on it.
//! Invariant: only `splunk_hec` and `elasticsearch` know HTTP, only `ndjson` and `dlq` know files.

pub mod config;
pub mod deliver;
pub mod destination;
pub mod dlq;
pub mod elasticsearch;
pub mod encode;
pub mod filter;
mod http;
pub mod metrics;
pub mod ndjson;
pub mod outcome;
pub mod runner;
pub mod secret;
pub mod select;
pub mod splunk_hec;

pub use config::{ConfigError, Kind, SinkConfig};
pub use encode::Profile;
pub use runner::{Sink, SinkError, SinkState};

//! Event log to SIEMs and files, with dead letters; [`kinds`] has the destinations.
//!
//! Path of a row: [`runner`] reads messages as its own consumer group -> [`select`] decodes them and
//! keeps the rows that `where` selects ([`filter`]) -> [`encode`] writes each in the sink's profile -> [`deliver`]
//! packs requests, retries, splits, and writes dead letters ([`dlq`]) -> a [`destination::Destination`] talks to
//! one kind of server, with one file that builds requests and one that decodes responses -> [`runner`] commits.
//!
//! Invariant: a message's offset is committed only when each of its selected rows is delivered or is a dead letter
//! on disk. Delivery is therefore at least once; the module of a
//! kind says where a row may arrive twice.
//! Invariant: a destination that is down, and dead letters at their limit, block only their own sink.
//! Invariant: the meaning of a response is a pure function to [`outcome::Outcome`]s; only [`deliver`] acts on it.
//! Invariant: only [`http`] and the kinds that use it know HTTP, only `kinds::ndjson` and `dlq` know files.
//! Invariant: a kind of destination is a folder in [`kinds`] and a line in its list; its keys, their defaults and their
//! documentation are a struct in that folder.

pub mod backfill;
pub mod config;
pub mod deliver;
pub mod destination;
pub mod dlq;
pub mod encode;
pub mod filter;
pub mod http;
pub mod kinds;
pub mod loss;
pub mod metrics;
pub mod outcome;
pub mod runner;
pub mod secret;
pub mod select;
pub mod state;
pub mod trial;

pub use config::{SinkConfig, SinkConfigError};
pub use encode::Profile;
pub use kinds::Kind;
pub use runner::{Sink, SinkError};
pub use state::{SinkState, SinkStatus};

//! The event log behind one trait: Kafka, or an embedded log on one machine.
//!
//! Invariant: `append` returns only once the messages are durable.
//! Invariant: messages of one key (the node) keep their order.
//! Invariant: nothing here looks into a row; [`codec`] alone knows how rows become bytes.

mod blocking;
pub mod codec;
mod config;
pub mod dedup;
pub mod embedded;
mod holds;
pub mod kafka;
pub mod log;
pub mod metrics;
mod newer;
mod patience;
pub mod spooled;

pub use codec::Codec;
pub use config::{LogConfig, LogKind};
pub use dedup::BatchFilter;
pub use embedded::{EmbeddedLog, EmbeddedOptions, Expired};
pub use holds::{Hold, Holds, ReaderHolds};
pub use kafka::{KafkaLog, KafkaOptions};
pub use log::{Consumer, Delivered, EventLog, Group, Headers, LogError, Message, Partition, Polled, Position, Topic};
pub use newer::Newer;
pub use patience::append_patiently;
pub use spooled::{SpoolOptions, Spooled};

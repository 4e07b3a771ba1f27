//! The event log behind one trait: Kafka, or an embedded log on one machine.
//!
//! Invariant: `append` returns only once the messages are durable.
//! Invariant: messages of one key (the node) keep their order.
//! Invariant: nothing here looks into a row; [`codec`] alone knows how rows become bytes.

pub mod codec;
pub mod log;

pub use log::{Consumer, Delivered, EventLog, Group, Headers, LogError, Message, Partition, Polled, Position, Topic};

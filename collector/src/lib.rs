//! Node agent: kernel records become enriched Arrow batches in the event log.

pub mod event;

//! The detector through its public boundary: rules in, rows into a lake, findings out of an event log.

mod compile;
mod cursor;
mod shipped;
mod support;

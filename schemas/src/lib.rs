//! The event model: tables as Arrow schemas, identities, and the mappings of a row to OCSF and ECS.
//!
//! Invariant: this crate does no IO and knows no other crate of the workspace but `common`.
//! Invariant: a table's columns are written down once, in [`tables`]; row types, Arrow schemas, builders
//! and `docs/tables.md` all come from there.

pub mod batch;
pub mod capabilities;
pub mod cell;
mod columns;
pub mod docs;
pub mod identity;
pub mod mapping;
pub mod tables;

pub use batch::{TableBatch, TableBuilder};
pub use columns::{Column, Columns};
pub use tables::Table;

/// Version of the columns below; it travels in each message so that both sides agree on the Arrow schema.
///
/// A change adds nullable columns and raises it; readers of older files see NULL.
pub const SCHEMA_VERSION: u16 = 1;

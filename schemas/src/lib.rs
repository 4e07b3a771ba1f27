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
pub mod history;
pub mod identity;
pub mod mapping;
pub mod tables;

pub use batch::{TableBatch, TableBuilder};
pub use columns::{Column, Columns};
pub use history::SchemaHistory;
pub use tables::Table;

/// Version of the columns: the highest `since` of any. It travels in each message, which is read by its writer's columns.
///
/// A change adds nullable columns (`since` the next version) and raises it; readers of older messages and files see NULL.
pub const SCHEMA_VERSION: u16 = 1;

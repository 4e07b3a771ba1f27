//! The event model: tables as Arrow schemas, activities, identities, and the mappings of a row to OCSF and ECS.
//!
//! Invariant: this crate does no IO and knows no other crate of the workspace except `common`.
//! Invariant: a table is declared once, in `tables/<table>.rs`, with its columns and its activities; row types, Arrow
//! schemas, builders, mappings, `docs/tables.md` and all other crates read from there.

pub mod activity;
pub mod batch;
pub mod capabilities;
pub mod cell;
mod columns;
pub mod docs;
pub mod errno;
pub mod history;
pub mod identity;
pub mod mapping;
pub mod produced;
pub mod sentence;
pub mod tables;

pub use activity::Activity;
pub use batch::{TableBatch, TableBuilder};
pub use columns::{Column, Columns};
pub use history::SchemaHistory;
pub use tables::Table;

/// Tenant of events where none is configured.
pub const DEFAULT_TENANT: &str = "default";

/// Version of the columns: the highest `since` of any. It travels in each message, which is read by its writer's columns.
///
/// A change adds nullable columns (`since` the next version) and raises it; readers of older messages and files see NULL.
pub const SCHEMA_VERSION: u16 = 2;

//! Maps rows to other schemas: [`ocsf`] (OCSF 1.8) and [`ecs`] (Elastic Common Schema 9).
//!
//! Both are lists of [`document::Placement`]s: column, path in the document, form. What a path needs beyond one column
//! (lists of objects, directions) is a short function. What concerns only one table is next to its columns, in
//! `tables/<table>/to_ocsf.rs` and `to_ecs.rs`; the classification of an activity is in its entry.
//!
//! Invariant: no value is lost. A column without a placement goes, under its own name, into OCSF's `unmapped` or
//! into `kerntrail.*` next to the ECS fields; what is left out on purpose is named in `LEFT_OUT` with the reason.
//! Invariant: an absent column (NULL) leaves its path absent.

pub(crate) mod attack;
pub(crate) mod document;
pub mod ecs;
pub mod ocsf;
mod row;
#[cfg(test)]
mod tests;
pub(crate) mod words;

pub use row::{Row, rows};

use crate::identity;

/// `event_id` of `row`: `stream`-`cpu`-`seq`; `None` where one of them is missing.
pub fn event_id(row: &Row) -> Option<String> {
    let (stream, cpu) = (row.get("stream")?.as_str()?, i32::try_from(row.get("cpu")?.as_i64()?).ok()?);
    Some(identity::event_id(stream, cpu, row.get("seq")?.as_i64()?))
}

//! A row in the words of other schemas: [`ocsf`] (OCSF 1.8) and [`ecs`] (Elastic Common Schema 9).
//!
//! Both are tables of [`document::Place`]s: column, path in the document, form. What a path needs beyond one column
//! (class numbers, lists of objects) is a short function beside its table.
//!
//! Invariant: no value is lost. A column that no table places goes, under its own name, into OCSF's `unmapped` or
//! into `kerntrail.*` beside the ECS fields; a test holds every column of every table to that.
//! Invariant: an absent column (NULL) leaves its path absent.

mod attack;
mod document;
pub mod ecs;
pub mod ocsf;
mod row;
#[cfg(test)]
mod tests;
mod words;

pub use row::{Row, rows};

use crate::identity;

/// `event_id` of `row`: `stream`-`cpu`-`seq`; `None` where one of them is missing.
pub fn event_id(row: &Row) -> Option<String> {
    let (stream, cpu) = (row.get("stream")?.as_str()?, i32::try_from(row.get("cpu")?.as_i64()?).ok()?);
    Some(identity::event_id(stream, cpu, row.get("seq")?.as_i64()?))
}

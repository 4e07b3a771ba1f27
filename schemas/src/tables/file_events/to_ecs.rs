//! `file_events` as events of the category `file`.

use serde_json::Value;

use crate::mapping::document::{Document, Placement, file_name, same};
use crate::mapping::ecs::TableMapping;

pub(super) const MAPPING: TableMapping = TableMapping { kind: "event", columns: COLUMNS, finish };

const COLUMNS: &[Placement] =
    &[("path", "file.path", same), ("path", "file.name", file_name), ("mode", "file.mode", octal)];

fn finish(_: &mut Document<'_>) {}

/// Permission bits as `0644`.
fn octal(mode: &Value) -> Option<Value> {
    Some(format!("{:04o}", mode.as_i64()?).into())
}

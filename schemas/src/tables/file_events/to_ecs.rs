//! `file_events` as events of the category `file`.

use std::path::Path;

use serde_json::Value;

use super::OPEN;
use crate::mapping::document::{Document, Placement, file_name, same};
use crate::mapping::ecs::TableMapping;

pub(super) const MAPPING: TableMapping = TableMapping { kind: "event", columns: COLUMNS, finish };

const COLUMNS: &[Placement] = &[
    ("path", "file.path", same),
    ("path", "file.name", file_name),
    ("path", "file.extension", extension),
    ("mode", "file.mode", octal),
];

/// `O_ACCMODE` (fcntl.h): zero for a file that is opened to be read alone.
const ACCESS_MODE: i64 = 3;

/// A file that is opened for writing is about to change.
fn finish(document: &mut Document<'_>) {
    let is_open = document.see_text("activity") == Some(OPEN.name);
    if is_open && document.see_number("flags").is_some_and(|flags| flags & ACCESS_MODE != 0) {
        document.put("event.type", ["change"].to_vec());
    }
}

/// What follows the last dot of a name, as in `service` of `/etc/systemd/system/x.service`.
fn extension(path: &Value) -> Option<Value> {
    Some(Path::new(path.as_str()?).extension()?.to_str()?.into())
}

/// Permission bits as `0644`.
fn octal(mode: &Value) -> Option<Value> {
    Some(format!("{:04o}", mode.as_i64()?).into())
}

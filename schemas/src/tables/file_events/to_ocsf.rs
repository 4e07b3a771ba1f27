//! `file_events` as File System Activity.

use super::RENAME;
use crate::mapping::document::{Document, Placement, file_name, same};
use crate::mapping::ocsf::TableMapping;

pub(super) const MAPPING: TableMapping = TableMapping { actor_at: "actor.process", columns: COLUMNS, finish };

const COLUMNS: &[Placement] = &[("path", "file.path", same), ("path", "file.name", file_name)];

fn finish(event: &mut Document<'_>) {
    event.put("file.type_id", 0);
    // A rename reports the file before and after.
    if event.see_text("activity") == Some(RENAME.name) {
        let renamed = event.take("old_path").zip(event.see("path"));
        if let Some((old, new)) = renamed {
            event.put("file.path", old.clone());
            event.put_known("file.name", file_name(old));
            event.put("file_result.path", new.clone());
            event.put_known("file_result.name", file_name(new));
            event.put("file_result.type_id", 0);
        }
    }
}

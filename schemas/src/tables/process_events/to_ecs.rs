//! `process_events` as events of the category `process`.

use super::EXIT;
use crate::mapping::document::{Document, Placement, rfc3339, same, text};
use crate::mapping::ecs::TableMapping;

pub(super) const MAPPING: TableMapping = TableMapping { kind: "event", columns: COLUMNS, finish };

const COLUMNS: &[Placement] = &[("exit_code", "process.exit_code", same), ("binary_inode", "file.inode", text)];

fn finish(document: &mut Document<'_>) {
    let interactive = document.see_text("stdin_kind").map(|kind| kind == "tty");
    document.put_known("process.interactive", interactive);
    if document.see_text("activity") == Some(EXIT.name) {
        document.put_known("process.end", document.see("time").and_then(rfc3339));
    }
}

//! `process_events` as Process Activity: `process` is the row's process, `actor.process` its parent in a launch.

use super::{EXEC, EXIT, FORK};
use crate::mapping::document::{Document, Placement, same};
use crate::mapping::ocsf::{PARENT, TableMapping, program};

pub(super) const MAPPING: TableMapping = TableMapping { actor_at: "process", columns: COLUMNS, finish };

const COLUMNS: &[Placement] = &[("exit_code", "exit_code", same)];

/// `launch_type_id` and its caption, by activity.
const LAUNCHES: &[(&str, i64, &str)] = &[(EXEC.name, 3, "Exec"), (FORK.name, 2, "Fork")];

fn finish(event: &mut Document<'_>) {
    let parent_known = event.see("parent_process_uid").or(event.see("parent_pid")).is_some();
    if event.see_text("activity") == Some(EXIT.name) || !parent_known {
        // A process that exits is its own actor; so is one whose parent is not known.
        program(event, "actor.process");
    } else {
        event.place("actor.process.", PARENT);
    }
    let launch = event.see_text("activity").and_then(|activity| LAUNCHES.iter().find(|(name, ..)| *name == activity));
    if let Some((_, id, caption)) = launch {
        event.put("launch_type_id", *id);
        event.put("launch_type", *caption);
    }
}

//! `kernel_events` as Kernel Activity: the invocation of a system call.

use crate::mapping::document::{Document, Placement, same};
use crate::mapping::ocsf::{TableMapping, status};

pub(super) const MAPPING: TableMapping = TableMapping { actor_at: "actor.process", columns: COLUMNS, finish };

const COLUMNS: &[Placement] = &[("target_path", "kernel.path", same)];

fn finish(event: &mut Document<'_>) {
    event.put("kernel.type_id", 2);
    event.put("kernel.type", "System Call");
    let call = event.see_text("activity").unwrap_or("unknown");
    event.put("kernel.name", call);
    event.put("kernel.system_call", call);
    status(event);
}

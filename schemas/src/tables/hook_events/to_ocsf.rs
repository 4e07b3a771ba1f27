//! `hook_events` as Kernel Activity: the invocation of a function.

use crate::mapping::document::{Document, Placement, same};
use crate::mapping::ocsf::{TableMapping, status};

pub(super) const MAPPING: TableMapping = TableMapping { actor_at: "actor.process", columns: COLUMNS, finish };

const COLUMNS: &[Placement] = &[
    ("function", "kernel.name", same),
    ("path", "kernel.path", same),
    ("message", "message", same),
    ("tags", "metadata.labels", same),
];

fn finish(event: &mut Document<'_>) {
    event.put("kernel.type_id", 99);
    event.put("kernel.type", "Hook");
    status(event);
}

//! `event_loss` as events of the host.

use crate::mapping::document::{Document, Placement, rfc3339};
use crate::mapping::ecs::TableMapping;

pub(super) const MAPPING: TableMapping = TableMapping { kind: "event", columns: COLUMNS, finish };

const COLUMNS: &[Placement] = &[("start_time", "event.start", rfc3339), ("end_time", "event.end", rfc3339)];

fn finish(document: &mut Document<'_>) {
    document.put("message", super::message(document));
}

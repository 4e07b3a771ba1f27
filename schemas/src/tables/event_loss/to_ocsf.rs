//! `event_loss` as Base Event.

use crate::mapping::document::{Document, Placement, millis};
use crate::mapping::ocsf::TableMapping;

pub(super) const MAPPING: TableMapping = TableMapping { actor_at: "", columns: COLUMNS, finish };

const COLUMNS: &[Placement] = &[("start_time", "start_time", millis), ("end_time", "end_time", millis)];

fn finish(event: &mut Document<'_>) {
    event.put("message", super::message(event));
}

//! `hook_events`: ECS has fields for the message, the tags and the outcome; the rest stays in `kerntrail.*`.

use crate::mapping::document::{Placement, same};
use crate::mapping::ecs::{TableMapping, outcome};

pub(super) const MAPPING: TableMapping = TableMapping { kind: "event", columns: COLUMNS, finish: outcome };

const COLUMNS: &[Placement] = &[("message", "message", same), ("tags", "tags", same)];

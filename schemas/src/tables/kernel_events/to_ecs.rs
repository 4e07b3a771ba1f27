//! `kernel_events`: ECS has fields for the outcome of a call only; the rest stays in `kerntrail.*`.

use crate::mapping::ecs::{TableMapping, outcome};

pub(super) const MAPPING: TableMapping = TableMapping { kind: "event", columns: &[], finish: outcome };

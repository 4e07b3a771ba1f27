//! What already runs when collection starts. `bpf/tasks.bpf.c`.
//!
//! Without it the process table would start empty, so the probe is required.

use super::process::Program;
use super::{BpfProgram, Concern, Need, Probe, kinds};
use crate::hook::Hook;

/// Its declaration.
pub const CONCERN: Concern = Concern {
    name: "tasks",
    probes: &[Probe {
        name: "tasks",
        need: Need::Required,
        depends_on: None,
        activities: &["existing"],
        programs: &[BpfProgram::new("existing_tasks", Hook::TaskIterator)],
    }],
    records: RECORDS,
    kinds: KINDS,
    layouts: &[],
    enums: &[],
    maps: &[],
};

kinds! {
    "kt_tasks_kind" {
        /// A process that already ran.
        EXISTING = 4, "existing", Program, Never;
    }
}

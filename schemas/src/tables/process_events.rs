//! `process_events`: which programs ran, how they began and ended.

mod to_ecs;
mod to_ocsf;

use super::{Declaration, Unknown};
use crate::activity::{RecordCode, activities};
use crate::columns::columns;
use crate::mapping::ecs;
use crate::mapping::ocsf;
use crate::sentence::Sentence;

pub(super) static DECLARATION: Declaration = Declaration {
    name: "process_events",
    meaning: "Programs: what ran, how it began and ended.",
    number: 1,
    has_actor: true,
    in_timeline: true,
    in_finding: Sentence("[`{command}`]"),
    activities: ACTIVITIES,
    unknown: Unknown {
        ocsf: ocsf::Classification { class: &ocsf::PROCESS, activity: ocsf::OTHER },
        ecs_category: &["process"],
        ecs_type: &["info"],
        sentence: Sentence("{activity}"),
    },
    ocsf: to_ocsf::MAPPING,
    ecs: to_ecs::MAPPING,
};

columns! {
    /// Own columns of `process_events`.
    ProcessColumns, ProcessColumnsBuilder {
        exit_code: i32 = "exit status, 0 to 255; NULL for a process that a signal ended",
        exit_signal: i32 = "signal that ended the process",
        binary_inode: i64 = "inode of the program file",
        binary_dev: i64 = "device of the program file (kernel encoding: major << 20 | minor)",
        binary_memfd: bool = "whether the program lives in memory only (memfd)",
        stdin_kind: String = "what descriptor 0 is: `file`, `tty`, `pipe`, `socket`, `other` or `closed`",
        stdout_kind: String = "what descriptor 1 is, with the same values",
    }
}

activities! {
    ProcessEvents:
    /// A process ran a program.
    EXEC = "exec" {
        records: &[RecordCode { kind: 2, op: 0 }],
        ocsf: ocsf::Classification { class: &ocsf::PROCESS, activity: "Launch" },
        ecs: ecs::Classification { category: &["process"], kind: &["start"], action: "exec" },
        sigma: &["process_creation"],
        sentence: Sentence("{program}{notes}"),
        boundary: None,
    }
    /// A process was created.
    FORK = "fork" {
        records: &[RecordCode { kind: 1, op: 0 }],
        ocsf: ocsf::Classification { class: &ocsf::PROCESS, activity: "Launch" },
        ecs: ecs::Classification { category: &["process"], kind: &["start"], action: "fork" },
        sigma: &[],
        sentence: Sentence("was forked"),
        boundary: None,
    }
    /// The last thread of a process ended.
    EXIT = "exit" {
        records: &[RecordCode { kind: 3, op: 0 }],
        ocsf: ocsf::Classification { class: &ocsf::PROCESS, activity: "Terminate" },
        ecs: ecs::Classification { category: &["process"], kind: &["end"], action: "end" },
        sigma: &["process_termination"],
        sentence: Sentence("{ended}"),
        boundary: None,
    }
    /// A process was already running when the collector started.
    EXISTING = "existing" {
        records: &[RecordCode { kind: 4, op: 0 }],
        ocsf: ocsf::Classification { class: &ocsf::PROCESS, activity: ocsf::OTHER },
        ecs: ecs::Classification { category: &["process"], kind: &["info"], action: "already_running" },
        sigma: &[],
        sentence: Sentence("{program}  (was running already){notes}"),
        boundary: None,
    }
}

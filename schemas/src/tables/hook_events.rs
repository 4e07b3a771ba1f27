//! `hook_events`: hooks of another tool that have no place in the other tables, and what it says about those that have.

mod to_ecs;
mod to_ocsf;

use super::{Declaration, Unknown};
use crate::activity::activities;
use crate::columns::columns;
use crate::mapping::ecs;
use crate::mapping::ocsf;
use crate::sentence::Sentence;

pub(super) static DECLARATION: Declaration = Declaration {
    name: "hook_events",
    meaning: "Functions, tracepoints and libraries that another tool's policies watched, and that no other table is about.",
    number: 7,
    has_actor: true,
    in_timeline: true,
    in_finding: Sentence("[{function} by `{command}`]"),
    activities: ACTIVITIES,
    unknown: Unknown {
        ocsf: ocsf::Classification { class: &ocsf::KERNEL, activity: "Invoke" },
        ecs_category: &["process"],
        ecs_type: &["info"],
        sentence: Sentence("{activity} {function|of an unknown function}[: {message}]"),
    },
    ocsf: to_ocsf::MAPPING,
    ecs: to_ecs::MAPPING,
};

columns! {
    /// Own columns of `hook_events`.
    HookColumns, HookColumnsBuilder {
        function: String = "kernel function; of a tracepoint `subsystem/event`; in a program or library its symbol, or `provider/name`",
        path: String = "program or library that the symbol is in, or that was loaded",
        arguments: Vec<String> = "arguments in order, as the tool reports them: a text or number as it is, others as JSON",
        ret: i64 = "what the function returned, where it is a number",
        return_value: String = "what the function returned, as the tool reports it",
        message: String = "message of the policy",
        tags: Vec<String> = "tags of the policy",
        kernel_stack: Vec<String> = "functions of the kernel's stack, the innermost first: `symbol+offset`",
        user_stack: Vec<String> = "functions of the program's stack, the innermost first: `module symbol+offset`",
        hash: String = "hash of the file, as IMA has it: `algorithm:digest`",
        build_id: String = "build id of the file that was loaded",
    }
}

activities! {
    HookEvents:
    /// A kernel function was called (kprobe).
    KPROBE = "kprobe" {
        records: &[],
        ocsf: ocsf::Classification { class: &ocsf::KERNEL, activity: "Invoke" },
        ecs: ecs::Classification { category: &["process"], kind: &["info"], action: "kprobe" },
        sigma: &[],
        sentence: Sentence("called {function|an unknown function} in the kernel[: {message}]"),
        boundary: None,
    }
    /// A security hook of the kernel was called (LSM).
    LSM = "lsm" {
        records: &[],
        ocsf: ocsf::Classification { class: &ocsf::KERNEL, activity: "Invoke" },
        ecs: ecs::Classification { category: &["process"], kind: &["info"], action: "lsm" },
        sigma: &[],
        sentence: Sentence("reached the security hook {function|of an unknown name}[: {message}]"),
        boundary: None,
    }
    /// A tracepoint of the kernel was reached.
    TRACEPOINT = "tracepoint" {
        records: &[],
        ocsf: ocsf::Classification { class: &ocsf::KERNEL, activity: "Invoke" },
        ecs: ecs::Classification { category: &["process"], kind: &["info"], action: "tracepoint" },
        sigma: &[],
        sentence: Sentence("reached the tracepoint {function|of an unknown name}[: {message}]"),
        boundary: None,
    }
    /// A function of a program or library was called (uprobe).
    UPROBE = "uprobe" {
        records: &[],
        ocsf: ocsf::Classification { class: &ocsf::KERNEL, activity: "Invoke" },
        ecs: ecs::Classification { category: &["process"], kind: &["info"], action: "uprobe" },
        sigma: &[],
        sentence: Sentence("called {function|an unknown function}[ of {path}][: {message}]"),
        boundary: None,
    }
    /// A static probe of a program or library was reached (USDT).
    USDT = "usdt" {
        records: &[],
        ocsf: ocsf::Classification { class: &ocsf::KERNEL, activity: "Invoke" },
        ecs: ecs::Classification { category: &["process"], kind: &["info"], action: "usdt" },
        sigma: &[],
        sentence: Sentence("reached the probe {function|of an unknown name}[ of {path}][: {message}]"),
        boundary: None,
    }
    /// A program or library was loaded.
    LOADER = "loader" {
        records: &[],
        ocsf: ocsf::Classification { class: &ocsf::KERNEL, activity: "Invoke" },
        ecs: ecs::Classification { category: &["process"], kind: &["info"], action: "load" },
        sigma: &[],
        sentence: Sentence("loaded {path|an unknown file}"),
        boundary: None,
    }
}

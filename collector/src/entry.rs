//! Through which process a lineage entered the container or the node, and how.
//!
//! A runtime's helper (`runc init`) enters a container before the requested program runs: the entry is the first
//! program in the container that is not such a helper.

use std::sync::Arc;

use kerntrail_schemas::identity::{ContainerId, ProcessUid};

use crate::identity::Container;
use crate::process::{Ancestor, Process, Shown};

/// Low-level runtimes; their command says whether they start a container or enter one.
const RUNTIMES: &[&str] = &["runc", "crun", "youki", "runsc", "kata-runtime"];
/// Programs whose child is a login when it runs another program.
const SSHD: &[&str] = &["sshd", "sshd-session", "sshd-auth", "dropbear"];
/// Programs whose child is a job when it runs another program.
const CRON: &[&str] = &["cron", "crond", "anacron", "busybox-crond"];

/// How a lineage entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryType {
    /// The container's first program.
    ContainerStart,
    /// A program run in a container that already existed.
    ContainerExec,
    /// A login by ssh.
    Sshd,
    /// A scheduled job.
    Cron,
    /// A service, or the node's init itself.
    Init,
}

impl EntryType {
    /// Its name in the column `entry_type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::ContainerStart => "container_start",
            Self::ContainerExec => "container_exec",
            Self::Sshd => "sshd",
            Self::Cron => "cron",
            Self::Init => "init",
        }
    }
}

/// The entry of a lineage.
#[derive(Debug)]
pub struct Entry {
    /// The process that entered.
    pub leader: ProcessUid,
    /// How.
    pub kind: EntryType,
    /// Into which container; `None`: the node.
    pub container: Option<ContainerId>,
}

/// The entry of `process` now that it runs `process.program`; `is_init`: whether it is the node's init.
pub(crate) fn on_program(process: &Process, is_init: bool) -> Option<Arc<Entry>> {
    let entry = |kind, container: Option<&Arc<Container>>| {
        Some(Arc::new(Entry { leader: process.uid, kind, container: container.map(|container| container.id.clone()) }))
    };
    if let Some(container) = &process.container {
        let inside = process.entry.as_ref().is_some_and(|entry| entry.container.as_ref() == Some(&container.id));
        if !inside {
            if is_helper(&process.program) {
                return process.entry.clone();
            }
            return entry(way_into(container, process.parent.as_deref()), Some(container));
        }
    }
    if let Some(kind) = service_of(process) {
        return entry(kind, process.container.as_ref());
    }
    on_fork(process, is_init)
}

/// The entry of `process` that was just forked (or of which no program is known).
pub(crate) fn on_fork(process: &Process, is_init: bool) -> Option<Arc<Entry>> {
    let of_init = process.parent.as_ref().is_some_and(|parent| parent.is_init);
    let is_own = process.entry.as_ref().is_some_and(|entry| entry.leader == process.uid);
    if is_init || (of_init && !is_own && process.container.is_none()) {
        return Some(Arc::new(Entry { leader: process.uid, kind: EntryType::Init, container: None }));
    }
    process.entry.clone()
}

/// The entry as a row shows it: none while the process is in a container that its lineage has not entered yet.
pub(crate) fn shown(process: &Process) -> Option<&Entry> {
    let entry = process.entry.as_deref()?;
    let pending = process.container.is_some() && entry.container.is_none();
    (!pending).then_some(entry)
}

fn way_into(container: &Container, parent: Option<&Ancestor>) -> EntryType {
    let first = container.enter();
    let command = parent.into_iter().flat_map(Ancestor::up).find_map(|ancestor| runtime_command(&ancestor.program));
    match command {
        Some(EntryType::ContainerExec) => EntryType::ContainerExec,
        Some(_) => EntryType::ContainerStart,
        None if first => EntryType::ContainerStart,
        None => EntryType::ContainerExec,
    }
}

/// The command of a runtime; `None` for other programs and for `runc init`, which is part of both.
fn runtime_command(program: &Shown) -> Option<EntryType> {
    let args = runtime_args(program)?;
    args.iter().find_map(|arg| match arg.as_str() {
        "exec" => Some(EntryType::ContainerExec),
        "create" | "run" | "start" | "restore" => Some(EntryType::ContainerStart),
        _ => None,
    })
}

fn is_helper(program: &Shown) -> bool {
    runtime_args(program).is_some_and(|args| args.iter().any(|arg| arg == "init"))
}

/// Arguments of a low-level runtime without its own name, which may be a memory file by path and is in argv[0] then.
fn runtime_args(program: &Shown) -> Option<&[String]> {
    let (own, args) = program.args.as_ref()?.split_first()?;
    let base = |path: &str| path.rsplit('/').next().is_some_and(|name| RUNTIMES.contains(&name));
    (base(own) || program.path.as_deref().is_some_and(base)).then_some(args)
}

/// The service through which `process` entered, when its parent is one and it runs another program itself.
fn service_of(process: &Process) -> Option<EntryType> {
    let parent = process.parent.as_ref()?.program.name()?;
    let own = process.program.name()?;
    let of = |services: &[&str]| services.contains(&parent) && !services.contains(&own);
    if of(SSHD) {
        Some(EntryType::Sshd)
    } else if of(CRON) {
        Some(EntryType::Cron)
    } else {
        None
    }
}

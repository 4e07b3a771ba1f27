//! One process of the process table, and the parts of it that processes share.

use std::sync::Arc;

use kerntrail_ebpf::records::flags::{ARGS_UNREAD, KERNEL_THREAD};
use kerntrail_schemas::cell::Micros;
use kerntrail_schemas::identity::ProcessUid;
use kerntrail_schemas::tables::Actor;

use crate::entry::Entry;
use crate::event::{FdKind, ProcessRef, Program, Task};
use crate::identity::Container;
use crate::mask::Mask;

/// Ancestors kept for a process; a longer chain loses its end at the root.
pub const MOST_ANCESTORS: usize = 64;

/// The program that a process runs, with secrets masked. Forks and ancestries share it.
#[derive(Debug, Default, PartialEq)]
pub struct Shown {
    /// File; `None` where it is unknown or the process is a kernel thread.
    pub path: Option<String>,
    /// argv.
    pub args: Option<Vec<String>>,
    /// Whether arguments were cut.
    pub args_truncated: bool,
    /// Working directory at exec.
    pub cwd: Option<String>,
    /// Whether it started with a terminal as descriptor 0.
    pub interactive: Option<bool>,
}

impl Shown {
    /// `program` without its secrets; `flags` are the event's: what could not be read.
    pub fn of(program: &Program, flags: u32, mask: &Mask) -> Self {
        let unread = flags & (ARGS_UNREAD | KERNEL_THREAD) != 0;
        Self {
            // A directory cannot be a program: the file is the root of a detached mount, such as runc's copy of itself.
            path: filled(&program.path).filter(|path| path != "/"),
            args: (!unread).then(|| mask.args(&program.args)),
            args_truncated: program.args_truncated,
            cwd: filled(&program.cwd),
            interactive: (program.stdin != FdKind::Unknown).then_some(program.stdin == FdKind::Tty),
        }
    }

    /// Last part of the path.
    pub fn name(&self) -> Option<&str> {
        let path = self.path.as_deref()?;
        // Slashes in `memfd:name` are part of the name.
        if path.starts_with("memfd:") { Some(path) } else { path.rsplit('/').next().filter(|name| !name.is_empty()) }
    }
}

/// `text`, unless it is empty.
pub(crate) fn filled(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// A process as its children know it: the program that it ran when it forked. A linked list up to the root, kept as
/// long as a descendant exists, whatever happens to the ancestors.
#[derive(Debug)]
pub struct Ancestor {
    /// Its uid.
    pub uid: ProcessUid,
    /// Its thread group id.
    pub pid: u32,
    /// Its effective user when it forked.
    pub euid: Option<u32>,
    /// Whether it is the node's init.
    pub is_init: bool,
    /// What it ran when it forked.
    pub program: Arc<Shown>,
    /// Its own parent.
    pub parent: Option<Arc<Ancestor>>,
    /// Length of the list from here.
    depth: usize,
}

impl Ancestor {
    /// A link on top of `parent`.
    pub fn new(
        uid: ProcessUid,
        pid: u32,
        euid: Option<u32>,
        is_init: bool,
        program: Arc<Shown>,
        parent: Option<Arc<Ancestor>>,
    ) -> Arc<Self> {
        let parent =
            parent.map(|parent| if parent.depth >= MOST_ANCESTORS { parent.cut(MOST_ANCESTORS / 2) } else { parent });
        let depth = 1 + parent.as_ref().map_or(0, |parent| parent.depth);
        Arc::new(Self { uid, pid, euid, is_init, program, parent, depth })
    }

    /// The nearest `keep` links of the list.
    fn cut(&self, keep: usize) -> Arc<Self> {
        let parent = if keep > 1 { self.parent.as_ref().map(|parent| parent.cut(keep - 1)) } else { None };
        let depth = 1 + parent.as_ref().map_or(0, |parent| parent.depth);
        Arc::new(Self {
            uid: self.uid,
            pid: self.pid,
            euid: self.euid,
            is_init: self.is_init,
            program: Arc::clone(&self.program),
            parent,
            depth,
        })
    }

    /// This one and those above it.
    pub fn up(&self) -> impl Iterator<Item = &Ancestor> {
        std::iter::successors(Some(self), |ancestor| ancestor.parent.as_deref())
    }
}

/// A process.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its uid.
    pub uid: ProcessUid,
    /// As of the latest event.
    pub task: Task,
    /// When it was forked, UTC.
    pub started: Micros,
    /// Parent at fork time, where known.
    pub parent: Option<Arc<Ancestor>>,
    /// What it runs.
    pub program: Arc<Shown>,
    /// How many programs it has run.
    pub exec_seq: u32,
    /// Container that it acts in.
    pub container: Option<Arc<Container>>,
    /// Container in which its lineage started.
    pub origin: Option<Arc<Container>>,
    /// How its lineage entered.
    pub entry: Option<Arc<Entry>>,
    /// When the task iterator saw it; older events do not change it.
    pub(crate) seen_ns: u64,
    /// Its latest event (CLOCK_BOOTTIME ns).
    pub(crate) latest_ns: u64,
    /// When it ended (CLOCK_BOOTTIME ns).
    pub(crate) exited_ns: Option<u64>,
    /// Its link as an ancestor, until it runs another program.
    pub(crate) as_ancestor: Option<Arc<Ancestor>>,
    /// Its actor columns, until something changes, with the version of the identities they were made from.
    pub(crate) actor: Option<(u64, Arc<Actor>)>,
}

impl Process {
    /// Which process.
    pub fn process(&self) -> ProcessRef {
        self.task.process
    }

    /// Its link as an ancestor of a child that it forks now.
    pub(crate) fn ancestor(&mut self, is_init: bool) -> Arc<Ancestor> {
        let Self { as_ancestor, uid, task, program, parent, .. } = self;
        // It may have changed its user since the last fork.
        if as_ancestor.as_ref().is_some_and(|link| link.euid != Some(task.state.euid)) {
            *as_ancestor = None;
        }
        let new = || {
            let (pid, euid) = (task.process.tgid, Some(task.state.euid));
            Ancestor::new(*uid, pid, euid, is_init, Arc::clone(program), parent.clone())
        };
        Arc::clone(as_ancestor.get_or_insert_with(new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ancestry_is_bounded_and_keeps_its_near_end() {
        let mut last: Option<Arc<Ancestor>> = None;
        for pid in 0..10_000 {
            last = Some(Ancestor::new(ProcessUid::default(), pid, None, false, Arc::default(), last));
        }
        let pids: Vec<u32> = last.unwrap().up().map(|ancestor| ancestor.pid).collect();
        assert!((MOST_ANCESTORS / 2..=MOST_ANCESTORS).contains(&pids.len()), "{}", pids.len());
        assert!(pids.iter().rev().copied().eq(10_000 - pids.len() as u32..10_000), "{pids:?}");
    }

    #[test]
    fn names_of_programs() {
        let cases = [
            ("/usr/bin/bash", Some("bash")),
            ("bash", Some("bash")),
            ("memfd:runc_cloned:/proc/self/exe", Some("memfd:runc_cloned:/proc/self/exe")),
            ("", None),
        ];
        for (path, name) in cases {
            assert_eq!(Shown { path: filled(path), ..Shown::default() }.name(), name, "{path}");
        }
    }
}

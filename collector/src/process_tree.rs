//! The process table: who acted, its ancestry and what it inherited.
//!
//! Keyed by thread group and start time, so a reused pid is another process. A child keeps a snapshot of its parent
//! from when it is forked: ancestry, origin and entry do not change when the parent runs another program, ends, or a
//! reaper adopts the child.
//!
//! Invariant: at most `limit` processes are held, including those that ended recently. A process beyond that has rows
//! made of its event and its parent alone, and is counted.
//! Invariant: an event older than what the task iterator saw of a process changes nothing in the table.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use kerntrail_schemas::cell::Micros;
use kerntrail_schemas::identity::ProcessUid;

use crate::entry;
use crate::event::{EventKind, KernelEvent, ProcessRef, Task};
use crate::identity::Container;
use crate::node::Node;
use crate::process::{Ancestor, Process, Shown};

/// How long an ended process is kept for late events (a socket that closes by itself), ns.
const GRACE_NS: u64 = 5_000_000_000;
/// Ended processes held at most.
const MOST_ENDED: usize = 4_096;

/// An event with what is known about it.
pub struct Seen<'a> {
    /// The event.
    pub event: &'a KernelEvent,
    /// The program of an exec or an existing process.
    pub program: Option<Arc<Shown>>,
    /// Container that the process acts in, after the event.
    pub container: Option<Arc<Container>>,
    /// Start of the process, UTC.
    pub started: Micros,
}

/// Where the process of an event is.
pub enum Observed {
    /// In the table.
    Kept,
    /// Not in the table, or the event is about its past: the process as it was.
    Passing(Box<Process>),
}

/// The processes of a node.
#[derive(Debug)]
pub struct ProcessTable {
    node: Arc<Node>,
    limit: usize,
    processes: HashMap<ProcessRef, Process>,
    /// Start time of the latest process of each thread group id.
    latest: HashMap<u32, u64>,
    /// Ended processes, by the time they ended.
    ended: VecDeque<(u64, ProcessRef)>,
    refused: u64,
}

impl ProcessTable {
    /// An empty table that holds at most `limit` processes.
    pub fn new(node: Arc<Node>, limit: usize) -> Self {
        Self { node, limit, processes: HashMap::new(), latest: HashMap::new(), ended: VecDeque::new(), refused: 0 }
    }

    /// Processes held.
    pub fn len(&self) -> usize {
        self.processes.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.processes.is_empty()
    }

    /// Whether the next new process is refused.
    pub fn is_full(&self) -> bool {
        self.processes.len() >= self.limit && self.ended.is_empty()
    }

    /// Processes refused since the last call.
    pub fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }

    /// A process that is held.
    pub fn get(&self, process: &ProcessRef) -> Option<&Process> {
        self.processes.get(process)
    }

    pub(crate) fn get_mut(&mut self, process: &ProcessRef) -> Option<&mut Process> {
        self.processes.get_mut(process)
    }

    /// Takes an event and says where its process is after it.
    pub fn observe(&mut self, seen: &Seen<'_>) -> Observed {
        let event = seen.event;
        let key = event.task.process;
        self.forget_ended(event.boot_ns);
        let is_init = self.node.is_init(&key);
        match self.processes.get_mut(&key) {
            Some(known) if is_past(known, event) => return Observed::Passing(Box::new(past(known, seen))),
            Some(known) => update(known, seen, is_init),
            None => {
                let new = self.new_process(seen, is_init);
                if matches!(event.kind, EventKind::Exit { .. }) || !self.make_room() {
                    return Observed::Passing(Box::new(new));
                }
                self.insert(new, event.boot_ns);
            }
        }
        if matches!(event.kind, EventKind::Exit { .. }) {
            self.end(key, event.boot_ns);
        }
        Observed::Kept
    }

    /// Marks every process as ended that is not among `alive` and had no event since `asked_ns`; returns how many.
    ///
    /// For exits that were lost. `alive`: thread group ids that exist, read at `asked_ns` or later.
    pub fn keep_only(&mut self, alive: &HashSet<u32>, asked_ns: u64) -> usize {
        let is_gone = |process: &Process| {
            process.exited_ns.is_none() && process.task.process.tgid != 0 && process.latest_ns < asked_ns
        };
        let gone: Vec<ProcessRef> = self
            .processes
            .iter()
            .filter(|(key, process)| is_gone(process) && !alive.contains(&key.tgid))
            .map(|(key, _)| *key)
            .collect();
        gone.iter().for_each(|key| self.end(*key, asked_ns));
        gone.len()
    }

    fn new_process(&mut self, seen: &Seen<'_>, is_init: bool) -> Process {
        let task = seen.event.task.clone();
        let parent_is_init = self.node.is_init(&task.parent);
        let parent = self.processes.get_mut(&task.parent).filter(|parent| parent.process() != task.process);
        let (ancestor, inherited) = match parent {
            Some(parent) => {
                let ancestor = parent.ancestor(parent_is_init);
                (Some(ancestor), (parent.entry.clone(), parent.origin.clone(), Some(Arc::clone(&parent.program))))
            }
            None => (self.unknown_parent(&task, parent_is_init), (None, None, None)),
        };
        let (entry, origin, parents_program) = inherited;
        let forked = matches!(seen.event.kind, EventKind::Fork);
        let program = seen.program.clone().or(parents_program.filter(|_| forked)).unwrap_or_default();
        let counted = u32::from(matches!(seen.event.kind, EventKind::Exec(_)));
        let mut process = Process {
            uid: self.uid(&task.process),
            started: seen.started,
            exec_seq: task.exec_seq.unwrap_or(counted),
            task,
            parent: ancestor,
            program,
            origin: origin.or_else(|| seen.container.clone()),
            container: seen.container.clone(),
            entry,
            seen_ns: if matches!(seen.event.kind, EventKind::Existing(_)) { seen.event.boot_ns } else { 0 },
            latest_ns: seen.event.boot_ns,
            exited_ns: None,
            as_ancestor: None,
            actor: None,
        };
        process.entry = if seen.program.is_some() {
            entry::on_program(&process, is_init)
        } else {
            entry::on_fork(&process, is_init)
        };
        process
    }

    /// A parent of which only the id is known.
    fn unknown_parent(&self, task: &Task, is_init: bool) -> Option<Arc<Ancestor>> {
        let parent = task.parent;
        (parent.tgid != 0 && parent != task.process)
            .then(|| Ancestor::new(self.uid(&parent), parent.tgid, None, is_init, Arc::default(), None))
    }

    fn uid(&self, process: &ProcessRef) -> ProcessUid {
        ProcessUid::new(&self.node.boot_hash, process.start_boottime, process.tgid)
    }

    fn insert(&mut self, process: Process, now_ns: u64) {
        let key = process.process();
        let earlier = self.latest.get(&key.tgid).copied();
        if earlier.is_none_or(|start| start < key.start_boottime) {
            self.latest.insert(key.tgid, key.start_boottime);
        }
        self.processes.insert(key, process);
        // The pid was reused: the exit of the earlier process was lost.
        if let Some(start) = earlier.filter(|start| *start < key.start_boottime) {
            self.end(ProcessRef { start_boottime: start, ..key }, now_ns);
        }
    }

    /// Whether there is room for one more.
    fn make_room(&mut self) -> bool {
        if self.processes.len() >= self.limit {
            self.forget_first_ended();
        }
        let room = self.processes.len() < self.limit;
        self.refused += u64::from(!room);
        room
    }

    fn end(&mut self, key: ProcessRef, now_ns: u64) {
        let Some(process) = self.processes.get_mut(&key) else { return };
        if process.exited_ns.replace(now_ns).is_none() {
            self.ended.push_back((now_ns, key));
            if self.ended.len() > MOST_ENDED {
                self.forget_first_ended();
            }
        }
    }

    fn forget_ended(&mut self, now_ns: u64) {
        while self.ended.front().is_some_and(|(ended, _)| ended.saturating_add(GRACE_NS) < now_ns) {
            self.forget_first_ended();
        }
    }

    fn forget_first_ended(&mut self) {
        let Some((_, key)) = self.ended.pop_front() else { return };
        self.processes.remove(&key);
        if self.latest.get(&key.tgid) == Some(&key.start_boottime) {
            self.latest.remove(&key.tgid);
        }
    }
}

/// Whether `event` is older than what is known of the process.
fn is_past(known: &Process, event: &KernelEvent) -> bool {
    let runs_later_program = event.task.exec_seq.is_some_and(|seq| seq < known.exec_seq);
    !matches!(event.kind, EventKind::Exit { .. } | EventKind::Other { task_is_current: false, .. })
        && (event.boot_ns < known.seen_ns || runs_later_program)
}

/// The process as it was at an event of its past.
fn past(known: &Process, seen: &Seen<'_>) -> Process {
    let mut past = known.clone();
    past.actor = None;
    past.as_ancestor = None;
    let exec_seq = seen.event.task.exec_seq.unwrap_or(known.exec_seq);
    if let Some(program) = &seen.program {
        past.program = Arc::clone(program);
    } else if exec_seq != known.exec_seq {
        past.program = Arc::default();
    }
    past.exec_seq = exec_seq;
    past.task = seen.event.task.clone();
    past.container = seen.container.clone();
    past
}

fn update(known: &mut Process, seen: &Seen<'_>, is_init: bool) {
    let event = seen.event;
    known.latest_ns = known.latest_ns.max(event.boot_ns);
    if matches!(event.kind, EventKind::Other { task_is_current: false, .. }) {
        // Its process is the one of the time when the socket became known.
        return;
    }
    if !looks_same(known, &event.task) {
        known.actor = None;
    }
    let counted = known.exec_seq + u32::from(matches!(event.kind, EventKind::Exec(_)));
    let exec_seq = event.task.exec_seq.unwrap_or(counted);
    take_task(&mut known.task, &event.task);
    if known.container.as_ref().map(|container| &container.id) != seen.container.as_ref().map(|container| &container.id)
    {
        known.container.clone_from(&seen.container);
        known.actor = None;
    }
    if known.origin.is_none() {
        known.origin.clone_from(&seen.container);
    }
    if let Some(program) = &seen.program {
        run(known, Arc::clone(program), exec_seq);
        known.entry = entry::on_program(known, is_init);
    } else if exec_seq > known.exec_seq {
        // An exec was lost: its program is unknown.
        run(known, Arc::default(), exec_seq);
    }
    if matches!(event.kind, EventKind::Existing(_)) {
        known.seen_ns = event.boot_ns;
    }
}

/// Copies the state from an event; a leader that has exited since keeps its known start time.
fn take_task(known: &mut Task, task: &Task) {
    let keep =
        |old: ProcessRef, new: ProcessRef| if new.start_boottime == 0 && new.tgid == old.tgid { old } else { new };
    let session_leader = keep(known.session_leader, task.session_leader);
    let group_leader = keep(known.group_leader, task.group_leader);
    known.clone_from(task);
    known.session_leader = session_leader;
    known.group_leader = group_leader;
}

fn run(known: &mut Process, program: Arc<Shown>, exec_seq: u32) {
    known.program = program;
    known.exec_seq = exec_seq;
    known.as_ancestor = None;
    known.actor = None;
}

/// Whether a row of `known` would be the same with `task`.
fn looks_same(known: &Process, task: &Task) -> bool {
    let old = &known.task;
    // Threads have names of their own; a row shows one only where the program is unknown.
    let name = known.program.path.is_some() || old.comm == task.comm;
    name && old.state == task.state
        && (old.uid, old.gid, old.login_uid) == (task.uid, task.gid, task.login_uid)
        && (old.session_leader, old.group_leader) == (task.session_leader, task.group_leader)
        && old.tty == task.tty
}

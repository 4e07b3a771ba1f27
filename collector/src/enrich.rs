//! Who acted in an event: process, ancestry, container and pod.

use std::sync::Arc;

use kerntrail_schemas::tables::Actor;

use crate::actor;
use crate::cgroups::Cgroups;
use crate::clock::BootClock;
use crate::decode::Context;
use crate::event::{EventKind, KernelEvent, ProcessRef, Program};
use crate::identity::{Container, Identities};
use crate::mask::Mask;
use crate::node::Node;
use crate::pods::Pods;
use crate::process::{Process, Shown};
use crate::process_tree::{Observed, ProcessTable, Seen};

/// Everything that is known of the node's processes and containers.
pub struct Enricher {
    node: Arc<Node>,
    table: ProcessTable,
    identities: Identities,
    cgroups: Cgroups,
    mask: Mask,
    clock: BootClock,
    /// Processes that hold their actor columns; these are dropped with the batch they went into.
    with_row: Vec<ProcessRef>,
}

impl Enricher {
    /// Nothing known yet.
    pub fn new(
        node: Arc<Node>,
        pods: Arc<Pods>,
        cgroups: Cgroups,
        mask: Mask,
        clock: BootClock,
        max_processes: usize,
    ) -> Self {
        Self {
            table: ProcessTable::new(Arc::clone(&node), max_processes),
            identities: Identities::new(Arc::clone(&node), pods),
            node,
            cgroups,
            mask,
            clock,
            with_row: Vec::new(),
        }
    }

    /// The clock of its rows.
    pub fn clock(&self) -> &BootClock {
        &self.clock
    }

    /// Reads the clock again when it is time.
    pub fn refresh_clock(&mut self, now_ns: u64) {
        self.clock.refresh(now_ns);
    }

    /// The process table.
    pub fn table(&mut self) -> &mut ProcessTable {
        &mut self.table
    }

    /// What decoding needs to know.
    pub fn context(&self) -> Context<'_> {
        Context { node: &self.node, clock: &self.clock, mask: &self.mask }
    }

    /// Applies `event` to the process table and returns its actor; `None` for a connection whose owner is unknown.
    pub fn actor_of(&mut self, event: &KernelEvent) -> Option<Arc<Actor>> {
        if event.task.process.tgid == 0 {
            return None;
        }
        match self.observe(event) {
            Observed::Passing(process) => Some(describe(&process, &mut self.identities, &self.node, event.boot_ns)),
            Observed::Kept => self.known_actor(event),
        }
    }

    /// Puts an event that gets no row into the process table: later ones need its process.
    pub fn note(&mut self, event: &KernelEvent) {
        if event.task.process.tgid != 0 {
            self.observe(event);
        }
    }

    fn observe(&mut self, event: &KernelEvent) -> Observed {
        let container = self.container_of(event);
        let seen = Seen {
            event,
            program: program(event).map(|program| Arc::new(Shown::of(program, event.flags, &self.mask))),
            container,
            started: self.clock.utc(event.task.process.start_boottime),
        };
        self.table.observe(&seen)
    }

    /// The actor of an event whose process is in the table: the same as at its last event, unless something changed.
    fn known_actor(&mut self, event: &KernelEvent) -> Option<Arc<Actor>> {
        let process = self.table.get_mut(&event.task.process)?;
        // Looks again for a missing bundle; the version rises when it is found.
        look(process, &mut self.identities, event.boot_ns);
        let version = self.identities.version();
        if let Some((made_with, actor)) = &process.actor
            && *made_with == version
        {
            return Some(Arc::clone(actor));
        }
        let actor = describe(process, &mut self.identities, &self.node, event.boot_ns);
        process.actor = Some((version, Arc::clone(&actor)));
        self.with_row.push(event.task.process);
        Some(actor)
    }

    /// Drops the actor columns that processes hold: the batches that share them were sent.
    pub fn batch_ended(&mut self) {
        for key in self.with_row.drain(..) {
            if let Some(process) = self.table.get_mut(&key) {
                process.actor = None;
            }
        }
    }

    /// The container that the process of `event` is in after it.
    fn container_of(&mut self, event: &KernelEvent) -> Option<Arc<Container>> {
        let id = event.task.state.cgroup_id;
        let now = event.boot_ns;
        if let Some(program) = program(event) {
            self.cgroups.learn(id, &program.cgroup_path);
            return self.identities.container_at(&program.cgroup_path, now);
        }
        let known = self.table.get(&event.task.process).or_else(|| self.table.get(&event.task.parent));
        if let Some(known) = known.filter(|known| known.task.state.cgroup_id == id) {
            return known.container.clone();
        }
        self.cgroups.path(id).and_then(|path| self.identities.container_at(path, now))
    }
}

fn program(event: &KernelEvent) -> Option<&Program> {
    match &event.kind {
        EventKind::Exec(program) | EventKind::Existing(program) => Some(program),
        _ => None,
    }
}

fn look(process: &Process, identities: &mut Identities, now_ns: u64) {
    for container in [&process.container, &process.origin].into_iter().flatten() {
        identities.of(container, now_ns);
    }
}

fn describe(process: &Process, identities: &mut Identities, node: &Node, now_ns: u64) -> Arc<Actor> {
    let mut known = |container: &Option<Arc<Container>>| {
        container.as_ref().map(|container| identities.of(container, now_ns)).unwrap_or_default()
    };
    let (acts_in, born_in) = (known(&process.container), known(&process.origin));
    Arc::new(actor::of(process, &acts_in, &born_in, node))
}

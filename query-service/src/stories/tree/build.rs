//! Builds a tree from process rows.

use std::collections::{BTreeMap, HashMap};

use kerntrail_schemas::Table;
use kerntrail_schemas::tables::process_events::{EXISTING, EXIT};

use crate::stories::timeline::collect::{Collected, End};
use crate::stories::timeline::events::{Container, Ending, Event, Finding, Origin};

/// Processes below their parents.
#[derive(Debug, Default)]
pub(crate) struct Forest {
    pub(crate) processes: Vec<Process>,
    /// Indices of the processes whose parent is not among them.
    pub(crate) roots: Vec<usize>,
    pub(crate) cuts: Vec<String>,
}

/// One process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) uid: String,
    pub(crate) node: String,
    /// The tool that its first event was imported from.
    pub(crate) imported_from: Option<String>,
    pub(crate) pid: Option<i64>,
    pub(crate) parent_uid: Option<String>,
    pub(crate) parent_pid: Option<i64>,
    /// When it was forked; where that is unknown, its first event. Microseconds since the epoch.
    pub(crate) started: i64,
    pub(crate) programs: Vec<Program>,
    /// What it runs, for a process that executed nothing itself: the kernel's name, or the command line where no process
    /// event is known.
    pub(crate) name: Option<String>,
    pub(crate) ended: Option<(i64, Ending)>,
    pub(crate) container: Option<Container>,
    pub(crate) origin: Option<Origin>,
    /// Whether it was born in a container and is now in the host's mount namespace.
    pub(crate) in_host_mnt_ns: bool,
    pub(crate) ancestor_paths: Vec<String>,
    pub(crate) ancestors: Vec<String>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) children: Vec<usize>,
}

/// A program that a process ran.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) time: i64,
    pub(crate) exec_seq: Option<i64>,
    pub(crate) cmd_line: String,
    pub(crate) path: Option<String>,
    /// The tool that this was imported from.
    pub(crate) imported_from: Option<String>,
    /// Whether it ran already when the collector started.
    pub(crate) existing: bool,
}

/// The tree of at most `most` processes, those of one `end`.
pub(crate) fn build(collected: Collected, most: usize, end: End) -> Forest {
    let mut by_uid: BTreeMap<String, Process> = BTreeMap::new();
    for event in &collected.events {
        take(by_uid.entry(event.actor.process.clone()).or_insert_with(|| process(event)), event);
    }
    for finding in collected.findings {
        if let Some(process) = finding.process_uid.as_ref().and_then(|uid| by_uid.get_mut(uid)) {
            process.findings.push(finding);
        }
    }
    let mut cuts = collected.cuts;
    let mut processes: Vec<Process> = by_uid.into_values().collect();
    processes.sort_by(|one, other| order(one).cmp(&order(other)));
    if processes.len() > most {
        let end_name = end.name();
        cuts.push(format!("only the {end_name} {most} of {} processes are shown; narrow the time", processes.len()));
        match end {
            End::First => processes.truncate(most),
            End::Last => drop(processes.drain(..processes.len() - most)),
        }
    }
    let mut forest = Forest { processes, roots: Vec::new(), cuts };
    link(&mut forest);
    forest
}

fn order(process: &Process) -> (i64, &str, Option<i64>, &str) {
    (process.started, &process.node, process.pid, &process.uid)
}

/// Puts each process under its nearest ancestor that is shown. Ancestors started before, so nothing goes in circles.
fn link(forest: &mut Forest) {
    let mut places: HashMap<String, usize> = HashMap::new();
    for index in 0..forest.processes.len() {
        let process = &forest.processes[index];
        let above = process.ancestors.iter().find_map(|ancestor| places.get(ancestor).copied());
        places.insert(process.uid.clone(), index);
        match above {
            Some(above) => forest.processes[above].children.push(index),
            None => forest.roots.push(index),
        }
    }
}

fn process(event: &Event) -> Process {
    let actor = &event.actor;
    Process {
        uid: actor.process.clone(),
        node: event.node.clone(),
        imported_from: event.imported_from.clone(),
        pid: actor.pid,
        parent_uid: actor.parent.clone(),
        parent_pid: actor.parent_pid,
        started: actor.started.unwrap_or(event.time),
        programs: Vec::new(),
        name: match event.table {
            Table::ProcessEvents => actor.name.clone(),
            _ => actor.cmd_line.clone().or_else(|| actor.path.clone()).or_else(|| actor.name.clone()),
        },
        ended: None,
        container: None,
        origin: None,
        in_host_mnt_ns: false,
        ancestor_paths: actor.ancestor_paths.clone(),
        ancestors: actor.ancestors.clone(),
        findings: Vec::new(),
        children: Vec::new(),
    }
}

/// Adds what `event` says about `process`.
fn take(process: &mut Process, event: &Event) {
    let actor = &event.actor;
    process.container.clone_from(&actor.container);
    process.origin.clone_from(&actor.origin);
    process.in_host_mnt_ns = actor.origin.is_some() && actor.in_host_mnt_ns;
    if event.names_program() {
        let cmd_line = actor.cmd_line.as_ref().or(actor.path.as_ref()).or(actor.name.as_ref());
        process.programs.push(Program {
            time: event.time,
            exec_seq: actor.exec_seq,
            cmd_line: cmd_line.cloned().unwrap_or_else(|| "unknown program".to_owned()),
            path: actor.path.clone(),
            imported_from: event.imported_from.clone(),
            existing: event.is(&EXISTING),
        });
    } else if event.is(&EXIT) {
        process.ended = Some((event.time, event.end.clone()));
    }
}

//! What an engineer on call needs first: whether it escaped, how, and what it did then.

use std::collections::{BTreeMap, BTreeSet};

use kerntrail_schemas::errno;
use kerntrail_schemas::tables::network_flows::CONNECT;
use serde::Serialize;

use super::boundaries::{Boundary, Marks};
use super::collect::Collected;
use super::describe::{refused, socket};
use super::events::{Container, Event};
use super::lines::Line;

/// The facts of a story. Times are microseconds since the epoch; an event is named by its index.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    pub(crate) first: i64,
    pub(crate) last: i64,
    pub(crate) nodes: Vec<String>,
    pub(crate) containers: Vec<Container>,
    pub(crate) processes: usize,
    /// Events that have no line of their own.
    pub(crate) folded: usize,
    pub(crate) crossings: BTreeMap<Boundary, usize>,
    /// The first event by which a confined process came to the host.
    pub(crate) escape: Option<usize>,
    /// Calls that were not permitted.
    pub(crate) refused: Vec<usize>,
    /// Connections opened after the escape, by process and destination, in order of the first.
    pub(crate) after: Vec<Connections>,
    pub(crate) lost: i64,
}

/// Connections of one process to one destination.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Connections {
    #[serde(skip)]
    pub(crate) first: usize,
    pub(crate) process: String,
    pub(crate) pid: Option<i64>,
    pub(crate) process_uid: String,
    pub(crate) destination: String,
    pub(crate) count: usize,
    /// How many of them failed.
    pub(crate) failed: usize,
}

/// The name of a process for a sentence: `bash (pid 42)`.
pub(crate) fn who(event: &Event) -> String {
    let name = event.actor.name.clone().unwrap_or_else(|| "unknown program".to_owned());
    event.actor.pid.map_or_else(|| name.clone(), |pid| format!("{name} (pid {pid})"))
}

/// What was refused, and to which process: `nsenter (pid 42): setns ...`.
pub(crate) fn attempt(event: &Event) -> String {
    format!("{}: {}", who(event), event.title)
}

/// Summarizes a story.
pub(crate) fn summarize(collected: &Collected, marks: &[Marks], lines: &[Line]) -> Summary {
    let events = &collected.events;
    // Without events, those of the findings.
    let findings = if events.is_empty() { collected.findings.as_slice() } else { &[] };
    let times = || events.iter().map(|event| event.time).chain(findings.iter().map(|finding| finding.last_time));
    let mut summary = Summary {
        first: times().min().unwrap_or_default(),
        last: times().max().unwrap_or_default(),
        lost: collected.losses.iter().filter_map(|loss| loss.lost).sum(),
        escape: marks.iter().position(|marks| marks.crossings.iter().any(|crossing| crossing.escape)),
        after: after(events, marks),
        ..Summary::default()
    };
    let mut nodes: BTreeSet<String> = findings.iter().map(|finding| finding.node.clone()).collect();
    let (mut processes, mut containers) = (BTreeSet::new(), BTreeMap::new());
    for (index, event) in events.iter().enumerate() {
        nodes.insert(event.node.clone());
        processes.insert(event.actor.process.as_str());
        if let Some(container) = &event.actor.container {
            containers.entry(&container.id).or_insert(container);
        }
        if event.ret.is_some_and(refused) {
            summary.refused.push(index);
        }
        for crossing in &marks[index].crossings {
            *summary.crossings.entry(crossing.boundary).or_default() += 1;
        }
    }
    let shown = lines.iter().filter(|line| matches!(line, Line::Event(_))).count();
    summary.folded = events.len() - shown;
    summary.nodes = nodes.into_iter().collect();
    summary.processes = processes.len();
    summary.containers = containers.into_values().cloned().collect();
    summary
}

fn after(events: &[Event], marks: &[Marks]) -> Vec<Connections> {
    let mut found: Vec<Connections> = Vec::new();
    for (index, event) in events.iter().enumerate() {
        let Some(flow) = event.flow.as_deref().filter(|_| marks[index].outside && event.is(&CONNECT)) else { continue };
        let destination = flow.destination.as_ref().map_or_else(|| "unknown".to_owned(), socket);
        let failures = usize::from(event.ret.is_some_and(errno::failed));
        let same =
            |known: &&mut Connections| known.process_uid == event.actor.process && known.destination == destination;
        if let Some(known) = found.iter_mut().find(same) {
            known.count += 1;
            known.failed += failures;
            continue;
        }
        found.push(Connections {
            first: index,
            process: event.actor.name.clone().unwrap_or_else(|| "unknown program".to_owned()),
            pid: event.actor.pid,
            process_uid: event.actor.process.clone(),
            destination,
            count: 1,
            failed: failures,
        });
    }
    found
}

/// `3 high, 1 low`, most severe first.
pub(crate) fn by_severity(collected: &Collected) -> String {
    let mut counts: BTreeMap<(std::cmp::Reverse<usize>, &str), usize> = BTreeMap::new();
    for finding in &collected.findings {
        let name = finding.severity.as_deref().unwrap_or("unrated");
        *counts.entry((std::cmp::Reverse(finding.rank()), name)).or_default() += 1;
    }
    let counts: Vec<String> = counts.into_iter().map(|((_, name), count)| format!("{count} {name}")).collect();
    counts.join(", ")
}

/// `web (a1b2c3d4e5f6), image nginx, privileged, pod prod/web-0, ...`.
pub(crate) fn container_words(container: &Container) -> String {
    let short: String = container.id.chars().take(12).collect();
    let mut words = vec![container.name.as_ref().map_or_else(|| short.clone(), |name| format!("{name} ({short})"))];
    words.extend(container.image.as_ref().map(|image| format!("image {image}")));
    words.extend((container.privileged == Some(true)).then(|| "privileged".to_owned()));
    words.extend(container.pod.as_ref().map(|pod| match &container.namespace {
        Some(namespace) => format!("pod {namespace}/{pod}"),
        None => format!("pod {pod}"),
    }));
    words.extend(container.workload.clone());
    words.extend(container.service_account.as_ref().map(|account| format!("service account {account}")));
    words.join(", ")
}

/// `1 mount namespace, 2 capabilities`.
pub(crate) fn crossing_words(summary: &Summary) -> String {
    let words = summary.crossings.iter().map(|(boundary, count)| format!("{count} {}", boundary.words()));
    words.collect::<Vec<_>>().join(", ")
}

/// `bash (pid 42) to 192.0.2.1:443, 3 times, 1 failed`.
pub(crate) fn connection_words(connections: &Connections) -> String {
    let pid = connections.pid.map_or_else(String::new, |pid| format!(" (pid {pid})"));
    let mut words = format!("{}{pid} to {}", connections.process, connections.destination);
    if connections.count > 1 {
        words.push_str(&format!(", {} times", connections.count));
    }
    match connections.failed {
        0 => {}
        failed if failed == connections.count => words.push_str(", failed"),
        failed => words.push_str(&format!(", {failed} failed")),
    }
    words
}

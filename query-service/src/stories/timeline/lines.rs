//! Arranges a story in lines: one per event, except for events that are folded into others.
//!
//! Folded: a fork whose process runs a program (that line says it), an exit (said by the program's line), a close
//! (said by the connection's line), a runtime's preparation of a container, repeats. An event that crossed a boundary or has a finding keeps its line.

use std::collections::{HashMap, HashSet};

use kerntrail_schemas::tables::network_flows::CLOSE;
use kerntrail_schemas::tables::process_events::{EXIT, FORK};

use super::boundaries::Marks;
use super::collect::Collected;
use super::describe::{exit, traffic};
use super::events::{Actor, Event};
use super::window::span;

/// Deepest indentation.
const MAX_DEPTH: usize = 16;

/// A line of the story; numbers are places in what was collected.
#[derive(Clone, Debug)]
pub(crate) enum Line {
    Event(EventLine),
    Finding(usize),
    Loss(usize),
}

/// An event, with what was folded into it.
#[derive(Clone, Debug)]
pub(crate) struct EventLine {
    pub(crate) event: usize,
    /// Generations below the oldest process of the story.
    pub(crate) depth: usize,
    pub(crate) title: String,
    /// Shown after the title: how a process ended, what a connection carried.
    pub(crate) suffix: String,
    /// Where the process is, when that is new.
    pub(crate) place: Option<String>,
    /// How often it happened.
    pub(crate) times: usize,
}

/// The lines of a story.
pub(crate) fn lines(collected: &Collected, marks: &[Marks]) -> Vec<Line> {
    let events = &collected.events;
    let findings = findings_after(collected);
    let kept: HashSet<usize> =
        (0..events.len()).filter(|place| !marks[*place].crossings.is_empty() || findings.contains_key(place)).collect();
    let folds = Folds::find(events, &kept);
    let mut places = Places::new(events, marks);
    let mut losses = (0..collected.losses.len()).peekable();
    let mut lines: Vec<Line> = Vec::new();
    for (index, event) in events.iter().enumerate() {
        while let Some(loss) = losses.next_if(|loss| collected.losses[*loss].start <= event.time) {
            lines.push(Line::Loss(loss));
        }
        if !folds.folded.contains(&index) {
            let line = EventLine {
                event: index,
                depth: places.depth(&event.actor),
                title: event.title.clone(),
                suffix: folds.suffix.get(&index).cloned().unwrap_or_default(),
                place: places.news(index),
                times: 1,
            };
            add(line, events, &kept, &mut lines);
        }
        lines.extend(findings.get(&index).into_iter().flatten().map(|finding| Line::Finding(*finding)));
    }
    lines.extend(losses.map(Line::Loss));
    if events.is_empty() {
        lines.extend((0..collected.findings.len()).map(Line::Finding));
    }
    lines
}

/// Adds `line`, or counts it as a repeat of the last one.
fn add(line: EventLine, events: &[Event], kept: &HashSet<usize>, lines: &mut Vec<Line>) {
    if let Some(Line::Event(last)) = lines.last_mut() {
        let (before, now) = (&events[last.event], &events[line.event]);
        let same = before.actor.process == now.actor.process
            && before.activity == now.activity
            && (&last.title, &last.suffix) == (&line.title, &line.suffix);
        if same && line.place.is_none() && !kept.contains(&line.event) && !kept.contains(&last.event) {
            last.times += 1;
            return;
        }
    }
    lines.push(Line::Event(line));
}

/// The findings after each event: behind the last event that caused it, else behind the last one before its time.
pub(crate) fn findings_after(collected: &Collected) -> HashMap<usize, Vec<usize>> {
    let refs: Vec<String> =
        collected.events.iter().map(|event| format!("{}/{}", event.table, event.event_id)).collect();
    let places: HashMap<&str, usize> = refs.iter().enumerate().map(|(place, name)| (name.as_str(), place)).collect();
    let mut after: HashMap<usize, Vec<usize>> = HashMap::new();
    for (index, finding) in collected.findings.iter().enumerate() {
        let caused = finding.event_refs.iter().filter_map(|name| places.get(name.as_str()).copied()).max();
        let before = || collected.events.iter().rposition(|event| event.time <= finding.last_time).unwrap_or(0);
        after.entry(caused.unwrap_or_else(before)).or_default().push(index);
    }
    after
}

/// Which events are folded, and what the lines they are folded into say instead.
#[derive(Default)]
struct Folds {
    folded: HashSet<usize>,
    suffix: HashMap<usize, String>,
}

impl Folds {
    fn find(events: &[Event], kept: &HashSet<usize>) -> Self {
        let mut folds = Self::default();
        let running: HashSet<&str> =
            events.iter().filter(|event| event.names_program()).map(|event| event.actor.process.as_str()).collect();
        let mut begun: HashMap<&str, usize> = HashMap::new();
        let mut connections = HashMap::new();
        for (index, event) in events.iter().enumerate() {
            let process = event.actor.process.as_str();
            if event.names_program() {
                begun.insert(process, index);
            } else if event.is(&FORK) {
                if running.contains(process) && !kept.contains(&index) {
                    folds.folded.insert(index);
                } else {
                    begun.entry(process).or_insert(index);
                }
            } else if event.is(&EXIT) && !kept.contains(&index) {
                if let Some(line) = begun.remove(process) {
                    let took = span(event.time - events[line].time);
                    folds.fold(index, line, format!(", {} after {took}", exit(&event.end)));
                }
            } else if event.change.is_some() && prepares(event) && !kept.contains(&index) {
                folds.folded.insert(index);
            } else if let Some(flow) = event.flow.as_deref() {
                let ends = (process, &flow.source, &flow.destination);
                if !event.is(&CLOSE) {
                    connections.insert(ends, index);
                } else if !kept.contains(&index)
                    && let Some(line) = connections.remove(&ends)
                {
                    folds.fold(index, line, traffic(flow));
                }
            }
        }
        folds
    }

    fn fold(&mut self, event: usize, into: usize, suffix: String) {
        self.folded.insert(event);
        self.suffix.entry(into).or_default().push_str(&suffix);
    }
}

/// Whether it is one of the dozens of calls by which a runtime prepares a container.
fn prepares(event: &Event) -> bool {
    event.by_starting_runtime() || (event.actor.origin.is_none() && event.actor.name.as_deref() == Some("runc"))
}

/// Where processes are, in the tree and in the cluster.
struct Places<'a> {
    events: &'a [Event],
    marks: &'a [Marks],
    depths: HashMap<&'a str, usize>,
    /// The location last shown for each process.
    said: HashMap<&'a str, String>,
}

impl<'a> Places<'a> {
    fn new(events: &'a [Event], marks: &'a [Marks]) -> Self {
        let mut depths: HashMap<&str, usize> = HashMap::new();
        for event in events {
            if !depths.contains_key(event.actor.process.as_str()) {
                let above = event.actor.ancestors.iter().find_map(|ancestor| depths.get(ancestor.as_str()));
                let depth = above.map_or(0, |above| above + 1).min(MAX_DEPTH);
                depths.insert(&event.actor.process, depth);
            }
        }
        Self { events, marks, depths, said: HashMap::new() }
    }

    fn depth(&self, actor: &Actor) -> usize {
        self.depths.get(actor.process.as_str()).copied().unwrap_or(0)
    }

    /// The location of an event's actor, unless its last line or its parent's shows it already.
    fn news(&mut self, index: usize) -> Option<String> {
        let actor = &self.events[index].actor;
        let place = place(actor, self.marks[index].outside);
        let known = self.said.get(actor.process.as_str());
        let known = known.or_else(|| actor.ancestors.iter().find_map(|ancestor| self.said.get(ancestor.as_str())));
        let news = (known != Some(&place)).then(|| place.clone());
        self.said.insert(&actor.process, place);
        news
    }
}

/// Where a process is, in a few words.
fn place(actor: &Actor, outside: bool) -> String {
    let born = || {
        actor.origin.as_ref().map(|origin| {
            let short = || origin.container.chars().take(12).collect();
            origin.pod.clone().unwrap_or_else(short)
        })
    };
    match (&actor.container, outside) {
        (Some(container), false) => {
            let pod = match (&container.namespace, &container.pod) {
                (Some(namespace), Some(pod)) => format!("{namespace}/{pod} "),
                (_, pod) => pod.as_ref().map_or_else(String::new, |pod| format!("{pod} ")),
            };
            let short = || container.id.chars().take(12).collect();
            format!("{pod}{}", container.name.clone().unwrap_or_else(short))
        }
        (Some(_), true) => {
            format!("in the host's namespaces, born in {}", born().unwrap_or_else(|| "a container".into()))
        }
        (None, _) => born().map_or_else(|| "host".to_owned(), |born| format!("on the host, born in {born}")),
    }
}

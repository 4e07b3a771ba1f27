//! A story for a terminal.

use kerntrail_query_engine::output::escape::visible;
use kerntrail_schemas::Table;
use kerntrail_schemas::tables::findings::CREATE;

use super::boundaries::Crossing;
use super::events::{Event, Finding, Loss};
use super::lines::{EventLine, Line};
use super::summary::{attempt, by_severity, connection_words, container_words, crossing_words, who};
use super::window::{clock, day, span};
use super::{Summary, Timeline};

/// Longest title, in characters.
const WIDTH: usize = 200;
/// Refused attempts, connections and containers named in the head.
const NAMED: usize = 10;
/// Columns before the story's text: clock, pid.
const MARGIN: usize = 23;

/// The story as text.
pub(crate) fn render(timeline: &Timeline) -> String {
    let mut out = String::new();
    let mut put = |line: String| {
        out.push_str(line.trim_end());
        out.push('\n');
    };
    let summary = &timeline.summary;
    put(format!("Timeline of {}", visible(&timeline.title)));
    put(format!("{}, {}", when(summary), nodes(summary)));
    put(String::new());
    for (name, fact) in facts(timeline) {
        put(format!("  {name:<11} {}", visible(&fact)));
    }
    put(String::new());
    put(format!("{:<12}  {:>7}  EVENT", "TIME (UTC)", "PID"));
    let mut place = (day(summary.first), summary.nodes.first().cloned().unwrap_or_default());
    for line in &timeline.lines {
        if let Line::Event(line) = line {
            let event = &timeline.collected.events[line.event];
            let now = (day(event.time), event.node.clone());
            if now != place {
                put(format!("--- {} on {}", now.0, visible(&now.1)));
                place = now;
            }
        }
        line_texts(timeline, line).into_iter().for_each(&mut put);
    }
    out
}

/// `2026-08-01 10:00:00.000 to 10:00:09.250 UTC (9.2 s)`.
pub(crate) fn when(summary: &Summary) -> String {
    let (first, last) = (day(summary.first), day(summary.last));
    let until = if first == last { clock(summary.last) } else { format!("{last} {}", clock(summary.last)) };
    format!("{first} {} to {until} UTC ({})", clock(summary.first), span(summary.last - summary.first))
}

fn nodes(summary: &Summary) -> String {
    let plural = if summary.nodes.len() == 1 { "node" } else { "nodes" };
    visible(&format!("{plural} {}", summary.nodes.join(", "))).into_owned()
}

/// The head of the story: name and fact, most urgent first.
pub(crate) fn facts(timeline: &Timeline) -> Vec<(&'static str, String)> {
    let (summary, collected) = (&timeline.summary, &timeline.collected);
    let mut facts = vec![("Escape", escape(timeline))];
    if summary.escape.is_some() {
        let total: usize = summary.after.iter().map(|connections| connections.count).sum();
        let named = some(summary.after.iter().map(connection_words), summary.after.len());
        facts.push(("After it", counted(total, "outbound connection", named)));
    }
    let crossed = summary.crossings.values().sum();
    facts.push(("Boundaries", counted(crossed, "crossing", crossing_words(summary))));
    let attempts = summary.refused.iter().map(|event| attempt(&collected.events[*event]));
    facts.push(("Refused", counted(summary.refused.len(), "attempt", some(attempts, summary.refused.len()))));
    facts.push(("Findings", if collected.findings.is_empty() { "none".to_owned() } else { by_severity(collected) }));
    facts.push(("Lost", lost(timeline)));
    facts.extend(summary.containers.iter().take(NAMED).map(|container| ("Container", container_words(container))));
    let folded = match summary.folded {
        0 => String::new(),
        folded => format!(", {folded} of them folded into other lines (json has all)"),
    };
    facts.push(("Shown", format!("{} events of {} processes{folded}", collected.events.len(), summary.processes)));
    facts.extend(collected.cuts.iter().map(|cut| ("Cut", cut.clone())));
    facts.extend(timeline.notes.iter().map(|note| ("Note", note.clone())));
    facts
}

fn escape(timeline: &Timeline) -> String {
    let Some(index) = timeline.summary.escape else {
        // Only namespaces show one.
        let known = timeline.collected.events.iter().any(|event| event.actor.mnt_ns.or(event.actor.pid_ns).is_some());
        let text = if known { "none seen" } else { "not known: these events carry no namespaces" };
        return text.to_owned();
    };
    let event = &timeline.collected.events[index];
    // One program often crosses several boundaries, with one call each.
    let same = timeline
        .collected
        .events
        .iter()
        .zip(&timeline.marks)
        .filter(|(other, _)| other.actor.process == event.actor.process);
    let by: Vec<String> =
        same.flat_map(|(_, marks)| &marks.crossings).filter(|crossing| crossing.escape).map(crossing_line).collect();
    format!("at {} by {}: {}", clock(event.time), who(event), by.join("; "))
}

fn lost(timeline: &Timeline) -> String {
    match timeline.collected.losses.len() {
        0 => "no loss is known in this time".to_owned(),
        1 => format!("{} events in 1 gap: the timeline may be incomplete", timeline.summary.lost),
        gaps => format!("{} events in {gaps} gaps: the timeline may be incomplete", timeline.summary.lost),
    }
}

/// `none`, or `2 attempts: a; b`.
fn counted(count: usize, what: &str, named: String) -> String {
    match count {
        0 => "none".to_owned(),
        1 => format!("1 {what}: {named}"),
        _ => format!("{count} {what}s: {named}"),
    }
}

fn some(words: impl Iterator<Item = String>, all: usize) -> String {
    let mut named: Vec<String> = words.take(NAMED).collect();
    if all > named.len() {
        named.push(format!("and {} more", all - named.len()));
    }
    named.join("; ")
}

fn line_texts(timeline: &Timeline, line: &Line) -> Vec<String> {
    let margin = " ".repeat(MARGIN);
    match line {
        Line::Event(line) => {
            let event = &timeline.collected.events[line.event];
            let indent = "  ".repeat(line.depth);
            let pid = event.actor.pid.map_or_else(|| "?".to_owned(), |pid| pid.to_string());
            let mut texts = vec![format!("{}  {pid:>7}  {indent}{}", clock(event.time), cut(&event_line(event, line)))];
            let crossings = &timeline.marks[line.event].crossings;
            texts.extend(crossings.iter().map(|crossing| {
                format!(
                    "{margin}{indent}  {} {}",
                    if crossing.escape { "##" } else { "==" },
                    visible(&crossing_line(crossing))
                )
            }));
            texts
        }
        Line::Finding(index) => {
            let finding = &timeline.collected.findings[*index];
            vec![format!("{margin}!! {}", visible(&finding_line(finding)))]
        }
        Line::Loss(index) => {
            let loss = &timeline.collected.losses[*index];
            vec![format!("{}  {:>7}  ?? {}", clock(loss.start), "-", visible(&loss_line(loss)))]
        }
    }
}

/// `nsenter: setns into the mnt namespace  [host]  (x3)`.
fn event_line(event: &Event, line: &EventLine) -> String {
    let mut text = match &event.actor.name {
        Some(name) if !is_program(event) => format!(". {name}: {}", line.title),
        _ => line.title.clone(),
    };
    text.push_str(&line.suffix);
    if line.times > 1 {
        text.push_str(&format!("  (x{})", line.times));
    }
    if let Some(place) = &line.place {
        text.push_str(&format!("  [{place}]"));
    }
    text
}

/// Whether the title is the program's own command line.
pub(crate) fn is_program(event: &Event) -> bool {
    event.names_program()
}

/// `mount namespace: 1 -> 2 (host)`.
pub(crate) fn crossing_line(crossing: &Crossing) -> String {
    let mut text = format!("{}: {} -> {}", crossing.boundary.words(), crossing.before, crossing.after);
    let shown = crossing.gained.iter().take(4).cloned().collect::<Vec<_>>().join(", ");
    match crossing.gained.len() {
        0 => {}
        1..=4 => text.push_str(&format!(" (gained {shown})")),
        all => text.push_str(&format!(" (gained {all}: {shown}, ...)")),
    }
    text
}

/// `FINDING high: Namespace entered (T1611): message [id]`.
pub(crate) fn finding_line(finding: &Finding) -> String {
    CREATE.sentence.fill(|name| match name {
        "severity" => finding.severity.clone(),
        "rule" => finding.rule_name.clone().or_else(|| finding.rule_id.clone()),
        "techniques" => Some(finding.attack_techniques.join(", ")).filter(|techniques| !techniques.is_empty()),
        "message" => Some(finding.message.clone().unwrap_or_default() + &more(finding)).filter(|text| !text.is_empty()),
        "finding_id" => Some(finding.finding_id.clone()),
        _ => None,
    })
}

/// `, and 39 more like it`.
fn more(finding: &Finding) -> String {
    match finding.suppressed_count {
        0 => String::new(),
        count => format!(", and {count} more like it"),
    }
}

/// `120 events are missing until 10:00:01.000 (ring_full, cpu 1)`.
pub(crate) fn loss_line(loss: &Loss) -> String {
    let entry = Table::EventLoss.activity(&loss.reason);
    let sentence = entry.map_or(Table::EventLoss.declaration().unknown.sentence, |activity| activity.sentence);
    sentence.fill(|name| match name {
        "lost" => loss.lost.map(|lost| lost.to_string()),
        "event_kind" => loss.event_kind.clone(),
        "until" => Some(clock(loss.end)),
        "activity" => Some(loss.reason.clone()),
        "cpu" => loss.cpu.map(|cpu| cpu.to_string()),
        _ => None,
    })
}

fn cut(text: &str) -> String {
    let text = visible(text);
    if text.chars().count() <= WIDTH {
        return text.into_owned();
    }
    text.chars().take(WIDTH - 1).chain(['…']).collect()
}

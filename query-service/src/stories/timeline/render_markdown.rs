//! A story for a ticket.

use kerntrail_query_engine::output::escape::{markdown, markdown_code};

use super::Timeline;
use super::events::Event;
use super::lines::{EventLine, Line};
use super::render_text::{crossing_line, facts, finding_line, is_program, loss_line, when};
use super::window::{clock, day};

/// The story as Markdown.
pub(crate) fn render(timeline: &Timeline) -> String {
    let summary = &timeline.summary;
    let mut out = format!("# Timeline of {}\n\n", markdown(&timeline.title));
    let nodes: Vec<String> = summary.nodes.iter().map(|node| markdown(node)).collect();
    out.push_str(&format!("{}, node {}\n\n", markdown(&when(summary)), nodes.join(", ")));
    for (name, fact) in facts(timeline) {
        out.push_str(&format!("- **{name}**: {}\n", markdown(&fact)));
    }
    out.push_str("\n## Story\n\n");
    let mut place = (day(summary.first), summary.nodes.first().cloned().unwrap_or_default());
    for line in &timeline.lines {
        if let Line::Event(line) = line {
            let event = &timeline.collected.events[line.event];
            let now = (day(event.time), event.node.clone());
            if now != place {
                out.push_str(&format!("\n### {} on {}\n\n", now.0, markdown(&now.1)));
                place = now;
            }
        }
        put(timeline, line, &mut out);
    }
    out
}

fn put(timeline: &Timeline, line: &Line, out: &mut String) {
    match line {
        Line::Event(line) => {
            let event = &timeline.collected.events[line.event];
            out.push_str(&event_item(event, line));
            for crossing in &timeline.marks[line.event].crossings {
                let name = if crossing.escape { "Escape" } else { "Boundary" };
                out.push_str(&format!("  - **{name}**: {}\n", markdown(&crossing_line(crossing))));
            }
        }
        Line::Finding(index) => {
            let finding = &timeline.collected.findings[*index];
            out.push_str(&format!("  - **{}**\n", markdown(&finding_line(finding))));
        }
        Line::Loss(index) => {
            let loss = &timeline.collected.losses[*index];
            out.push_str(&format!("- {} **{}**\n", clock(loss.start), markdown(&loss_line(loss))));
        }
    }
}

fn event_item(event: &Event, line: &EventLine) -> String {
    let pid = event.actor.pid.map_or_else(|| "?".to_owned(), |pid| pid.to_string());
    let mut text = format!("- {} pid {pid} ", clock(event.time));
    if !is_program(event)
        && let Some(name) = &event.actor.name
    {
        text.push_str(&format!("{}: ", markdown(name)));
    }
    text.push_str(&markdown_code(&line.title));
    text.push_str(&markdown(&line.suffix));
    if line.times > 1 {
        text.push_str(&format!(" (x{})", line.times));
    }
    if let Some(place) = &line.place {
        text.push_str(&format!(" — {}", markdown(place)));
    }
    text + "\n"
}

//! A story for programs: every event, unfolded.

use kerntrail_query_engine::output::escape;
use kerntrail_schemas::errno;
use serde::Serialize;

use super::Timeline;
use super::boundaries::Crossing;
use super::describe::refused;
use super::events::{Container, Event, Finding};
use super::lines::findings_after;
use super::summary::Connections;
use super::window::rfc3339;

#[derive(Serialize)]
struct Document<'a> {
    title: &'a str,
    notes: &'a [String],
    cuts: &'a [String],
    summary: SummaryJson<'a>,
    events: Vec<EventJson<'a>>,
    findings: Vec<FindingJson<'a>>,
    losses: Vec<LossJson<'a>>,
}

#[derive(Serialize)]
struct SummaryJson<'a> {
    first_time: String,
    last_time: String,
    nodes: &'a [String],
    containers: &'a [Container],
    processes: usize,
    events: usize,
    crossings: usize,
    /// `event_id` of the event by which it got out.
    escape: Option<&'a str>,
    refused: usize,
    outbound_after_escape: &'a [Connections],
    lost: i64,
}

#[derive(Serialize)]
struct EventJson<'a> {
    event_id: &'a str,
    table: &'static str,
    time: String,
    node: &'a str,
    imported_from: Option<&'a str>,
    activity: &'a str,
    title: &'a str,
    process_uid: &'a str,
    exec_seq: Option<i64>,
    pid: Option<i64>,
    parent_pid: Option<i64>,
    parent_process_uid: Option<&'a str>,
    process_path: Option<&'a str>,
    cmd_line: Option<&'a str>,
    cwd: Option<&'a str>,
    container_id: Option<&'a str>,
    origin_container_id: Option<&'a str>,
    origin_pod: Option<&'a str>,
    outside: bool,
    target_process_uid: Option<&'a str>,
    ret: Option<i64>,
    refused: bool,
    failed: bool,
    crossings: &'a [Crossing],
    findings: Vec<&'a str>,
}

#[derive(Serialize)]
struct FindingJson<'a> {
    last_time: String,
    #[serde(flatten)]
    finding: &'a Finding,
}

#[derive(Serialize)]
struct LossJson<'a> {
    start_time: String,
    end_time: String,
    node: &'a str,
    cpu: Option<i64>,
    from_seq: Option<i64>,
    to_seq: Option<i64>,
    lost: Option<i64>,
    reason: &'a str,
    event_kind: Option<&'a str>,
}

/// The story as JSON.
pub(crate) fn render(timeline: &Timeline) -> String {
    // Strings and numbers alone: nothing that JSON lacks.
    let text = serde_json::to_string_pretty(&document(timeline)).unwrap_or_default();
    escape::json(&text).into_owned() + "\n"
}

fn document(timeline: &Timeline) -> Document<'_> {
    let (summary, collected) = (&timeline.summary, &timeline.collected);
    let found = findings_after(collected);
    let findings_of = |index: usize| {
        let indices = found.get(&index).into_iter().flatten();
        indices.map(|finding| collected.findings[*finding].finding_id.as_str()).collect()
    };
    let events = collected.events.iter().enumerate();
    Document {
        title: &timeline.title,
        notes: &timeline.notes,
        cuts: &collected.cuts,
        summary: SummaryJson {
            first_time: rfc3339(summary.first),
            last_time: rfc3339(summary.last),
            nodes: &summary.nodes,
            containers: &summary.containers,
            processes: summary.processes,
            events: collected.events.len(),
            crossings: summary.crossings.values().sum(),
            escape: summary.escape.map(|index| collected.events[index].event_id.as_str()),
            refused: summary.refused.len(),
            outbound_after_escape: &summary.after,
            lost: summary.lost,
        },
        events: events.map(|(index, event)| event_json(timeline, index, event, findings_of(index))).collect(),
        findings: collected
            .findings
            .iter()
            .map(|finding| FindingJson { last_time: rfc3339(finding.last_time), finding })
            .collect(),
        losses: collected
            .losses
            .iter()
            .map(|loss| LossJson {
                start_time: rfc3339(loss.start),
                end_time: rfc3339(loss.end),
                node: &loss.node,
                cpu: loss.cpu,
                from_seq: loss.from_seq,
                to_seq: loss.to_seq,
                lost: loss.lost,
                reason: &loss.reason,
                event_kind: loss.event_kind.as_deref(),
            })
            .collect(),
    }
}

fn event_json<'a>(timeline: &'a Timeline, index: usize, event: &'a Event, findings: Vec<&'a str>) -> EventJson<'a> {
    let (actor, marks) = (&event.actor, &timeline.marks[index]);
    EventJson {
        event_id: &event.event_id,
        table: event.table.name(),
        time: rfc3339(event.time),
        node: &event.node,
        imported_from: event.imported_from.as_deref(),
        activity: &event.activity,
        title: &event.title,
        process_uid: &actor.process,
        exec_seq: actor.exec_seq,
        pid: actor.pid,
        parent_pid: actor.parent_pid,
        parent_process_uid: actor.parent.as_deref(),
        process_path: actor.path.as_deref(),
        cmd_line: actor.cmd_line.as_deref(),
        cwd: actor.cwd.as_deref(),
        container_id: actor.container.as_ref().map(|container| container.id.as_str()),
        origin_container_id: actor.origin.as_ref().map(|origin| origin.container.as_str()),
        origin_pod: actor.origin.as_ref().and_then(|origin| origin.pod.as_deref()),
        outside: marks.outside,
        target_process_uid: event.change.as_ref().and_then(|change| change.target_process.as_deref()),
        ret: event.ret,
        refused: event.ret.is_some_and(refused),
        failed: event.ret.is_some_and(errno::failed),
        crossings: &marks.crossings,
        findings,
    }
}

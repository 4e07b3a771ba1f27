//! Elastic Common Schema, version 9.
//!
//! Fields: <https://www.elastic.co/docs/reference/ecs/ecs-field-reference>; allowed values of `event.*`:
//! <https://www.elastic.co/docs/reference/ecs/ecs-category-field-values-reference>. Where Elastic's prebuilt Linux and
//! container rules test for a value that ECS leaves open (`event.action`, `process.entry_leader.entry_meta.type`), it
//! is the one that they test for. `kubernetes.*` is named as Elastic's own Kubernetes integration names it.

use serde_json::{Value, json};

use super::document::{Document, Place, colons, file_name, length, lower, rfc3339, same, text};
use super::row::Row;
use super::{attack, event_id, words};
use crate::capabilities;
use crate::tables::Table;

/// Version of the schema that [`map`] writes.
pub const VERSION: &str = "9.0.0";

/// `event.category`, `event.type` and `event.action`, by table and our `activity`.
type Event = (Table, &'static str, &'static [&'static str], &'static [&'static str], &'static str);

const EVENTS: &[Event] = &[
    (Table::ProcessEvents, "exec", &["process"], &["start"], "exec"),
    (Table::ProcessEvents, "fork", &["process"], &["start"], "fork"),
    (Table::ProcessEvents, "exit", &["process"], &["end"], "end"),
    (Table::ProcessEvents, "existing", &["process"], &["info"], "already_running"),
    (Table::FileEvents, "open", &["file"], &["access"], "open"),
    (Table::FileEvents, "read", &["file"], &["access"], "read"),
    (Table::FileEvents, "write", &["file"], &["change"], "modification"),
    (Table::FileEvents, "truncate", &["file"], &["change"], "modification"),
    (Table::FileEvents, "unlink", &["file"], &["deletion"], "deletion"),
    (Table::FileEvents, "rename", &["file"], &["change"], "rename"),
    (Table::FileEvents, "link", &["file"], &["creation"], "creation"),
    (Table::FileEvents, "symlink", &["file"], &["creation"], "creation"),
    (Table::FileEvents, "chmod", &["file"], &["change"], "chmod"),
    (Table::FileEvents, "chown", &["file"], &["change"], "chown"),
    (Table::KernelEvents, "set_uid", &["process"], &["change"], "uid_change"),
    (Table::KernelEvents, "set_gid", &["process"], &["change"], "gid_change"),
    (Table::KernelEvents, "module_load", &["driver"], &["start"], "loaded-kernel-module"),
    (Table::NetworkFlows, "connect", &["network"], &["start", "connection"], "connection_attempted"),
    (Table::NetworkFlows, "accept", &["network"], &["start", "connection"], "connection_accepted"),
    (Table::NetworkFlows, "close", &["network"], &["end", "connection"], "disconnect_received"),
    (Table::NetworkFlows, "listen", &["network"], &["info"], "listen"),
    (Table::Findings, "create", &["intrusion_detection"], &["info"], "create"),
];

/// `event.category` and `event.type` of activities that [`EVENTS`] does not name.
fn other_event(table: Table) -> (&'static [&'static str], &'static [&'static str]) {
    match table {
        Table::ProcessEvents => (&["process"], &["info"]),
        Table::FileEvents => (&["file"], &["info"]),
        Table::KernelEvents => (&["process"], &["change"]),
        Table::NetworkFlows => (&["network"], &["info"]),
        Table::Findings => (&["intrusion_detection"], &["info"]),
        Table::EventLoss => (&["host"], &["info"]),
    }
}

/// `event.severity` as Elastic's detection engine counts it, by our `severity`.
const SEVERITIES: &[(&str, i64)] =
    &[("informational", 21), ("low", 21), ("medium", 47), ("high", 73), ("critical", 99)];

/// `process.entry_leader.entry_meta.type`, by our `entry_type`.
const ENTRIES: &[(&str, &str)] = &[
    ("container_start", "container"),
    ("container_exec", "container"),
    ("sshd", "sshd"),
    ("cron", "cron"),
    ("init", "init"),
];

const ENVELOPE: &[Place] = &[
    ("time", "@timestamp", rfc3339),
    ("ingest_time", "event.ingested", rfc3339),
    ("seq", "event.sequence", same),
    ("activity", "event.code", same),
    ("source", "event.provider", same),
    ("cluster", "orchestrator.cluster.name", same),
    ("node", "host.name", same),
    ("node", "host.hostname", same),
    ("boot_id", "host.boot.id", same),
];

const ACTOR: &[Place] = &[
    ("process_uid", "process.entity_id", same),
    ("pid", "process.pid", same),
    ("process_name", "process.name", same),
    ("process_path", "process.executable", same),
    ("args", "process.args", same),
    ("args", "process.args_count", length),
    ("cmd_line", "process.command_line", same),
    ("cwd", "process.working_directory", same),
    ("process_start_time", "process.start", rfc3339),
    ("euid", "user.id", text),
    ("euid", "process.user.id", text),
    ("uid", "process.real_user.id", text),
    ("gid", "process.real_group.id", text),
    ("cap_effective", "process.thread.capabilities.effective", capability_names),
    ("session_leader_uid", "process.session_leader.entity_id", same),
    ("group_leader_uid", "process.group_leader.entity_id", same),
    ("entry_leader_uid", "process.entry_leader.entity_id", same),
    ("parent_process_uid", "process.parent.entity_id", same),
    ("parent_pid", "process.parent.pid", same),
    ("parent_path", "process.parent.executable", same),
    ("parent_path", "process.parent.name", file_name),
    ("parent_args", "process.parent.args", same),
    ("parent_args", "process.parent.args_count", length),
    ("parent_args", "process.parent.command_line", one_line),
];

/// Container and pod.
const WORKLOAD: &[Place] = &[
    ("container_id", "container.id", same),
    ("container_name", "container.name", same),
    ("container_name", "kubernetes.container.name", same),
    ("image", "container.image.name", image_name),
    ("image", "container.image.tag", image_tag),
    ("image_digest", "container.image.hash.all", one),
    ("container_privileged", "container.security_context.privileged", same),
    ("namespace", "orchestrator.namespace", same),
    ("namespace", "kubernetes.namespace", same),
    ("pod_uid", "orchestrator.resource.id", same),
    ("pod_uid", "kubernetes.pod.uid", same),
    ("pod_name", "orchestrator.resource.name", same),
    ("pod_name", "kubernetes.pod.name", same),
    ("pod_labels", "orchestrator.resource.label", colons),
    ("pod_labels", "kubernetes.labels", without_dots),
    ("workload_kind", "orchestrator.resource.parent.type", same),
];

const PROCESS_OWN: &[Place] = &[("exit_code", "process.exit_code", same), ("binary_inode", "file.inode", text)];

const FILE_OWN: &[Place] =
    &[("path", "file.path", same), ("path", "file.name", file_name), ("mode", "file.mode", octal)];

const NETWORK_OWN: &[Place] = &[
    ("src_ip", "source.ip", same),
    ("src_ip", "source.address", same),
    ("src_port", "source.port", same),
    ("dst_ip", "destination.ip", same),
    ("dst_ip", "destination.address", same),
    ("dst_port", "destination.port", same),
    ("protocol", "network.transport", lower),
    ("start_time", "event.start", rfc3339),
    ("end_time", "event.end", rfc3339),
];

const FINDING_OWN: &[Place] = &[
    ("rule_id", "rule.id", same),
    ("rule_name", "rule.name", same),
    ("rule_version", "rule.version", same),
    ("message", "message", same),
    ("risk_score", "event.risk_score", same),
    ("first_time", "event.start", rfc3339),
    ("last_time", "event.end", rfc3339),
];

const LOSS_OWN: &[Place] = &[("start_time", "event.start", rfc3339), ("end_time", "event.end", rfc3339)];

/// The ECS document for `row` of `table`, for the data stream `logs-kerntrail.<table>-<namespace>`.
///
/// `event.id` is the row's `event_id`. Columns without a place are in `kerntrail.*`.
pub fn map(table: Table, row: &Row, namespace: &str) -> Value {
    let mut document = Document::new(row);
    classify(&mut document, table, row);
    document.put("data_stream", json!({"type": "logs", "dataset": dataset(table), "namespace": namespace}));
    document.place("", ENVELOPE);
    document.put("host.os", json!({"type": "linux", "family": "linux", "name": "Linux"}));
    if table.has_actor() {
        actor(&mut document);
    }
    match table {
        Table::ProcessEvents => process(&mut document),
        Table::FileEvents => document.place("", FILE_OWN),
        Table::KernelEvents => outcome(&mut document),
        Table::NetworkFlows => network(&mut document),
        Table::Findings => finding(&mut document),
        Table::EventLoss => loss(&mut document),
    }
    document.finish("kerntrail")
}

/// `data_stream.dataset` of `table`.
pub fn dataset(table: Table) -> String {
    format!("kerntrail.{table}")
}

fn classify(document: &mut Document<'_>, table: Table, row: &Row) {
    let activity = document.see_text("activity").unwrap_or("unknown");
    let known = EVENTS.iter().find(|(of, name, ..)| *of == table && *name == activity);
    let (category, kind, action) = match known {
        Some((_, _, category, kind, action)) => (*category, *kind, *action),
        None => (other_event(table).0, other_event(table).1, activity),
    };
    document.put("ecs.version", VERSION);
    document.put("agent.type", "kerntrail");
    document.put("event.kind", if table == Table::Findings { "alert" } else { "event" });
    document.put("event.category", category.to_vec());
    document.put("event.type", kind.to_vec());
    document.put("event.action", action);
    document.put("event.module", "kerntrail");
    document.put("event.dataset", dataset(table));
    document.put_known("event.id", event_id(row));
    // `@timestamp` says the same.
    document.take("date");
}

fn actor(document: &mut Document<'_>) {
    document.place("", ACTOR);
    document.place("", WORKLOAD);
    for (column, leader) in
        [("session_leader_uid", "session"), ("group_leader_uid", "group"), ("entry_leader_uid", "entry")]
    {
        let same = document.see(column).zip(document.see("process_uid")).map(|(leader, process)| leader == process);
        document.put_known(&format!("process.{leader}_leader.same_as_process"), same);
    }
    // The column stays too: ECS does not tell a container's start from an exec into it.
    let entry = document.see_text("entry_type").and_then(|entry| ENTRIES.iter().find(|(name, _)| *name == entry));
    document.put_known("process.entry_leader.entry_meta.type", entry.map(|(_, value)| *value));
    if document.see("pod_uid").is_some() {
        document.put("orchestrator.type", "kubernetes");
        document.put("orchestrator.resource.type", "pod");
        document.put_known("kubernetes.node.name", document.see("node").cloned());
    }
    // `kubernetes.deployment.name`, `kubernetes.daemonset.name`, ...
    let kind = document.see_text("workload_kind").map(str::to_lowercase);
    if let Some(kind) = kind.filter(|kind| kind.chars().all(|c| c.is_ascii_alphanumeric())) {
        let name = document.take("workload_name").cloned();
        document.put_known(&format!("kubernetes.{kind}.name"), name);
    }
}

fn process(document: &mut Document<'_>) {
    document.place("", PROCESS_OWN);
    let interactive = document.see_text("stdin_kind").map(|kind| kind == "tty");
    document.put_known("process.interactive", interactive);
    if document.see_text("activity") == Some("exit") {
        document.put_known("process.end", document.see("time").and_then(rfc3339));
    }
}

/// Whether a call worked; `ret` itself stays in `kerntrail.ret`.
fn outcome(document: &mut Document<'_>) {
    let Some(ret) = document.see_number("ret") else { return };
    let failed = words::failed(ret);
    document.put("event.outcome", if failed { "failure" } else { "success" });
    document.put_known("error.code", failed.then(|| words::errno(ret)));
}

fn network(document: &mut Document<'_>) {
    document.place("", NETWORK_OWN);
    let direction = document.take_text("direction");
    let inbound = direction == Some("inbound");
    // Seen from a host, ECS calls the directions so.
    document.put_known("network.direction", direction.map(|_| if inbound { "ingress" } else { "egress" }));
    let address = document.see_text("dst_ip").or(document.see_text("src_ip"));
    document.put_known("network.type", address.map(|ip| if ip.contains(':') { "ipv6" } else { "ipv4" }));
    if document.see_text("protocol") == Some("TCP") {
        document.put("network.iana_number", "6");
    }
    let (sent, received) = (document.take("bytes_out"), document.take("bytes_in"));
    let (source, destination) = if inbound { (received, sent) } else { (sent, received) };
    document.put_known("source.bytes", source.cloned());
    document.put_known("destination.bytes", destination.cloned());
    let total = source.and_then(Value::as_i64).zip(destination.and_then(Value::as_i64));
    document.put_known("network.bytes", total.map(|(source, destination)| source + destination));
    duration(document, "start_time", "end_time");
    outcome(document);
}

/// `event.duration` in ns.
fn duration(document: &mut Document<'_>, start: &str, end: &str) {
    let times = document.see_number(start).zip(document.see_number(end));
    document.put_known("event.duration", times.map(|(start, end)| (end - start).saturating_mul(1_000)));
}

fn finding(document: &mut Document<'_>) {
    document.place("", FINDING_OWN);
    document.put("rule.ruleset", "kerntrail");
    let severity = document.see_text("severity").and_then(|name| SEVERITIES.iter().find(|(known, _)| *known == name));
    document.put_known("event.severity", severity.map(|(_, number)| *number));
    duration(document, "first_time", "last_time");
    threat(document);
}

fn threat(document: &mut Document<'_>) {
    let texts = |value: Option<&'_ Value>| -> Vec<String> {
        let items = value.and_then(Value::as_array).into_iter().flatten();
        items.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let written = texts(document.take("attack_tactics"));
    let tactics: Vec<attack::Tactic<'_>> = written.iter().map(|tactic| attack::tactic(tactic)).collect();
    let techniques = texts(document.take("attack_techniques"));
    if tactics.is_empty() && techniques.is_empty() {
        return;
    }
    document.put("threat.framework", "MITRE ATT&CK");
    let list = |items: Vec<String>| (!items.is_empty()).then_some(items);
    let mut numbers: Vec<String> = Vec::new();
    let mut sub_numbers = Vec::new();
    for (parent, sub) in techniques.iter().map(|written| attack::technique(written)) {
        if !numbers.contains(&parent) {
            numbers.push(parent);
        }
        sub_numbers.extend(sub);
    }
    document.put_known("threat.tactic.id", list(tactics.iter().filter_map(|t| t.uid).map(str::to_owned).collect()));
    document.put_known("threat.tactic.name", list(tactics.iter().map(|tactic| tactic.name.to_owned()).collect()));
    document.put_known("threat.technique.id", list(numbers));
    document.put_known("threat.technique.subtechnique.id", list(sub_numbers));
}

fn loss(document: &mut Document<'_>) {
    document.place("", LOSS_OWN);
    let lost = document.see_number("lost").map_or_else(|| "An unknown number of".to_owned(), |lost| lost.to_string());
    let reason = document.see_text("activity").unwrap_or("unknown");
    document.put("message", format!("{lost} events were lost: {reason}"));
}

fn capability_names(mask: &Value) -> Option<Value> {
    Some(capabilities::names(mask.as_i64()?, |bit| bit.to_string()).into())
}

fn one_line(args: &Value) -> Option<Value> {
    words::command_line(args).map(Value::from)
}

fn image_name(reference: &Value) -> Option<Value> {
    Some(words::image(reference.as_str()?).name.into())
}

fn image_tag(reference: &Value) -> Option<Value> {
    words::image(reference.as_str()?).tag.map(|tag| json!([tag]))
}

fn one(value: &Value) -> Option<Value> {
    Some(json!([value]))
}

/// Permission bits as `0644`.
fn octal(mode: &Value) -> Option<Value> {
    Some(format!("{:04o}", mode.as_i64()?).into())
}

/// Labels with `_` for each `.` in a key, as Elastic's agents write them: a dot would make an object of it, and
/// `app` beside `app.kubernetes.io/name` a conflict.
fn without_dots(labels: &Value) -> Option<Value> {
    let labels = labels.as_object()?;
    Some(Value::Object(labels.iter().map(|(key, value)| (key.replace('.', "_"), value.clone())).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capability_without_a_name_is_its_number() {
        let names = capability_names(&json!(1i64 << 21 | 1 << 40 | 1 << 50)).unwrap();
        assert_eq!(names, json!(["CAP_SYS_ADMIN", "CAP_CHECKPOINT_RESTORE", "50"]));
    }
}

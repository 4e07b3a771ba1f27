//! Open Cybersecurity Schema Framework, version 1.8.0.
//!
//! Classes: <https://schema.ocsf.io/1.8.0/classes>; objects: <https://schema.ocsf.io/1.8.0/objects>.
//! Profiles used: `host` (device and actor), `container`, `linux/linux_users`, `security_control` (`action_id`).
//!
//! | table | class | activities |
//! |---|---|---|
//! | `process_events` | Process Activity 1007 | exec, fork: Launch 1 · exit: Terminate 2 · existing: Other 99 |
//! | `file_events` | File System Activity 1001 | by what the call does |
//! | `kernel_events` | Kernel Activity 1003 | Invoke 4 of the system call |
//! | `network_flows` | Network Activity 4001 | Open 1, Close 2, Fail 4, Refuse 5, Listen 7 |
//! | `findings` | Detection Finding 2004 | Create 1 |
//! | `event_loss` | Base Event 0 | Other 99 |
//!
//! In a launch `process` is the new program and `actor.process` its parent; a process ends by itself. Everywhere else
//! `actor.process` is the process that acted.

use serde_json::{Value, json};

use super::document::{Document, Place, equal_signs, file_name, lower, millis, same, text};
use super::row::Row;
use super::{attack, event_id, words};
use crate::tables::Table;

/// Version of the schema that [`map`] writes.
pub const VERSION: &str = "1.8.0";

/// A class of events.
struct Class {
    category: (i64, &'static str),
    uid: i64,
    name: &'static str,
}

const PROCESS: Class = Class { category: (1, "System Activity"), uid: 1007, name: "Process Activity" };
const FILE: Class = Class { category: (1, "System Activity"), uid: 1001, name: "File System Activity" };
const KERNEL: Class = Class { category: (1, "System Activity"), uid: 1003, name: "Kernel Activity" };
const NETWORK: Class = Class { category: (4, "Network Activity"), uid: 4001, name: "Network Activity" };
const FINDING: Class = Class { category: (2, "Findings"), uid: 2004, name: "Detection Finding" };
const BASE: Class = Class { category: (0, "Uncategorized"), uid: 0, name: "Base Event" };

fn class(table: Table) -> &'static Class {
    match table {
        Table::ProcessEvents => &PROCESS,
        Table::FileEvents => &FILE,
        Table::KernelEvents => &KERNEL,
        Table::NetworkFlows => &NETWORK,
        Table::Findings => &FINDING,
        Table::EventLoss => &BASE,
    }
}

/// `activity_id` and its caption, by table and our `activity`.
const ACTIVITIES: &[(Table, &str, i64, &str)] = &[
    (Table::ProcessEvents, "exec", 1, "Launch"),
    (Table::ProcessEvents, "fork", 1, "Launch"),
    (Table::ProcessEvents, "exit", 2, "Terminate"),
    (Table::FileEvents, "open", 14, "Open"),
    (Table::FileEvents, "read", 2, "Read"),
    (Table::FileEvents, "write", 3, "Update"),
    (Table::FileEvents, "truncate", 3, "Update"),
    (Table::FileEvents, "unlink", 4, "Delete"),
    (Table::FileEvents, "rename", 5, "Rename"),
    (Table::FileEvents, "link", 1, "Create"),
    (Table::FileEvents, "symlink", 1, "Create"),
    (Table::FileEvents, "chmod", 7, "Set Security"),
    (Table::FileEvents, "chown", 7, "Set Security"),
    (Table::NetworkFlows, "connect", 1, "Open"),
    (Table::NetworkFlows, "accept", 1, "Open"),
    (Table::NetworkFlows, "close", 2, "Close"),
    (Table::NetworkFlows, "listen", 7, "Listen"),
    (Table::Findings, "create", 1, "Create"),
];

/// `severity_id` and its caption, by our `severity`.
const SEVERITIES: &[(&str, i64, &str)] = &[
    ("informational", 1, "Informational"),
    ("low", 2, "Low"),
    ("medium", 3, "Medium"),
    ("high", 4, "High"),
    ("critical", 5, "Critical"),
];

/// `action_id` and its caption, by our `action`.
const ACTIONS: &[(&str, i64, &str)] = &[("observed", 3, "Observed"), ("denied", 2, "Denied"), ("killed", 2, "Denied")];

const ENVELOPE: &[Place] = &[
    ("time", "time", millis),
    ("ingest_time", "metadata.logged_time", millis),
    ("source", "metadata.log_provider", same),
    ("node", "device.hostname", same),
    ("boot_id", "device.boot_uid", same),
    ("count", "count", same),
];

/// A process, below `process` or `actor.process`.
const ACTOR: &[Place] = &[
    ("process_uid", "uid", same),
    ("pid", "pid", same),
    ("process_name", "name", same),
    ("process_path", "path", same),
    ("process_path", "file.path", same),
    ("process_path", "file.name", file_name),
    ("cmd_line", "cmd_line", same),
    ("cwd", "working_directory", same),
    ("process_start_time", "created_time", millis),
    ("uid", "user.uid", text),
    ("gid", "group.uid", text),
    ("euid", "euid", same),
    ("login_uid", "auid", same),
    ("tty", "session.terminal", same),
    ("session_leader_uid", "session.uid", same),
    ("container_id", "container.uid", same),
    ("container_name", "container.name", same),
    ("pod_uid", "container.pod_uuid", same),
    ("pod_labels", "container.labels", equal_signs),
];

/// The parent, below `process.parent_process` or as `actor.process` of a launch.
const PARENT: &[Place] = &[
    ("parent_process_uid", "uid", same),
    ("parent_pid", "pid", same),
    ("parent_path", "path", same),
    ("parent_path", "name", file_name),
];

const FILE_OWN: &[Place] = &[("path", "file.path", same), ("path", "file.name", file_name)];

const KERNEL_OWN: &[Place] = &[("target_path", "kernel.path", same)];

const NETWORK_OWN: &[Place] = &[
    ("src_ip", "src_endpoint.ip", same),
    ("src_port", "src_endpoint.port", same),
    ("dst_ip", "dst_endpoint.ip", same),
    ("dst_port", "dst_endpoint.port", same),
    ("protocol", "connection_info.protocol_name", lower),
    ("start_time", "start_time", millis),
    ("end_time", "end_time", millis),
];

const FINDING_OWN: &[Place] = &[
    ("finding_id", "finding_info.uid", same),
    ("rule_name", "finding_info.title", same),
    ("message", "finding_info.desc", same),
    ("message", "message", same),
    ("first_time", "finding_info.first_seen_time", millis),
    ("first_time", "start_time", millis),
    ("last_time", "finding_info.last_seen_time", millis),
    ("last_time", "end_time", millis),
    ("rule_id", "finding_info.analytic.uid", same),
    ("rule_name", "finding_info.analytic.name", same),
    ("rule_version", "finding_info.analytic.version", same),
    ("risk_score", "risk_score", same),
];

const LOSS_OWN: &[Place] = &[("start_time", "start_time", millis), ("end_time", "end_time", millis)];

/// The OCSF event for `row` of `table`.
///
/// `metadata.uid` is the row's `event_id`. Columns without a place are in `unmapped`.
pub fn map(table: Table, row: &Row) -> Value {
    let mut event = Document::new(row);
    classify(&mut event, table);
    metadata(&mut event, table, row);
    event.place("", ENVELOPE);
    device(&mut event);
    action(&mut event);
    match table {
        Table::ProcessEvents => process_activity(&mut event),
        Table::FileEvents => file_activity(&mut event),
        Table::KernelEvents => kernel_activity(&mut event),
        Table::NetworkFlows => network_activity(&mut event),
        Table::Findings => detection_finding(&mut event),
        Table::EventLoss => event_loss(&mut event),
    }
    event.finish("unmapped")
}

/// Class, activity and severity, with their captions.
fn classify(event: &mut Document<'_>, table: Table) {
    let class = class(table);
    let (activity_id, activity_name) = activity(event, table);
    let type_caption = if activity_id == 99 { "Other" } else { activity_name };
    event.put("category_uid", class.category.0);
    event.put("category_name", class.category.1);
    event.put("class_uid", class.uid);
    event.put("class_name", class.name);
    event.put("activity_id", activity_id);
    event.put("activity_name", activity_name);
    event.put("type_uid", class.uid * 100 + activity_id);
    event.put("type_name", format!("{}: {type_caption}", class.name));
    let severity = event.take_text("severity").unwrap_or("informational");
    let known = SEVERITIES.iter().find(|(name, ..)| *name == severity);
    let (_, severity_id, caption) = known.copied().unwrap_or((severity, 99, severity));
    event.put("severity_id", severity_id);
    event.put("severity", caption);
}

fn activity<'a>(event: &mut Document<'a>, table: Table) -> (i64, &'a str) {
    let Some(activity) = event.take_text("activity") else { return (0, "Unknown") };
    match (table, event.see_number("ret")) {
        (Table::KernelEvents, _) => return (4, "Invoke"),
        (Table::NetworkFlows, Some(words::REFUSED)) => return (5, "Refuse"),
        (Table::NetworkFlows, Some(ret)) if words::failed(ret) => return (4, "Fail"),
        _ => {}
    }
    let known = ACTIVITIES.iter().find(|(of, name, ..)| *of == table && *name == activity);
    known.map_or((99, activity), |(_, _, id, caption)| (*id, *caption))
}

fn metadata(event: &mut Document<'_>, table: Table, row: &Row) {
    event.put("metadata.version", VERSION);
    event.put(
        "metadata.product",
        json!({"name": "kerntrail", "vendor_name": "kerntrail", "version": env!("CARGO_PKG_VERSION")}),
    );
    event.put("metadata.log_name", table.name());
    event.put_known("metadata.uid", event_id(row));
    event.put_known("metadata.event_code", row.get("activity").cloned());
    let mut profiles = vec!["host", "security_control"];
    if row.contains_key("container_id") {
        profiles.push("container");
    }
    if table.has_actor() {
        profiles.push("linux/linux_users");
    }
    event.put("metadata.profiles", profiles);
    // `time` says the same.
    event.take("date");
}

/// The node.
fn device(event: &mut Document<'_>) {
    event.put("device.type_id", 1);
    event.put("device.type", "Server");
    event.put("device.os", json!({"name": "Linux", "type": "Linux", "type_id": 200}));
}

fn action(event: &mut Document<'_>) {
    let Some(action) = event.take_text("action") else { return };
    let known = ACTIONS.iter().find(|(name, ..)| *name == action);
    let (_, id, caption) = known.copied().unwrap_or((action, 99, action));
    event.put("action_id", id);
    event.put("action", caption);
}

fn process_activity(event: &mut Document<'_>) {
    actor(event, "process");
    let parent_known = event.see("parent_process_uid").or(event.see("parent_pid")).is_some();
    if event.see_text("activity") == Some("exit") || !parent_known {
        // OCSF: a process that exits by itself is both. One that execs is, too, as far as is known here.
        program(event, "actor.process");
    } else {
        event.place("actor.process.", PARENT);
    }
    let launch_type = match event.see_text("activity") {
        Some("exec") => Some((3, "Exec")),
        Some("fork") => Some((2, "Fork")),
        _ => None,
    };
    if let Some((id, caption)) = launch_type {
        event.put("launch_type_id", id);
        event.put("launch_type", caption);
    }
    event.place("", &[("exit_code", "exit_code", same)]);
}

/// The row's process at `path`.
fn program(event: &mut Document<'_>, path: &str) {
    event.place(&format!("{path}."), ACTOR);
    if event.see("process_path").is_some() {
        event.put(&format!("{path}.file.type_id"), 8);
        event.put(&format!("{path}.file.type"), "Executable File");
    }
}

/// The row's process at `path`, with parent, ancestry and container.
fn actor(event: &mut Document<'_>, path: &str) {
    program(event, path);
    let parent = format!("{path}.parent_process");
    if event.see("parent_process_uid").or(event.see("parent_pid")).is_some() {
        event.place(&format!("{parent}."), PARENT);
        let line = event.see("parent_args").and_then(words::command_line);
        event.put_known(&format!("{parent}.cmd_line"), line);
    }
    let ancestry = ancestry(event);
    event.put_known(&format!("{path}.ancestry"), ancestry);
    container(event, &format!("{path}.container"));
}

/// The parent, then every ancestor up to the root.
fn ancestry(event: &mut Document<'_>) -> Option<Value> {
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let (uids, paths) = (list(event.take("ancestor_uids")), list(event.take("ancestor_paths")));
    let parent = entity(event.see("parent_process_uid"), event.see("parent_path"), event.see("parent_pid"));
    let further = (0..uids.len().max(paths.len())).map(|index| entity(uids.get(index), paths.get(index), None));
    let entities: Vec<Value> = std::iter::once(parent).chain(further).flatten().collect();
    (!entities.is_empty()).then(|| entities.into())
}

/// A process entity; `None` where nothing is known.
fn entity(uid: Option<&Value>, path: Option<&Value>, pid: Option<&Value>) -> Option<Value> {
    let name = path.and_then(file_name);
    let known = [("uid", uid), ("path", path), ("name", name.as_ref()), ("pid", pid)];
    let fields: Row = known.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.clone()))).collect();
    (!fields.is_empty()).then_some(Value::Object(fields))
}

/// What [`ACTOR`] does not say of the container. OCSF has no pod: its name and namespace are tags, named as the
/// kubelet labels containers.
fn container(event: &mut Document<'_>, path: &str) {
    let (image, digest) = (event.take_text("image"), event.take_text("image_digest"));
    if let Some(reference) = image {
        let parts = words::image(reference);
        event.put(&format!("{path}.image.name"), parts.name);
        event.put_known(&format!("{path}.image.tag"), parts.tag);
    }
    event.put_known(&format!("{path}.image.uid"), digest.or(image));
    if event.see("pod_uid").is_some() {
        event.put(&format!("{path}.orchestrator"), "Kubernetes");
    }
    let tags = [("io.kubernetes.pod.name", "pod_name"), ("io.kubernetes.pod.namespace", "namespace")];
    let tags: Vec<Value> = tags
        .into_iter()
        .filter_map(|(name, column)| Some(json!({"name": name, "value": event.take(column)?})))
        .collect();
    if !tags.is_empty() {
        event.put(&format!("{path}.tags"), tags);
    }
}

fn file_activity(event: &mut Document<'_>) {
    actor(event, "actor.process");
    event.place("", FILE_OWN);
    event.put("file.type_id", 0);
    // A rename reports the file before and after.
    if event.see_text("activity") == Some("rename") {
        let renamed = event.take("old_path").zip(event.see("path"));
        if let Some((old, new)) = renamed {
            event.put("file.path", old.clone());
            event.put_known("file.name", file_name(old));
            event.put("file_result.path", new.clone());
            event.put_known("file_result.name", file_name(new));
            event.put("file_result.type_id", 0);
        }
    }
}

fn kernel_activity(event: &mut Document<'_>) {
    actor(event, "actor.process");
    event.place("", KERNEL_OWN);
    event.put("kernel.type_id", 2);
    event.put("kernel.type", "System Call");
    let call = event.see_text("activity").unwrap_or("unknown");
    event.put("kernel.name", call);
    event.put("kernel.system_call", call);
    status(event);
}

/// Whether the call worked.
fn status(event: &mut Document<'_>) {
    let Some(ret) = event.take("ret").and_then(Value::as_i64) else { return };
    let failed = words::failed(ret);
    event.put("status_id", if failed { 2 } else { 1 });
    event.put("status", if failed { "Failure" } else { "Success" });
    event.put("status_code", ret.to_string());
    event.put_known("status_detail", failed.then(|| words::errno(ret)));
}

fn network_activity(event: &mut Document<'_>) {
    actor(event, "actor.process");
    event.place("", NETWORK_OWN);
    let direction = event.take_text("direction");
    let (id, caption) = match direction {
        Some("inbound") => (1, "Inbound"),
        Some("outbound") => (2, "Outbound"),
        _ => (0, "Unknown"),
    };
    event.put("connection_info.direction_id", id);
    event.put("connection_info.direction", caption);
    if event.see_text("protocol") == Some("TCP") {
        event.put("connection_info.protocol_num", 6);
    }
    let address = event.see_text("dst_ip").or(event.see_text("src_ip"));
    event.put_known("connection_info.protocol_ver_id", address.map(|ip| if ip.contains(':') { 6 } else { 4 }));
    traffic(event, direction == Some("inbound"));
    status(event);
}

/// OCSF counts from the side that opened the connection, our columns from the actor's.
fn traffic(event: &mut Document<'_>, inbound: bool) {
    let (sent, received) = (event.take("bytes_out"), event.take("bytes_in"));
    let (out, into) = if inbound { (received, sent) } else { (sent, received) };
    event.put_known("traffic.bytes_out", out.cloned());
    event.put_known("traffic.bytes_in", into.cloned());
    let total = out.and_then(Value::as_i64).zip(into.and_then(Value::as_i64)).map(|(out, into)| out + into);
    event.put_known("traffic.bytes", total);
}

fn detection_finding(event: &mut Document<'_>) {
    actor(event, "actor.process");
    event.place("", FINDING_OWN);
    event.put("is_alert", true);
    event.put("status_id", 1);
    event.put("status", "New");
    event.put("finding_info.analytic.type_id", 1);
    event.put("finding_info.analytic.type", "Rule");
    event.put_known("finding_info.created_time", event.see("time").and_then(millis));
    let (attacks, related_events) = (attacks(event), related_events(event));
    event.put_known("finding_info.attacks", attacks);
    event.put_known("finding_info.related_events", related_events);
    event.put("resources", resource(event));
}

/// Tactics and techniques are two lists of the rule, so one entry holds all tactics and each technique has its own.
fn attacks(event: &mut Document<'_>) -> Option<Value> {
    let texts = |value: Option<&Value>| -> Vec<String> {
        let items = value.and_then(Value::as_array).into_iter().flatten();
        items.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let tactics: Vec<Value> = texts(event.take("attack_tactics"))
        .iter()
        .map(|written| {
            let tactic = attack::tactic(written);
            tactic.uid.map_or_else(|| json!({"name": tactic.name}), |uid| json!({"name": tactic.name, "uid": uid}))
        })
        .collect();
    let techniques = texts(event.take("attack_techniques"));
    let mut attacks: Vec<Value> = techniques.iter().map(|written| technique(written, &tactics)).collect();
    if attacks.is_empty() {
        attacks.extend(tactics.first().map(|first| json!({"tactic": first, "tactics": tactics})));
    }
    (!attacks.is_empty()).then(|| attacks.into())
}

fn technique(written: &str, tactics: &[Value]) -> Value {
    let (parent, sub) = attack::technique(written);
    let mut attack = json!({"technique": {"uid": parent}});
    if let Some(sub) = sub {
        attack["sub_technique"] = json!({"uid": sub});
    }
    if let Some(first) = tactics.first() {
        attack["tactic"] = first.clone();
        attack["tactics"] = tactics.into();
    }
    attack
}

/// The events that caused the finding, by their `metadata.uid`.
fn related_events(event: &mut Document<'_>) -> Option<Value> {
    let references = event.take("event_refs")?.as_array()?;
    let events = references.iter().filter_map(Value::as_str).map(|reference| match reference.split_once('/') {
        Some((table, uid)) => json!({"uid": uid, "tags": [{"name": "table", "value": table}]}),
        None => json!({"uid": reference}),
    });
    Some(events.collect())
}

/// The pod that the finding is about; the node when it is about a process of the host.
fn resource(event: &Document<'_>) -> Value {
    let fields = match event.see("pod_uid") {
        Some(uid) => [
            ("type", Some(json!("Pod"))),
            ("uid", Some(uid.clone())),
            ("name", event.see("pod_name").cloned()),
            ("namespace", event.see("namespace").cloned()),
            ("labels", event.see("pod_labels").and_then(equal_signs)),
        ],
        None => [
            ("type", Some(json!("Node"))),
            ("name", Some(event.see("node").cloned().unwrap_or_else(|| json!("unknown")))),
            ("hostname", event.see("node").cloned()),
            ("uid", None),
            ("labels", None),
        ],
    };
    let mut resource: Row = fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect();
    resource.insert("role_id".into(), 3.into());
    resource.insert("role".into(), "Affected".into());
    Value::Array(vec![Value::Object(resource)])
}

fn event_loss(event: &mut Document<'_>) {
    event.place("", LOSS_OWN);
    let lost = event.see_number("lost").map_or_else(|| "An unknown number of".to_owned(), |lost| lost.to_string());
    let reason = event.see_text("activity").unwrap_or("unknown");
    event.put("message", format!("{lost} events were lost: {reason}"));
}

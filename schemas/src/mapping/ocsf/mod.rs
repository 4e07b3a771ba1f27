//! Open Cybersecurity Schema Framework, version 1.8.0.
//!
//! Classes: <https://schema.ocsf.io/1.8.0/classes>; objects: <https://schema.ocsf.io/1.8.0/objects>.
//! Profiles used: `host` (device and actor), `container`, `linux/linux_users`, `security_control` (`action_id`).
//!
//! Class and activity are in the entry of each activity ([`crate::activity`]); what concerns only one table is next to
//! its columns, in `tables/<table>/to_ocsf.rs`.
//!
//! In a launch `process` is the new program and `actor.process` its parent; a process ends by itself. Everywhere else
//! `actor.process` is the process that acted.

mod class;

use serde_json::{Value, json};

use super::document::{Document, Placement, equal_signs, file_name, millis, same, text};
use super::row::Row;
use super::{event_id, words};
use crate::errno;
use crate::tables::Table;

pub use self::class::{BASE, Class, Classification, FILE, FINDING, KERNEL, NETWORK, OTHER, PROCESS};

/// Version of the schema that [`map`] writes.
pub const VERSION: &str = "1.8.0";

/// What is special about the rows of a table.
pub(crate) struct TableMapping {
    /// Where the actor goes, if the table has one.
    pub(crate) actor_at: &'static str,
    /// Where own columns go.
    pub(crate) columns: &'static [Placement],
    /// Adds what the path of a single column does not say; runs last.
    pub(crate) finish: fn(&mut Document<'_>),
}

/// Columns that are in no event, and why.
pub(crate) const LEFT_OUT: &[(&str, &str)] = &[("date", "`time` says the same")];

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

const ENVELOPE: &[Placement] = &[
    ("time", "time", millis),
    ("ingest_time", "metadata.logged_time", millis),
    ("source", "metadata.log_provider", same),
    ("node", "device.hostname", same),
    ("host_id", "device.uid", same),
    ("boot_id", "device.boot_uid", same),
    ("count", "count", same),
];

/// A process, below `process` or `actor.process`.
const ACTOR: &[Placement] = &[
    ("process_uid", "uid", same),
    ("pid", "pid", same),
    ("process_name", "name", same),
    ("process_path", "path", same),
    ("process_path", "file.path", same),
    ("process_path", "file.name", file_name),
    ("cwd", "working_directory", same),
    ("process_start_time", "created_time", millis),
    ("uid", "user.uid", text),
    ("gid", "group.uid", text),
    ("euid", "euid", same),
    ("egid", "egid", same),
    ("login_uid", "auid", same),
    ("tty", "session.terminal", same),
    ("session_leader_uid", "session.uid", same),
    ("container_id", "container.uid", same),
    ("container_name", "container.name", same),
    ("pod_uid", "container.pod_uuid", same),
    ("pod_labels", "container.labels", equal_signs),
];

/// The parent, below `process.parent_process` or as `actor.process` of a launch.
pub(crate) const PARENT: &[Placement] = &[
    ("parent_process_uid", "uid", same),
    ("parent_pid", "pid", same),
    ("parent_euid", "euid", same),
    ("parent_path", "path", same),
    ("parent_path", "name", file_name),
];

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
    let special = &table.declaration().ocsf;
    if table.has_actor() {
        actor(&mut event, special.actor_at);
    }
    event.place("", special.columns);
    (special.finish)(&mut event);
    event.finish("unmapped")
}

/// Class, activity and severity, with their captions.
fn classify(event: &mut Document<'_>, table: Table) {
    let written = event.take_text("activity");
    let entry = written.and_then(|name| table.activity(name)).map(|activity| &activity.ocsf);
    let Classification { class, activity } = entry.unwrap_or(&table.declaration().unknown.ocsf);
    event.put("category_uid", class.category.0);
    event.put("category_name", class.category.1);
    event.put("class_uid", class.uid);
    event.put("class_name", class.name);
    match written {
        Some(name) => put_activity(event, class, activity, name),
        None => put_activity_id(event, class, 0, "Unknown", "Unknown"),
    }
    let severity = event.take_text("severity").unwrap_or("informational");
    let known = SEVERITIES.iter().find(|(name, ..)| *name == severity);
    let (_, severity_id, caption) = known.copied().unwrap_or((severity, 99, severity));
    event.put("severity_id", severity_id);
    event.put("severity", caption);
}

/// The activity of `class` with this caption; where the class has none, Other with our own `name`.
pub(crate) fn put_activity(event: &mut Document<'_>, class: &Class, caption: &str, name: &str) {
    match class.activity_id(caption) {
        99 => put_activity_id(event, class, 99, name, OTHER),
        id => put_activity_id(event, class, id, caption, caption),
    }
}

fn put_activity_id(event: &mut Document<'_>, class: &Class, id: i64, name: &str, type_caption: &str) {
    event.put("activity_id", id);
    event.put("activity_name", name);
    event.put("type_uid", class.uid * 100 + id);
    event.put("type_name", format!("{}: {type_caption}", class.name));
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
    event.leave_out(LEFT_OUT);
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

/// The row's process at `path`.
pub(crate) fn program(event: &mut Document<'_>, path: &str) {
    event.place(&format!("{path}."), ACTOR);
    let line = event.see("args").and_then(words::command_line);
    event.put_known(&format!("{path}.cmd_line"), line);
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

/// Whether the call worked.
pub(crate) fn status(event: &mut Document<'_>) {
    let Some(ret) = event.take("ret").and_then(Value::as_i64) else { return };
    let failed = errno::failed(ret);
    event.put("status_id", if failed { 2 } else { 1 });
    event.put("status", if failed { "Failure" } else { "Success" });
    event.put("status_code", ret.to_string());
    event.put_known("status_detail", failed.then(|| errno::name(ret)));
}

//! Elastic Common Schema, version 9.
//!
//! Fields: <https://www.elastic.co/docs/reference/ecs/ecs-field-reference>; allowed values of `event.*`:
//! <https://www.elastic.co/docs/reference/ecs/ecs-category-field-values-reference>. Where Elastic's prebuilt Linux and
//! container rules test for a value that ECS leaves open (`event.action`, `process.entry_leader.entry_meta.type`), it
//! is the one that they test for. `kubernetes.*` is named as Elastic's own Kubernetes integration names it.

use serde_json::{Value, json};

use super::document::{Document, Placement, colons, file_name, length, rfc3339, same, text};
use super::row::Row;
use super::{event_id, words};
use crate::tables::Table;
use crate::{capabilities, errno};

/// Version of the schema that [`map`] writes.
pub const VERSION: &str = "9.0.0";

/// The classification of an activity in ECS.
#[derive(Debug)]
pub struct Classification {
    /// `event.category`.
    pub category: &'static [&'static str],
    /// `event.type`.
    pub kind: &'static [&'static str],
    /// `event.action`.
    pub action: &'static str,
}

/// What is special about the rows of a table.
pub(crate) struct TableMapping {
    /// `event.kind`: `alert` for what rules found, else `event`.
    pub(crate) kind: &'static str,
    /// Where own columns go.
    pub(crate) columns: &'static [Placement],
    /// Adds what the path of a single column does not say; runs last.
    pub(crate) finish: fn(&mut Document<'_>),
}

/// Columns that are in no document, and why.
pub(crate) const LEFT_OUT: &[(&str, &str)] = &[("date", "`@timestamp` says the same")];

/// `process.entry_leader.entry_meta.type`, by our `entry_type`.
const ENTRIES: &[(&str, &str)] = &[
    ("container_start", "container"),
    ("container_exec", "container"),
    ("sshd", "sshd"),
    ("cron", "cron"),
    ("init", "init"),
];

const ENVELOPE: &[Placement] = &[
    ("time", "@timestamp", rfc3339),
    ("ingest_time", "event.ingested", rfc3339),
    // An order within the host; `seq` counts within a processor.
    ("time", "event.sequence", same),
    ("activity", "event.code", same),
    ("source", "event.provider", same),
    ("cluster", "orchestrator.cluster.name", same),
    ("host_id", "host.id", same),
    ("node", "host.name", same),
    ("node", "host.hostname", same),
    ("node", "agent.name", same),
    ("stream", "agent.ephemeral_id", same),
    ("boot_id", "host.boot.id", same),
];

const ACTOR: &[Placement] = &[
    ("process_uid", "process.entity_id", same),
    ("pid", "process.pid", same),
    ("process_name", "process.name", same),
    ("process_path", "process.executable", same),
    ("args", "process.args", same),
    ("args", "process.args_count", length),
    ("args", "process.command_line", one_line),
    ("args", "process.title", one_line),
    ("cwd", "process.working_directory", same),
    ("process_start_time", "process.start", rfc3339),
    ("euid", "user.id", text),
    ("euid", "process.user.id", text),
    ("user_name", "user.name", same),
    ("user_name", "process.user.name", same),
    ("uid", "process.real_user.id", text),
    ("gid", "process.real_group.id", text),
    ("egid", "user.group.id", text),
    ("egid", "process.group.id", text),
    ("cap_effective", "process.thread.capabilities.effective", capability_names),
    ("session_leader_uid", "process.session_leader.entity_id", same),
    ("group_leader_uid", "process.group_leader.entity_id", same),
    ("entry_leader_uid", "process.entry_leader.entity_id", same),
    ("parent_process_uid", "process.parent.entity_id", same),
    ("parent_pid", "process.parent.pid", same),
    ("parent_euid", "process.parent.user.id", text),
    ("parent_interactive", "process.parent.interactive", same),
    ("parent_path", "process.parent.executable", same),
    ("parent_path", "process.parent.name", file_name),
    ("parent_args", "process.parent.args", same),
    ("parent_args", "process.parent.args_count", length),
    ("parent_args", "process.parent.command_line", one_line),
];

/// Container and pod.
const WORKLOAD: &[Placement] = &[
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
    let special = &table.declaration().ecs;
    document.place("", special.columns);
    (special.finish)(&mut document);
    document.finish("kerntrail")
}

/// `data_stream.dataset` of `table`.
pub fn dataset(table: Table) -> String {
    format!("kerntrail.{table}")
}

fn classify(document: &mut Document<'_>, table: Table, row: &Row) {
    let activity = document.see_text("activity").unwrap_or("unknown");
    let unknown = &table.declaration().unknown;
    let (category, kind, action) = match table.activity(activity).map(|activity| &activity.ecs) {
        Some(Classification { category, kind, action }) => (*category, *kind, *action),
        None => (unknown.ecs_category, unknown.ecs_type, activity),
    };
    document.put("ecs.version", VERSION);
    document.put("agent.type", "kerntrail");
    document.put("event.kind", table.declaration().ecs.kind);
    document.put("event.category", category.to_vec());
    document.put("event.type", kind.to_vec());
    document.put("event.action", action);
    document.put("event.module", "kerntrail");
    document.put("event.dataset", dataset(table));
    document.put_known("event.id", event_id(row));
    document.leave_out(LEFT_OUT);
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
    // The column is kept too: ECS does not distinguish a container's start from an exec into it.
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

/// Whether a call worked; `ret` itself stays in `kerntrail.ret`.
pub(crate) fn outcome(document: &mut Document<'_>) {
    let Some(ret) = document.see_number("ret") else { return };
    let failed = errno::failed(ret);
    document.put("event.outcome", if failed { "failure" } else { "success" });
    document.put_known("error.code", failed.then(|| errno::name(ret)));
}

/// `event.duration` in ns.
pub(crate) fn duration(document: &mut Document<'_>, start: &str, end: &str) {
    let times = document.see_number(start).zip(document.see_number(end));
    document.put_known("event.duration", times.map(|(start, end)| (end - start).saturating_mul(1_000)));
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

/// Labels with `_` for each `.` in a key, as Elastic's agents write them: a dot would make it an object, and `app`
/// would conflict with `app.kubernetes.io/name`.
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

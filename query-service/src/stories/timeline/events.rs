//! The rows that a story is made of.

use kerntrail_schemas::activity::BoundaryEvidence;
use kerntrail_schemas::tables::imported_from;
use kerntrail_schemas::tables::process_events::{EXEC, EXISTING, EXIT, FORK};
use kerntrail_schemas::{Activity, Table};
use serde::Serialize;

use super::describe;
use super::read::Values;

/// Columns of the envelope that a story needs.
pub(crate) const ENVELOPE: &[&str] =
    &["event_id", "time", "boot_ns", "node", "source", "cpu", "seq", "activity", "action", "policy"];

/// Columns of the actor that a story needs.
pub(crate) const ACTOR: &[&str] = &[
    "process_uid",
    "exec_seq",
    "pid",
    "process_name",
    "process_path",
    "args",
    "cmd_line",
    "cwd",
    "process_start_time",
    "euid",
    "cap_effective",
    "entry_leader_uid",
    "parent_process_uid",
    "parent_pid",
    "parent_path",
    "ancestor_uids",
    "ancestor_paths",
    "container_id",
    "container_name",
    "image",
    "container_privileged",
    "pod_name",
    "namespace",
    "workload_kind",
    "workload_name",
    "service_account",
    "origin_container_id",
    "origin_pod_name",
    "origin_namespace",
    "mnt_ns",
    "pid_ns",
    "net_ns",
    "user_ns",
    "in_host_mnt_ns",
    "in_host_pid_ns",
];

/// Own columns that events are made of, in whichever table they are, besides those that sentences name.
const OWN: &[&str] = &[
    "exit_code",
    "exit_signal",
    "stdin_kind",
    "binary_memfd",
    "ret",
    "mount_is_host",
    "target_process_uid",
    "src_ip",
    "src_port",
    "dst_ip",
    "dst_port",
    "bytes_out",
    "bytes_in",
    "start_time",
    "end_time",
];

/// Own columns of `table` that a story needs.
pub(crate) fn own_columns(table: Table) -> Vec<&'static str> {
    let activities = table.activities().iter().copied();
    let paths = activities.clone().filter_map(|activity| match activity.boundary {
        Some(BoundaryEvidence::NewRoot { path } | BoundaryEvidence::Mount { path }) => Some(path),
        _ => None,
    });
    let named = activities.flat_map(|activity| activity.sentence.names());
    let unknown = table.declaration().unknown.sentence.names();
    let needed: Vec<&str> = OWN.iter().copied().chain(paths).chain(named).chain(unknown).collect();
    let is_pair = |name: &str| name.starts_with("old_") || name.starts_with("new_");
    let own = table.own_columns().into_iter().map(|column| column.name);
    own.filter(|name| needed.contains(name) || is_pair(name)).collect()
}

/// One event of the story.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) table: Table,
    pub(crate) event_id: String,
    /// Microseconds since the epoch.
    pub(crate) time: i64,
    pub(crate) boot_ns: Option<i64>,
    pub(crate) node: String,
    /// The tool that it was imported from.
    pub(crate) imported_from: Option<String>,
    pub(crate) cpu: i64,
    pub(crate) seq: i64,
    pub(crate) activity: String,
    /// What happened, without the actor: `setns into mnt namespace of pid 1`. Holds text of watched processes as it is:
    /// the renderer escapes it.
    pub(crate) title: String,
    pub(crate) actor: Actor,
    /// Result of a call: 0 or more, or minus the errno.
    pub(crate) ret: Option<i64>,
    pub(crate) end: Ending,
    /// Of a table that has the state before and after a call.
    pub(crate) change: Option<Box<Change>>,
    /// Of a table that has the ends of a connection.
    pub(crate) flow: Option<Box<Flow>>,
}

/// Who acted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Actor {
    /// `process_uid`; where that is unknown, `pid:`, the number, and the node.
    pub(crate) process: String,
    pub(crate) exec_seq: Option<i64>,
    pub(crate) pid: Option<i64>,
    pub(crate) name: Option<String>,
    pub(crate) path: Option<String>,
    pub(crate) cmd_line: Option<String>,
    /// Working directory at exec.
    pub(crate) cwd: Option<String>,
    pub(crate) started: Option<i64>,
    pub(crate) euid: Option<i64>,
    pub(crate) capabilities: Option<i64>,
    /// Whether its lineage has entered the container or the node that it acts in.
    pub(crate) entered: bool,
    pub(crate) parent: Option<String>,
    pub(crate) parent_pid: Option<i64>,
    /// Programs from the parent up to the root.
    pub(crate) ancestor_paths: Vec<String>,
    /// Processes from the parent up to the root.
    pub(crate) ancestors: Vec<String>,
    pub(crate) container: Option<Container>,
    pub(crate) origin: Option<Origin>,
    pub(crate) mnt_ns: Option<i64>,
    pub(crate) pid_ns: Option<i64>,
    pub(crate) net_ns: Option<i64>,
    pub(crate) user_ns: Option<i64>,
    pub(crate) in_host_mnt_ns: bool,
    pub(crate) in_host_pid_ns: bool,
}

/// A container and its pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) name: Option<String>,
    pub(crate) image: Option<String>,
    pub(crate) privileged: Option<bool>,
    pub(crate) namespace: Option<String>,
    pub(crate) pod: Option<String>,
    pub(crate) workload: Option<String>,
    pub(crate) service_account: Option<String>,
}

/// The container in which a lineage was born.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) container: String,
    pub(crate) pod: Option<String>,
}

/// How a process ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ending {
    pub(crate) exit_code: Option<i64>,
    pub(crate) exit_signal: Option<i64>,
}

/// A value before and after a call, where both are known.
pub(crate) type Pair = Option<(i64, i64)>;

/// What a call changed, and on what.
#[derive(Clone, Debug, Default)]
pub(crate) struct Change {
    /// The path that a boundary's evidence names: a new root directory or a mount point.
    pub(crate) path: Option<String>,
    pub(crate) mount_is_host: bool,
    pub(crate) target_process: Option<String>,
    pub(crate) uid: Pair,
    pub(crate) capabilities: Pair,
    pub(crate) mnt_ns: Pair,
    pub(crate) pid_ns: Pair,
    pub(crate) net_ns: Pair,
    pub(crate) user_ns: Pair,
    pub(crate) cgroup: Pair,
}

/// A connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flow {
    pub(crate) source: Option<(String, i64)>,
    pub(crate) destination: Option<(String, i64)>,
    pub(crate) bytes_out: Option<i64>,
    pub(crate) bytes_in: Option<i64>,
    pub(crate) started: Option<i64>,
    pub(crate) ended: Option<i64>,
}

impl Event {
    /// Order of a node's events: ties in time by node, kernel clock, processor and number.
    pub(crate) fn key(&self) -> (i64, &str, Option<i64>, i64, i64, Table, &str) {
        (self.time, &self.node, self.boot_ns, self.cpu, self.seq, self.table, &self.event_id)
    }

    /// The entry of its activity; `None` for one that this version does not know.
    pub(crate) fn entry(&self) -> Option<&'static Activity> {
        self.table.activity(&self.activity)
    }

    pub(crate) fn is(&self, activity: &Activity) -> bool {
        self.table == activity.table && self.activity == activity.name
    }

    /// Whether it says which program its process runs.
    pub(crate) fn names_program(&self) -> bool {
        self.is(&EXEC) || self.is(&EXISTING)
    }

    /// 0 for what begins a process, up to 3 for its end.
    pub(crate) fn stage_of_life(&self) -> u8 {
        if self.is(&FORK) || self.is(&EXISTING) {
            0
        } else if self.is(&EXEC) {
            1
        } else if self.is(&EXIT) {
            3
        } else {
            2
        }
    }

    /// Whether the actor is a runtime's process on its way into a container.
    ///
    /// The name alone says nothing, since a process gives itself any; but a container's own process has entered it.
    pub(crate) fn by_starting_runtime(&self) -> bool {
        !self.actor.entered && self.actor.name.as_deref().is_some_and(is_runtime)
    }
}

/// `runc init` is called by its memory file, or by its thread where its program is unknown.
fn is_runtime(name: &str) -> bool {
    matches!(name, "runc" | "crun" | "youki") || name.starts_with("runc:[") || name.starts_with("memfd:runc_cloned")
}

/// Makes the event of a row of `table`.
pub(crate) fn event(table: Table, values: &Values, row: usize) -> Event {
    let number = |name: &str| values.number(name, row);
    let mut event = Event {
        table,
        event_id: values.text("event_id", row).unwrap_or_default(),
        time: number("time").unwrap_or_default(),
        boot_ns: number("boot_ns"),
        node: values.text("node", row).unwrap_or_default(),
        imported_from: values.text("source", row).and_then(|source| imported_from(&source).map(str::to_owned)),
        cpu: number("cpu").unwrap_or_default(),
        seq: number("seq").unwrap_or_default(),
        activity: values.text("activity", row).unwrap_or_default(),
        title: String::new(),
        actor: actor(values, row),
        ret: number("ret"),
        end: Ending {
            exit_code: number("exit_code"),
            exit_signal: number("exit_signal").filter(|signal| *signal != 0),
        },
        change: values.has("new_mnt_ns").then(|| Box::new(change(table, values, row))),
        flow: values.has("dst_ip").then(|| Box::new(flow(values, row))),
    };
    event.title = describe::title(&event, values, row);
    event
}

fn actor(values: &Values, row: usize) -> Actor {
    let text = |name: &str| values.text(name, row);
    let number = |name: &str| values.number(name, row);
    let pid = number("pid");
    let parent = text("parent_process_uid");
    let unknown = || {
        let number = pid.map_or_else(|| "?".to_owned(), |pid| pid.to_string());
        format!("pid:{number} on {}", text("node").unwrap_or_default())
    };
    Actor {
        process: text("process_uid").unwrap_or_else(unknown),
        exec_seq: number("exec_seq"),
        pid,
        name: text("process_name"),
        path: text("process_path"),
        cmd_line: text("cmd_line"),
        cwd: text("cwd"),
        started: number("process_start_time"),
        euid: number("euid"),
        capabilities: number("cap_effective"),
        entered: text("entry_leader_uid").is_some(),
        parent_pid: number("parent_pid"),
        ancestor_paths: text("parent_path").into_iter().chain(values.list("ancestor_paths", row)).collect(),
        ancestors: parent.iter().cloned().chain(values.list("ancestor_uids", row)).collect(),
        parent,
        container: text("container_id").map(|id| container(id, values, row)),
        origin: text("origin_container_id")
            .map(|container| Origin { container, pod: slashed(text("origin_namespace"), text("origin_pod_name")) }),
        mnt_ns: number("mnt_ns"),
        pid_ns: number("pid_ns"),
        net_ns: number("net_ns"),
        user_ns: number("user_ns"),
        in_host_mnt_ns: values.flag("in_host_mnt_ns", row) == Some(true),
        in_host_pid_ns: values.flag("in_host_pid_ns", row) == Some(true),
    }
}

fn container(id: String, values: &Values, row: usize) -> Container {
    let text = |name: &str| values.text(name, row);
    Container {
        id,
        name: text("container_name"),
        image: text("image"),
        privileged: values.flag("container_privileged", row),
        namespace: text("namespace"),
        pod: text("pod_name"),
        workload: slashed(text("workload_kind"), text("workload_name")),
        service_account: text("service_account"),
    }
}

fn slashed(first: Option<String>, second: Option<String>) -> Option<String> {
    match (first, second) {
        (Some(first), Some(second)) => Some(format!("{first}/{second}")),
        (_, second) => second,
    }
}

fn change(table: Table, values: &Values, row: usize) -> Change {
    let pair =
        |name: &str| Some((values.number(&format!("old_{name}"), row)?, values.number(&format!("new_{name}"), row)?));
    let entry = values.text("activity", row).and_then(|name| table.activity(&name));
    let path = match entry.and_then(|activity| activity.boundary) {
        Some(BoundaryEvidence::NewRoot { path } | BoundaryEvidence::Mount { path }) => values.text(path, row),
        Some(BoundaryEvidence::StateChange) | None => None,
    };
    Change {
        path,
        mount_is_host: values.flag("mount_is_host", row) == Some(true),
        target_process: values.text("target_process_uid", row),
        uid: pair("uid"),
        capabilities: pair("cap_effective"),
        mnt_ns: pair("mnt_ns"),
        pid_ns: pair("pid_ns"),
        net_ns: pair("net_ns"),
        user_ns: pair("user_ns"),
        cgroup: pair("cgroup_id"),
    }
}

fn flow(values: &Values, row: usize) -> Flow {
    let end = |ip: &str, port: &str| Some((values.text(ip, row)?, values.number(port, row).unwrap_or_default()));
    Flow {
        source: end("src_ip", "src_port"),
        destination: end("dst_ip", "dst_port"),
        bytes_out: values.number("bytes_out", row),
        bytes_in: values.number("bytes_in", row),
        started: values.number("start_time", row),
        ended: values.number("end_time", row),
    }
}

/// Columns of a finding that a story needs, beyond `process_uid` and `pid`.
pub(crate) const FINDING: &[&str] = &[
    "finding_id",
    "rule_id",
    "rule_name",
    "severity",
    "risk_score",
    "attack_tactics",
    "attack_techniques",
    "first_time",
    "last_time",
    "time",
    "event_refs",
    "message",
    "suppressed_count",
    "node",
    "process_uid",
    "pid",
];

/// What a rule found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Finding {
    #[serde(skip)]
    pub(crate) last_time: i64,
    #[serde(skip)]
    pub(crate) node: String,
    pub(crate) finding_id: String,
    pub(crate) rule_id: Option<String>,
    pub(crate) rule_name: Option<String>,
    pub(crate) severity: Option<String>,
    pub(crate) risk_score: Option<i64>,
    pub(crate) attack_tactics: Vec<String>,
    pub(crate) attack_techniques: Vec<String>,
    pub(crate) message: Option<String>,
    /// Further events of the same kind that it counts.
    pub(crate) suppressed_count: i64,
    pub(crate) event_refs: Vec<String>,
    pub(crate) process_uid: Option<String>,
}

/// Makes the finding of a row.
pub(crate) fn finding(values: &Values, row: usize) -> Finding {
    let text = |name: &str| values.text(name, row);
    let time = values.number("last_time", row).or(values.number("time", row)).unwrap_or_default();
    Finding {
        last_time: time,
        node: text("node").unwrap_or_default(),
        finding_id: text("finding_id").unwrap_or_default(),
        rule_id: text("rule_id"),
        rule_name: text("rule_name"),
        severity: text("severity"),
        risk_score: values.number("risk_score", row),
        attack_tactics: values.list("attack_tactics", row),
        attack_techniques: values.list("attack_techniques", row),
        message: text("message"),
        suppressed_count: values.number("suppressed_count", row).unwrap_or_default(),
        event_refs: values.list("event_refs", row),
        process_uid: text("process_uid"),
    }
}

impl Finding {
    /// 0 for `informational` up to 4 for `critical`.
    pub(crate) fn rank(&self) -> usize {
        let known = ["informational", "low", "medium", "high", "critical"];
        known.iter().position(|name| self.severity.as_deref() == Some(name)).unwrap_or(0)
    }
}

/// Columns of a loss that a story needs.
pub(crate) const LOSS: &[&str] =
    &["time", "node", "cpu", "activity", "from_seq", "to_seq", "lost", "start_time", "end_time", "event_kind"];

/// Events that are missing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Loss {
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) node: String,
    pub(crate) cpu: Option<i64>,
    pub(crate) from_seq: Option<i64>,
    pub(crate) to_seq: Option<i64>,
    pub(crate) reason: String,
    pub(crate) lost: Option<i64>,
    pub(crate) event_kind: Option<String>,
}

/// Makes the loss of a row.
pub(crate) fn loss(values: &Values, row: usize) -> Loss {
    let time = values.number("time", row).unwrap_or_default();
    Loss {
        start: values.number("start_time", row).unwrap_or(time),
        end: values.number("end_time", row).unwrap_or(time),
        node: values.text("node", row).unwrap_or_default(),
        cpu: values.number("cpu", row),
        from_seq: values.number("from_seq", row),
        to_seq: values.number("to_seq", row),
        reason: values.text("activity", row).unwrap_or_default(),
        lost: values.number("lost", row),
        event_kind: values.text("event_kind", row),
    }
}

//! The tables: every column once, with its meaning.
//!
//! Every event table starts with the envelope, then the actor, then its own columns.
//! Unknown is NULL, never an empty string or 0.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use kerntrail_common::suggest::did_you_mean;

use crate::cell::{Day, Labels, Micros};
use crate::columns::{Column, Columns, columns};
use crate::identity::{BootId, ContainerId, FindingId, PodUid, ProcessUid, RuleId, StreamId};

columns! {
    /// Where and when an event happened, and the numbers that identify it.
    Envelope, EnvelopeBuilder {
        date: Day = "UTC day of `time`; the lake is partitioned by it",
        time: Micros = "when it happened: the kernel's clock as UTC, in microseconds",
        boot_ns: i64 = "when it happened: CLOCK_BOOTTIME in ns, exact, orders a node's events; NULL when imported",
        ingest_time: Micros = "when the lake took the row, UTC",
        cluster: String = "name of the Kubernetes cluster, from the configuration",
        node: String = "name of the Kubernetes node or machine",
        boot_id: BootId = "boot of the node's kernel",
        source: &'static str = "who saw it: `kernel`, `tetragon` or `kerntrail` (findings and losses)",
        stream: StreamId = "who numbered it: boot id and collector start, or source and node of imported events",
        cpu: i32 = "processor that numbered it; 0 when imported",
        seq: i64 = "number within `stream` and `cpu`; a hash of the record's content when imported",
        activity: String = "what happened, one of the table's activities",
        action: &'static str = "what was done about it: `observed`; of imported events also `killed`",
        policy: String = "policy that asked for the event",
        count: i64 = "events that this row stands for; 1 unless aggregated in the kernel",
    }
}

columns! {
    /// The process that acted, with its ancestry, container and pod.
    Actor, ActorBuilder {
        process_uid: ProcessUid = "process, the same across execs and collector restarts",
        exec_seq: i32 = "programs that the process had run before this one",
        pid: i32 = "thread group id, as the node sees it",
        process_name: String = "last part of `process_path`; the kernel's comm where the path is unknown",
        process_path: String = "program file, as seen from the process's root",
        args: Vec<String> = "arguments, argv[0] first, one list item each",
        args_truncated: bool = "whether arguments were cut: more than the record holds",
        cmd_line: String = "the arguments in one line, quoted where needed; for people",
        cwd: String = "working directory at exec",
        process_start_time: Micros = "when the process was forked, UTC",
        uid: i32 = "real user id, as the node sees it",
        gid: i32 = "real group id, as the node sees it",
        euid: i32 = "effective user id, as the node sees it",
        login_uid: i32 = "audit login uid; NULL when never logged in",
        cap_effective: i64 = "effective capabilities, a bit each (linux/capability.h)",
        tty: String = "controlling terminal",
        session_leader_uid: ProcessUid = "process that leads the session",
        group_leader_uid: ProcessUid = "process that leads the process group",
        entry_leader_uid: ProcessUid = "process by which this lineage entered the container or the node",
        entry_type: String = "how it entered: `container_start`, `container_exec`, `sshd`, `cron` or `init`",
        parent_process_uid: ProcessUid = "parent at fork time",
        parent_pid: i32 = "thread group id of the parent at fork time",
        parent_path: String = "program of the parent",
        parent_args: Vec<String> = "arguments of the parent",
        ancestor_uids: Vec<String> = "process uids from the grandparent up to the root",
        ancestor_paths: Vec<String> = "programs from the grandparent up to the root",
        container_id: ContainerId = "container that the process acts in, by its cgroup; NULL on the host",
        container_name: String = "name of that container in its pod",
        image: String = "image reference of that container",
        image_digest: String = "digest of that image",
        container_privileged: bool = "whether that container is privileged: every capability, or SYS_ADMIN with nothing of /proc masked",
        pod_uid: PodUid = "pod of that container",
        pod_name: String = "name of that pod",
        namespace: String = "Kubernetes namespace of that pod",
        pod_labels: Labels = "labels of that pod",
        workload_kind: String = "kind of the workload that owns the pod: `Deployment`, `DaemonSet`, ...",
        workload_name: String = "name of that workload",
        service_account: String = "service account of the pod",
        origin_container_id: ContainerId = "container that the process's lineage was born in; survives nsenter",
        origin_pod_uid: PodUid = "pod of the origin container",
        origin_pod_name: String = "name of the origin pod",
        origin_namespace: String = "Kubernetes namespace of the origin pod",
        mnt_ns: i64 = "mount namespace (inode number)",
        pid_ns: i64 = "pid namespace (inode number)",
        net_ns: i64 = "network namespace (inode number)",
        user_ns: i64 = "user namespace (inode number)",
        in_host_mnt_ns: bool = "whether the mount namespace is the node's own",
        in_host_pid_ns: bool = "whether the pid namespace is the node's own",
        enrichment_state: String = "what is known of the pod: `host`, `complete`, `no_api` (bundle only), `no_bundle` (container id only) or `imported`",
    }
}

columns! {
    /// Own columns of `process_events`.
    ProcessColumns, ProcessColumnsBuilder {
        exit_code: i32 = "exit status, 0 to 255",
        exit_signal: i32 = "signal that ended the process",
        binary_inode: i64 = "inode of the program file",
        binary_dev: i64 = "device of the program file (kernel encoding: major << 20 | minor)",
        binary_memfd: bool = "whether the program lives in memory only (memfd)",
        stdin_kind: String = "what descriptor 0 is: `file`, `tty`, `pipe`, `socket`, `other` or `closed`",
        stdout_kind: String = "what descriptor 1 is, likewise",
    }
}

columns! {
    /// Own columns of `file_events`.
    FileColumns, FileColumnsBuilder {
        path: String = "file, as seen from the process's root",
        old_path: String = "path before a rename; source of a link",
        flags: i64 = "open flags (fcntl.h)",
        mode: i64 = "permission bits",
        bytes: i64 = "bytes read or written",
    }
}

columns! {
    /// Own columns of `kernel_events`.
    KernelColumns, KernelColumnsBuilder {
        source_path: String = "source of a mount; new root of pivot_root",
        target_path: String = "where it is mounted; new root of chroot; put_old of pivot_root",
        fs_type: String = "type of the file system mounted",
        flags: i64 = "flags of the call",
        ret: i64 = "result of the call: 0 or more, or minus the errno",
        ns_type: String = "namespaces named by the call: `mnt`, `pid`, `net`, `user`, `uts`, `ipc`, `cgroup`, `time`, joined by `,`",
        mount_is_host: bool = "whether the target lies on the node's root file system",
        target_process_uid: ProcessUid = "process whose namespaces are entered",
        target_pid: i32 = "thread group id of that process",
        old_uid: i32 = "effective user id before the call",
        new_uid: i32 = "effective user id after the call",
        old_cap_effective: i64 = "effective capabilities before the call",
        new_cap_effective: i64 = "effective capabilities after the call",
        old_mnt_ns: i64 = "mount namespace before the call",
        new_mnt_ns: i64 = "mount namespace after the call",
        old_pid_ns: i64 = "pid namespace of new children before the call",
        new_pid_ns: i64 = "pid namespace of new children after the call",
        old_net_ns: i64 = "network namespace before the call",
        new_net_ns: i64 = "network namespace after the call",
        old_user_ns: i64 = "user namespace before the call",
        new_user_ns: i64 = "user namespace after the call",
        old_cgroup_id: i64 = "cgroup (v2) before the call",
        new_cgroup_id: i64 = "cgroup (v2) after the call",
        host_ns_entered: String = "namespaces that became the node's own by the call: `mnt`, `pid`, `net`, joined by `,`; NULL for none",
    }
}

columns! {
    /// Own columns of `network_flows`.
    NetworkColumns, NetworkColumnsBuilder {
        protocol: String = "`TCP`",
        direction: String = "`outbound` or `inbound`",
        src_ip: String = "address that opened the connection",
        src_port: i32 = "port that opened the connection",
        dst_ip: String = "address that was connected to",
        dst_port: i32 = "port that was connected to",
        bytes_out: i64 = "bytes sent by the actor's side",
        bytes_in: i64 = "bytes received by the actor's side",
        start_time: Micros = "when the connection was opened, UTC",
        end_time: Micros = "when it was closed, UTC",
        tcp_state: String = "TCP state at the event",
        ret: i64 = "result of a connect: 0, or minus the errno",
    }
}

columns! {
    /// Own columns of `findings`; the actor is that of the first event.
    FindingColumns, FindingColumnsBuilder {
        finding_id: FindingId = "hash of rule, group and window or event",
        rule_id: RuleId = "`id` of the Sigma rule",
        rule_name: String = "`title` of the rule",
        rule_version: String = "hash of the rule's text",
        severity: String = "`informational`, `low`, `medium`, `high` or `critical`",
        risk_score: i32 = "0 to 100",
        attack_tactics: Vec<String> = "MITRE ATT&CK tactics",
        attack_techniques: Vec<String> = "MITRE ATT&CK techniques",
        first_time: Micros = "time of the first event, UTC",
        last_time: Micros = "time of the last event, UTC",
        event_refs: Vec<String> = "the events that caused it, in order: `table/event_id`",
        group_key: String = "what the events of a sequence have in common",
        message: String = "what happened, in a sentence",
        suppressed_count: i64 = "further matches that were folded into this finding",
    }
}

columns! {
    /// Own columns of `event_loss`.
    LossColumns, LossColumnsBuilder {
        from_seq: i64 = "first number lost",
        to_seq: i64 = "last number lost",
        lost: i64 = "how many events were lost",
        start_time: Micros = "no event was lost before, UTC",
        end_time: Micros = "no event was lost after, UTC",
        event_kind: String = "kind of the lost events, where known",
    }
}

macro_rules! tables {
    ($($(#[$doc:meta])* $variant:ident, $name:literal, number: $number:literal, actor: $actor:literal, $own:ty, [$($activity:literal),*];)*) => {
        /// A table of the lake; also a topic of the event log.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Table {
            $($(#[$doc])* $variant,)*
        }

        impl Table {
            /// All tables, in the order of their documentation.
            pub const ALL: &[Table] = &[$(Table::$variant,)*];

            /// Its name in SQL, in the lake and in topics.
            pub fn name(self) -> &'static str {
                match self { $(Table::$variant => $name,)* }
            }

            /// Its number in the payload of a message. A number is never used again for another table.
            pub fn number(self) -> u8 {
                match self { $(Table::$variant => $number,)* }
            }

            /// Whether its rows have an actor.
            pub fn has_actor(self) -> bool {
                match self { $(Table::$variant => $actor,)* }
            }

            /// Values of `activity`.
            pub fn activities(self) -> &'static [&'static str] {
                match self { $(Table::$variant => &[$($activity),*],)* }
            }

            /// Its own columns, without envelope and actor.
            pub fn own_columns(self) -> Vec<Column> {
                match self { $(Table::$variant => <$own>::columns(),)* }
            }
        }

        $(impl OwnColumns for $own {
            const TABLE: Table = Table::$variant;
        })*
    };
}

/// The columns that make a table what it is.
pub trait OwnColumns: Columns {
    /// The table they belong to.
    const TABLE: Table;
}

tables! {
    /// Programs: what ran, how it began and ended.
    ProcessEvents, "process_events", number: 1, actor: true, ProcessColumns, ["exec", "fork", "exit", "existing"];
    /// Files touched.
    FileEvents, "file_events", number: 2, actor: true, FileColumns, ["open", "read", "write", "truncate", "unlink", "rename", "link", "symlink", "chmod", "chown"];
    /// Changes of privilege and namespace.
    KernelEvents, "kernel_events", number: 3, actor: true, KernelColumns, ["mount", "umount", "pivot_root", "chroot", "setns", "unshare", "set_uid", "set_gid", "capset", "ptrace", "module_load", "bpf_load"];
    /// Network connections.
    NetworkFlows, "network_flows", number: 4, actor: true, NetworkColumns, ["connect", "accept", "listen", "close"];
    /// What the rules found.
    Findings, "findings", number: 5, actor: true, FindingColumns, ["create"];
    /// Which events are missing, and why.
    EventLoss, "event_loss", number: 6, actor: false, LossColumns, ["ring_full", "spool_full", "collector_down", "decode_error", "not_run", "table_full", "not_supported"];
}

impl Table {
    /// All columns: envelope, actor, own.
    pub fn columns(self) -> Vec<Column> {
        let actor = if self.has_actor() { Actor::columns() } else { Vec::new() };
        [Envelope::columns(), actor, self.own_columns()].concat()
    }

    /// Arrow schema of its rows as the lake stores them.
    pub fn schema(self) -> SchemaRef {
        schema_of(&self.columns())
    }
}

/// Arrow schema of `columns`.
pub(crate) fn schema_of(columns: &[Column]) -> SchemaRef {
    Arc::new(Schema::new(columns.iter().map(|column| (*column.field()).clone()).collect::<Vec<Field>>()))
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no table has.
#[derive(Debug, thiserror::Error)]
#[error("there is no table `{0}`{hint}", hint = did_you_mean(.0, Table::ALL.iter().map(|table| table.name())))]
pub struct UnknownTable(String);

impl FromStr for Table {
    type Err = UnknownTable;
    fn from_str(name: &str) -> Result<Self, UnknownTable> {
        Self::ALL.iter().copied().find(|table| table.name() == name).ok_or_else(|| UnknownTable(name.to_owned()))
    }
}

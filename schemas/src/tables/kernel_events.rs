//! `kernel_events`: calls that change privileges, namespaces, mounts and the kernel itself.

mod to_ecs;
mod to_ocsf;

use super::{Declaration, Unknown};
use crate::activity::{BoundaryEvidence, RecordCode, activities};
use crate::columns::columns;
use crate::identity::ProcessUid;
use crate::mapping::ecs;
use crate::mapping::ocsf;
use crate::sentence::Sentence;

pub(super) static DECLARATION: Declaration = Declaration {
    name: "kernel_events",
    meaning: "Calls that change privileges, namespaces, mounts or the kernel.",
    number: 3,
    has_actor: true,
    in_timeline: true,
    in_finding: Sentence("[{activity|} by `{command}`]"),
    activities: ACTIVITIES,
    unknown: Unknown {
        ocsf: ocsf::Classification { class: &ocsf::KERNEL, activity: "Invoke" },
        ecs_category: &["process"],
        ecs_type: &["change"],
        sentence: Sentence("{activity}[ {target_path}][ of pid {target_pid}]"),
    },
    ocsf: to_ocsf::MAPPING,
    ecs: to_ecs::MAPPING,
};

columns! {
    /// Own columns of `kernel_events`.
    KernelColumns, KernelColumnsBuilder {
        source_path: String = "source of a mount; new root of pivot_root",
        target_path: String = "where it is mounted; new root of chroot; put_old of pivot_root",
        fs_type: String = "type of the file system mounted",
        flags: i64 = "flags of the call",
        ret: i64 = "result of the call: 0 or more, or minus the errno",
        ns_type: String = "namespaces named by the call: `mnt`, `pid`, `net`, `user`, `uts`, `ipc`, `cgroup`, `time`, joined by `,`",
        mount_is_host: bool = "whether the target is on the node's root file system",
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
        host_ns_entered: String = "host namespaces that the process entered by the call: `mnt`, `pid`, `net`, joined by `,`; NULL for none",
    }
}

activities! {
    KernelEvents:
    /// A file system was mounted, or a mount moved: mount(2), move_mount(2).
    MOUNT = "mount" {
        records: &[RecordCode { kind: 5, op: 3 }, RecordCode { kind: 5, op: 4 }],
        ocsf: ocsf::Classification { class: &ocsf::KERNEL, activity: "Invoke" },
        ecs: ecs::Classification { category: &["process"], kind: &["change"], action: "mount" },
        sigma: &[],
        sentence: Sentence("mount[ {source_path}] on {target_path|an unknown path}[ ({fs_type})]"),
        boundary: Some(BoundaryEvidence::Mount { path: "target_path" }),
    }
    /// A file system was unmounted: umount(2).
    UMOUNT = "umount" {
        records: &[],
        ocsf: ocsf::Classification { class: &ocsf::KERNEL, activity: "Invoke" },
        ecs: ecs::Classification { category: &["process"], kind: &["change"], action: "umount" },
        sigma: &[],
        sentence: Sentence("umount[ {target_path}]"),
        boundary: None,
    }
    /// The root mount of a mount namespace was changed: pivot_root(2).
    PIVOT_ROOT = "pivot_root" {
        records: &[RecordCode { kind: 5, op: 5 }],
        ocsf: ocsf::Classification { class: &ocsf::KERNEL, activity: "Invoke" },
        ecs: ecs::Classification { category: &["process"], kind: &["change"], action: "pivot_root" },
        sigma: &[],
        sentence: Sentence("pivot_root to {source_path|an unknown path}"),
        boundary: Some(BoundaryEvidence::NewRoot { path: "source_path" }),
    }
    /// A process changed its root directory: chroot(2).
    CHROOT = "chroot" {
        records: &[RecordCode { kind: 5, op: 6 }],
        ocsf: ocsf::Classification { class: &ocsf::KERNEL, activity: "Invoke" },
        ecs: ecs::Classification { category: &["process"], kind: &["change"], action: "chroot" },
        sigma: &[],
        sentence: Sentence("chroot to {target_path|an unknown path}"),
        boundary: Some(BoundaryEvidence::NewRoot { path: "target_path" }),
    }
    /// A process entered namespaces: setns(2).
    SETNS = "setns" {
        records: &[RecordCode { kind: 5, op: 1 }],
        ocsf: ocsf::Classification { class: &ocsf::KERNEL, activity: "Invoke" },
        ecs: ecs::Classification { category: &["process"], kind: &["change"], action: "setns" },
        sigma: &[],
        sentence: Sentence("setns into[ {ns_type}] namespace[ of pid {target_pid}]"),
        boundary: Some(BoundaryEvidence::StateChange),
    }
    /// A process created new namespaces: unshare(2).
    UNSHARE = "unshare" {
        records: &[RecordCode { kind: 5, op: 2 }],
        ocsf: ocsf::Classification { class: &ocsf::KERNEL, activity: "Invoke" },
        ecs: ecs::Classification { category: &["process"], kind: &["change"], action: "unshare" },
        sigma: &[],
        sentence: Sentence("unshare[ {ns_type}]"),
        boundary: Some(BoundaryEvidence::StateChange),
    }
    /// A process changed its user id: setuid(2) and the like.
    SET_UID = "set_uid" {
        records: &[],
        ocsf: ocsf::Classification { class: &ocsf::KERNEL, activity: "Invoke" },
        ecs: ecs::Classification { category: &["process"], kind: &["change"], action: "uid_change" },
        sigma: &[],
        sentence: Sentence("set_uid"),
        boundary: Some(BoundaryEvidence::StateChange),
    }
    /// A process changed its group id: setgid(2) and the like.
    SET_GID = "set_gid" {
        records: &[],
        ocsf: ocsf::Classification { class: &ocsf::KERNEL, activity: "Invoke" },
        ecs: ecs::Classification { category: &["process"], kind: &["change"], action: "gid_change" },
        sigma: &[],
        sentence: Sentence("set_gid"),
        boundary: Some(BoundaryEvidence::StateChange),
    }
    /// A process changed its capabilities: capset(2).
    CAPSET = "capset" {
        records: &[],
        ocsf: ocsf::Classification { class: &ocsf::KERNEL, activity: "Invoke" },
        ecs: ecs::Classification { category: &["process"], kind: &["change"], action: "capset" },
        sigma: &[],
        sentence: Sentence("capset"),
        boundary: Some(BoundaryEvidence::StateChange),
    }
    /// A process traced another: ptrace(2).
    PTRACE = "ptrace" {
        records: &[],
        ocsf: ocsf::Classification { class: &ocsf::KERNEL, activity: "Invoke" },
        ecs: ecs::Classification { category: &["process"], kind: &["change"], action: "ptrace" },
        sigma: &[],
        sentence: Sentence("ptrace[ of pid {target_pid}]"),
        boundary: None,
    }
    /// A kernel module was loaded.
    MODULE_LOAD = "module_load" {
        records: &[],
        ocsf: ocsf::Classification { class: &ocsf::KERNEL, activity: "Invoke" },
        ecs: ecs::Classification { category: &["driver"], kind: &["start"], action: "loaded-kernel-module" },
        sigma: &[],
        sentence: Sentence("module_load"),
        boundary: None,
    }
    /// A BPF program was loaded.
    BPF_LOAD = "bpf_load" {
        records: &[],
        ocsf: ocsf::Classification { class: &ocsf::KERNEL, activity: "Invoke" },
        ecs: ecs::Classification { category: &["process"], kind: &["change"], action: "bpf_load" },
        sigma: &[],
        sentence: Sentence("bpf_load"),
        boundary: None,
    }
}

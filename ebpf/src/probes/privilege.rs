//! Calls that change namespaces or the root. `bpf/privilege.bpf.c`.

use super::{BpfProgram, Concern, Need, Probe, kinds};
use crate::hook::Hook;
use crate::records::{Header, Ref, State, Task, constants, layouts};

/// A call is seen when it enters and when it returns.
macro_rules! call {
    ($name:literal, $activity:literal) => {
        Probe {
            name: $name,
            need: Need::Optional,
            depends_on: None,
            activities: &[$activity],
            programs: &[
                BpfProgram::new(concat!("enter_", $name), Hook::Syscall(concat!("sys_enter_", $name))),
                BpfProgram::new(concat!("exit_", $name), Hook::Syscall(concat!("sys_exit_", $name))),
            ],
        }
    };
}

/// Its declaration.
pub const CONCERN: Concern = Concern {
    name: "privilege",
    probes: &[
        call!("setns", "setns"),
        call!("unshare", "unshare"),
        call!("mount", "mount"),
        call!("move_mount", "mount"),
        call!("pivot_root", "pivot_root"),
        call!("chroot", "chroot"),
    ],
    records: RECORDS,
    kinds: KINDS,
    layouts: LAYOUTS,
    enums: ENUMS,
    maps: &[],
};

kinds! {
    "kt_privilege_kind" {
        /// A call that changes namespaces or the root.
        PRIVILEGE = 5, "privilege", Privilege, Dropped;
    }
}

layouts! {
    /// [`kind::PRIVILEGE`]: a call that changes namespaces or the root. Strings: source, target, type, cwd.
    ///
    /// cwd is components; target too when [`crate::records::flags::TARGET_RESOLVED`] is set; the others are text.
    Privilege = "kt_privilege" {
        /// Starts the record.
        header: Header,
        /// The process, after the call.
        task: Task,
        /// State before the call.
        before: State,
        /// Process whose namespaces setns entered by pidfd.
        target_process: Ref,
        /// Result: 0 or more, or minus the errno.
        ret: i64,
        /// Flags of the call.
        call_flags: u64,
        /// Device of the new mount or root; 0 when unknown.
        target_dev: u32,
        /// One of [`privilege_op`].
        op: u32,
        /// Bytes of the source.
        source_len: u16,
        /// Bytes of the target.
        target_len: u16,
        /// Bytes of the file system type.
        type_len: u16,
        /// Bytes of the directory from which relative paths start; 0 when there are none.
        cwd_len: u16,
    }
}

constants! {
    /// Calls of [`Privilege`].
    privilege_op = "kt_privilege_op" {
        /// setns(2)
        SETNS = 1,
        /// unshare(2)
        UNSHARE = 2,
        /// mount(2)
        MOUNT = 3,
        /// move_mount(2)
        MOVE_MOUNT = 4,
        /// pivot_root(2)
        PIVOT_ROOT = 5,
        /// chroot(2)
        CHROOT = 6,
    }
}

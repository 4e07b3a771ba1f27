//! Calls that change privileges, namespaces or mounts.

use kerntrail_schemas::identity::ProcessUid;
use kerntrail_schemas::tables::KernelColumns;

use super::*;
use crate::decode::privilege::{MOVE_MOUNT_F_EMPTY_PATH, MS_BIND};

fn kernel(bytes: &[u8]) -> (&'static str, KernelColumns) {
    let row = row(bytes);
    (row.activity.name, row.columns.try_into().unwrap())
}

/// The columns of `call`, without strings.
fn columns(call: Privilege) -> KernelColumns {
    kernel(&call_record(call, [b""; 4])).1
}

/// A call of `op` that changes nothing.
fn unchanged(op: u32) -> Privilege {
    let state = State { mnt_ns: 1, pid_ns: 2, net_ns: 3, user_ns: 4, ..BLANK };
    between(op, state, state)
}

fn between(op: u32, before: State, after: State) -> Privilege {
    let task = records::Task { state: after, ..task() };
    Privilege { op, before, task, ret: 0, target_process: NOBODY, target_dev: 0, ..call() }
}

const BLANK: State =
    State { cap_effective: 0, cgroup_id: 0, euid: 0, mnt_ns: 0, pid_ns: 0, net_ns: 0, user_ns: 0, egid: 0 };

#[test]
fn paths_of_calls_become_absolute() {
    use privilege_op::{CHROOT, MOUNT, MOVE_MOUNT, PIVOT_ROOT};
    let resolved = flags::TARGET_RESOLVED;
    // op, call flags, record flags, [source, target, type, cwd], source, target
    let cases: &[(u32, u64, u32, [&[u8]; 4], &str, &str)] = &[
        (MOUNT, 0, resolved, [b"tmpfs", b"b\0a\0", b"tmpfs", b"w\0"], "tmpfs", "/a/b"),
        (MOUNT, MS_BIND, resolved, [b"src", b"a\0", b"", b"w\0"], "/w/src", "/a"),
        (MOUNT, 0, 0, [b"none", b"./x/", b"proc", b"w\0v\0"], "none", "/v/w/x"),
        (MOUNT, 0, 0, [b"none", b"x", b"proc", b""], "none", "/x"),
        (MOVE_MOUNT, MOVE_MOUNT_F_EMPTY_PATH, resolved, [b"none", b"a\0", b"tmpfs", b"w\0"], "none", "/a"),
        (MOVE_MOUNT, 0, 0, [b"from", b"/to", b"", b"w\0"], "/w/from", "/to"),
        (PIVOT_ROOT, 0, 0, [b".", b"../old", b"", b"root\0"], "/root", "/root/../old"),
        (CHROOT, 0, resolved, [b"", b"", b"", b""], "", "/"),
        (CHROOT, 0, 0, [b"", b"/host", b"", b""], "", "/host"),
        (CHROOT, 0, flags::CWD_UNREAD, [b"", b"host", b"", b""], "", "host"),
        (CHROOT, 0, flags::TARGET_UNREAD, [b"", b"", b"", b""], "", ""),
    ];
    for (op, call_flags, flags, strings, source, target) in cases {
        let (_, columns) = kernel(&privilege_record(*op, *call_flags, *flags, *strings));
        let shown = [columns.source_path, columns.target_path].map(Option::unwrap_or_default);
        assert_eq!(shown, [*source, *target], "{op} {strings:?}");
    }
}

#[test]
fn a_call_has_the_states_before_and_after() {
    let (activity, columns) = kernel(&privilege_record(privilege_op::SETNS, 0x20000, 0, [b""; 4]));
    assert_eq!((activity, columns.ret, columns.flags), ("setns", Some(-1), Some(0x20000)));
    assert_eq!((columns.old_mnt_ns, columns.new_mnt_ns, columns.target_pid), (Some(1), Some(2), Some(7)));
    assert_eq!(columns.mount_is_host, Some(false), "device 3 is not that of the node's root");
}

#[test]
fn namespace_types_of_a_call() {
    use privilege_op::{MOUNT, SETNS, UNSHARE};
    let flags = |bits: i32| u64::from(bits.unsigned_abs());
    let naming = |op, call_flags| Privilege { call_flags, ..unchanged(op) };
    let entered = State { mnt_ns: 10, net_ns: 30, ..unchanged(SETNS).before };
    let cases = [
        (naming(SETNS, flags(libc::CLONE_NEWNS)), Some("mnt")),
        (naming(UNSHARE, flags(libc::CLONE_NEWNET | libc::CLONE_NEWPID)), Some("pid,net")),
        (naming(SETNS, 0x80), Some("time")),
        (between(SETNS, unchanged(SETNS).before, entered), Some("mnt,net")),
        (Privilege { ret: -1, ..unchanged(SETNS) }, None),
        (naming(UNSHARE, flags(libc::CLONE_FS)), None),
        (naming(MOUNT, flags(libc::CLONE_NEWNS)), None),
    ];
    for (call, expected) in cases {
        assert_eq!(columns(call).ns_type.as_deref(), expected, "{call:?}");
    }
}

#[test]
fn the_target_process_of_setns() {
    let target_process = records::Ref { tgid: 1, start_boottime: 5, reserved: 0 };
    let known = columns(Privilege { target_process, ..unchanged(privilege_op::SETNS) });
    assert_eq!(known.target_process_uid, Some(ProcessUid::new(&BootHash::of("b"), 5, 1)));
    assert_eq!(known.target_pid, Some(1));
    let unknown = columns(unchanged(privilege_op::SETNS));
    assert_eq!((unknown.target_process_uid, unknown.target_pid), (None, None));
}

#[test]
fn entered_host_namespaces_are_recognized() {
    let inside = State { mnt_ns: 1, pid_ns: 2, net_ns: 3, ..BLANK };
    let cases = [
        (inside, State { mnt_ns: 10, ..inside }, Some("mnt")),
        (inside, State { mnt_ns: 10, pid_ns: 20, net_ns: 30, ..inside }, Some("mnt,pid,net")),
        (inside, State { mnt_ns: 11, ..inside }, None),
        (inside, inside, None),
        // On the node already.
        (State { mnt_ns: 10, ..inside }, State { mnt_ns: 10, net_ns: 31, ..inside }, None),
    ];
    for (before, after, expected) in cases {
        let columns = columns(between(privilege_op::SETNS, before, after));
        assert_eq!(columns.host_ns_entered.as_deref(), expected, "{after:?}");
    }
}

#[test]
fn mounts_on_the_host_file_system_are_recognized() {
    for (target_dev, expected) in [(0, None), (0x0010_0001, Some(true)), (0x0010_0002, Some(false))] {
        let mount = Privilege { target_dev, ..unchanged(privilege_op::MOUNT) };
        let (activity, columns) = kernel(&call_record(mount, [b"/dev/sda1", b"/mnt", b"ext4", b""]));
        assert_eq!((activity, columns.mount_is_host), ("mount", expected));
        assert_eq!(columns.source_path.as_deref(), Some("/dev/sda1"));
        assert_eq!((columns.old_mnt_ns, columns.new_mnt_ns, columns.ret), (Some(1), Some(1), Some(0)));
    }
}

#[test]
fn unknown_values_of_a_call_are_null() {
    let columns = columns(between(privilege_op::SETNS, BLANK, BLANK));
    assert_eq!((columns.source_path, columns.target_path, columns.fs_type), (None, None, None));
    assert_eq!((columns.old_mnt_ns, columns.old_cgroup_id, columns.mount_is_host), (None, None, None));
}

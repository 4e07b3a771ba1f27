//! Calls that change privileges, namespaces or mounts, as rows of `kernel_events`.

use kerntrail_ebpf::probes::privilege::{Privilege, kind, privilege_op};
use kerntrail_ebpf::records::{self, flags};
use kerntrail_schemas::tables::KernelColumns;

use super::{Context, DecodeError, Decoder, Raw, path_of, process_of, text};
use crate::actor::signed;
use crate::event::{EventKind, EventRow};
use crate::node::Node;
use crate::process::filled;

/// Flags of mount(2) with which its source is a path.
pub(super) const MS_BIND: u64 = 0x1000;
const MS_MOVE: u64 = 0x2000;
/// Flag of move_mount(2) with which its source is a descriptor; the record then has the device's name.
pub(super) const MOVE_MOUNT_F_EMPTY_PATH: u64 = 0x4;

pub(super) const DECODER: Decoder = Decoder { kinds: &[kind::PRIVILEGE], decode };

fn decode(raw: Raw<'_>, context: Context<'_>) -> Result<(records::Task, EventKind), DecodeError> {
    let (call, mut strings) = raw.parts::<Privilege>()?;
    let source = strings.take("source", call.source_len.into())?;
    let target = strings.take("target", call.target_len.into())?;
    let fs_type = strings.take("type", call.type_len.into())?;
    let base = strings.take("cwd", call.cwd_len.into())?;
    let activity = raw.activity(call.op)?;
    let base = (call.cwd_len > 0 || !raw.is(flags::CWD_UNREAD)).then(|| path_of(base, false, raw.is(flags::CWD_CUT)));
    let source = if has_source_path(&call) { absolute(base.as_deref(), text(source)) } else { text(source) };
    let target = if raw.is(flags::TARGET_RESOLVED) {
        path_of(target, false, raw.is(flags::TARGET_CUT))
    } else {
        absolute(base.as_deref(), text(target))
    };
    let masked = |text: &str| filled(text).map(|text| context.mask.text(&text).into_owned());
    let columns = KernelColumns {
        source_path: masked(&source),
        target_path: masked(&target),
        fs_type: filled(&text(fs_type)),
        ..columns(&call, context.node)
    };
    Ok((call.task, EventKind::of_row(EventRow::new(activity, columns))))
}

/// Whether the source of the call is a path, rather than a device or a word such as `tmpfs`.
fn has_source_path(call: &Privilege) -> bool {
    match call.op {
        privilege_op::MOUNT => call.call_flags & (MS_BIND | MS_MOVE) != 0,
        privilege_op::MOVE_MOUNT => call.call_flags & MOVE_MOUNT_F_EMPTY_PATH == 0,
        op => op == privilege_op::PIVOT_ROOT,
    }
}

/// The columns that need no strings.
fn columns(call: &Privilege, node: &Node) -> KernelColumns {
    let (before, after) = (&call.before, &call.task.state);
    let on_host = |device: u32| node.root_dev.filter(|_| device != 0).map(|root| root == device);
    let namespace = |number: u32| (number != 0).then_some(i64::from(number));
    let cgroup = |id: u64| (id != 0).then_some(id.cast_signed());
    let target_process = process_of(&call.target_process);
    KernelColumns {
        flags: Some(call.call_flags.cast_signed()),
        ret: Some(call.ret),
        ns_type: namespaces(call),
        mount_is_host: on_host(call.target_dev),
        old_uid: Some(signed(before.euid)),
        new_uid: Some(signed(after.euid)),
        old_cap_effective: Some(before.cap_effective.cast_signed()),
        new_cap_effective: Some(after.cap_effective.cast_signed()),
        old_mnt_ns: namespace(before.mnt_ns),
        new_mnt_ns: namespace(after.mnt_ns),
        old_pid_ns: namespace(before.pid_ns),
        new_pid_ns: namespace(after.pid_ns),
        old_net_ns: namespace(before.net_ns),
        new_net_ns: namespace(after.net_ns),
        old_user_ns: namespace(before.user_ns),
        new_user_ns: namespace(after.user_ns),
        old_cgroup_id: cgroup(before.cgroup_id),
        new_cgroup_id: cgroup(after.cgroup_id),
        host_ns_entered: host_namespaces_entered(call, node),
        target_process_uid: node.uid_of(&target_process),
        target_pid: (target_process.tgid != 0).then(|| signed(target_process.tgid)),
        ..KernelColumns::default()
    }
}

/// `path` from the working directory `base`. `..` stays: only the kernel knows where a symbolic link would lead.
fn absolute(base: Option<&str>, path: String) -> String {
    let Some(base) = base.filter(|_| !path.is_empty() && !path.starts_with('/')) else { return path };
    let names = path.split('/').filter(|name| !matches!(*name, "" | "."));
    let mut whole = base.trim_end_matches('/').to_owned();
    for name in names {
        whole.push('/');
        whole.push_str(name);
    }
    if whole.is_empty() { "/".to_owned() } else { whole }
}

/// Bits of clone(2), setns(2) and unshare(2) that name namespaces.
const NAMESPACES: &[(i32, &str)] = &[
    (libc::CLONE_NEWNS, "mnt"),
    (libc::CLONE_NEWPID, "pid"),
    (libc::CLONE_NEWNET, "net"),
    (libc::CLONE_NEWUSER, "user"),
    (libc::CLONE_NEWUTS, "uts"),
    (libc::CLONE_NEWIPC, "ipc"),
    (libc::CLONE_NEWCGROUP, "cgroup"),
    (0x80, "time"),
];

/// The namespaces that a setns or unshare names; one that names none (setns of type 0) by what it changed.
fn namespaces(call: &Privilege) -> Option<String> {
    if !matches!(call.op, privilege_op::SETNS | privilege_op::UNSHARE) {
        return None;
    }
    let is_named = |bit: i32| call.call_flags & u64::from(bit.unsigned_abs()) != 0;
    let named = NAMESPACES.iter().filter(|(bit, _)| is_named(*bit)).map(|(_, name)| *name);
    let mut names: Vec<&str> = named.collect();
    if names.is_empty() {
        names = changed(&call.before, &call.task.state);
    }
    (!names.is_empty()).then(|| names.join(","))
}

/// The namespaces that were not the node's own before the call and are after it.
fn host_namespaces_entered(call: &Privilege, node: &Node) -> Option<String> {
    let (before, after) = (&call.before, &call.task.state);
    let each = [
        ("mnt", before.mnt_ns, after.mnt_ns, node.mnt_ns),
        ("pid", before.pid_ns, after.pid_ns, node.pid_ns),
        ("net", before.net_ns, after.net_ns, node.net_ns),
    ];
    let entered = each.into_iter().filter(|(_, old, new, host)| old != new && *host == Some(*new));
    let names: Vec<&str> = entered.map(|(name, ..)| name).collect();
    (!names.is_empty()).then(|| names.join(","))
}

fn changed(before: &records::State, after: &records::State) -> Vec<&'static str> {
    let pairs = [
        ("mnt", before.mnt_ns, after.mnt_ns),
        ("pid", before.pid_ns, after.pid_ns),
        ("net", before.net_ns, after.net_ns),
        ("user", before.user_ns, after.user_ns),
    ];
    pairs.into_iter().filter(|(_, old, new)| old != new).map(|(name, ..)| name).collect()
}

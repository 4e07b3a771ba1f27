//! The own columns of an event's row.

use std::net::IpAddr;

use kerntrail_schemas::Table;
use kerntrail_schemas::tables::{KernelColumns, NetworkColumns, ProcessColumns};

use crate::actor::signed;
use crate::clock::Clock;
use crate::event::{
    Connection, EventKind, FdKind, KernelEvent, NetworkOp, PrivilegeCall, PrivilegeOp, PrivilegeState, Program,
};
use crate::mask::Mask;
use crate::node::Node;
use crate::process::filled;

/// Activity and own columns of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Row {
    /// Of `process_events`.
    Process(&'static str, Box<ProcessColumns>),
    /// Of `kernel_events`.
    Kernel(&'static str, Box<KernelColumns>),
    /// Of `network_flows`.
    Network(&'static str, Box<NetworkColumns>),
}

impl Row {
    /// The table it goes to.
    pub fn table(&self) -> Table {
        match self {
            Self::Process(..) => Table::ProcessEvents,
            Self::Kernel(..) => Table::KernelEvents,
            Self::Network(..) => Table::NetworkFlows,
        }
    }

    /// What happened.
    pub fn activity(&self) -> &'static str {
        match self {
            Self::Process(activity, _) | Self::Kernel(activity, _) | Self::Network(activity, _) => activity,
        }
    }
}

/// The row of `event`.
pub fn of(event: &KernelEvent, node: &Node, clock: &Clock, mask: &Mask) -> Row {
    match &event.kind {
        EventKind::Fork => Row::Process("fork", Box::default()),
        EventKind::Exec(program) => Row::Process("exec", Box::new(started(program))),
        EventKind::Existing(program) => Row::Process("existing", Box::new(started(program))),
        EventKind::Exit { code, signal } => Row::Process("exit", Box::new(ended(*code, *signal))),
        EventKind::Privilege(call) => Row::Kernel(activity(call.op), Box::new(privilege(call, node, mask))),
        EventKind::Network(connection) => {
            Row::Network(connection_activity(connection.op), Box::new(network(connection, event.boot_ns, clock)))
        }
    }
}

fn started(program: &Program) -> ProcessColumns {
    let has_file = program.inode != 0;
    ProcessColumns {
        binary_inode: has_file.then_some(program.inode.cast_signed()),
        binary_dev: has_file.then_some(i64::from(program.dev)),
        binary_memfd: (has_file || program.memfd).then_some(program.memfd),
        stdin_kind: descriptor(program.stdin),
        stdout_kind: descriptor(program.stdout),
        ..ProcessColumns::default()
    }
}

fn ended(code: u8, signal: u8) -> ProcessColumns {
    ProcessColumns {
        exit_code: Some(i32::from(code)),
        exit_signal: (signal != 0).then_some(i32::from(signal)),
        ..ProcessColumns::default()
    }
}

fn descriptor(kind: FdKind) -> Option<String> {
    let name = match kind {
        FdKind::Unknown => return None,
        FdKind::File => "file",
        FdKind::Tty => "tty",
        FdKind::Pipe => "pipe",
        FdKind::Socket => "socket",
        FdKind::Other => "other",
        FdKind::Closed => "closed",
    };
    Some(name.into())
}

fn activity(op: PrivilegeOp) -> &'static str {
    match op {
        PrivilegeOp::Setns => "setns",
        PrivilegeOp::Unshare => "unshare",
        PrivilegeOp::Mount => "mount",
        PrivilegeOp::PivotRoot => "pivot_root",
        PrivilegeOp::Chroot => "chroot",
    }
}

fn privilege(call: &PrivilegeCall, node: &Node, mask: &Mask) -> KernelColumns {
    let (before, after) = (&call.before, &call.after);
    let on_host = |device: u32| node.root_dev.filter(|_| device != 0).map(|root| root == device);
    let namespace = |number: u32| (number != 0).then_some(i64::from(number));
    let text = |text: &str| filled(text).map(|text| mask.text(&text).into_owned());
    KernelColumns {
        source_path: text(&call.source),
        target_path: text(&call.target),
        fs_type: filled(&call.fs_type),
        flags: Some(call.flags.cast_signed()),
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
        old_cgroup_id: (before.cgroup_id != 0).then_some(before.cgroup_id.cast_signed()),
        new_cgroup_id: (after.cgroup_id != 0).then_some(after.cgroup_id.cast_signed()),
        host_ns_entered: host_namespaces_entered(call, node),
        target_process_uid: node.uid_of(&call.target_process),
        target_pid: (call.target_process.tgid != 0).then(|| signed(call.target_process.tgid)),
    }
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
fn namespaces(call: &PrivilegeCall) -> Option<String> {
    if !matches!(call.op, PrivilegeOp::Setns | PrivilegeOp::Unshare) {
        return None;
    }
    let named =
        NAMESPACES.iter().filter(|(bit, _)| call.flags & u64::from(bit.unsigned_abs()) != 0).map(|(_, name)| *name);
    let mut names: Vec<&str> = named.collect();
    if names.is_empty() {
        names = changed(&call.before, &call.after);
    }
    (!names.is_empty()).then(|| names.join(","))
}

/// The namespaces that were not the node's own before the call and are after it.
fn host_namespaces_entered(call: &PrivilegeCall, node: &Node) -> Option<String> {
    let (before, after) = (&call.before, &call.after);
    let each = [
        ("mnt", before.mnt_ns, after.mnt_ns, node.mnt_ns),
        ("pid", before.pid_ns, after.pid_ns, node.pid_ns),
        ("net", before.net_ns, after.net_ns, node.net_ns),
    ];
    let entered = each.into_iter().filter(|(_, old, new, host)| old != new && *host == Some(*new));
    let names: Vec<&str> = entered.map(|(name, ..)| name).collect();
    (!names.is_empty()).then(|| names.join(","))
}

fn changed(before: &PrivilegeState, after: &PrivilegeState) -> Vec<&'static str> {
    let pairs = [
        ("mnt", before.mnt_ns, after.mnt_ns),
        ("pid", before.pid_ns, after.pid_ns),
        ("net", before.net_ns, after.net_ns),
        ("user", before.user_ns, after.user_ns),
    ];
    pairs.into_iter().filter(|(_, old, new)| old != new).map(|(name, ..)| name).collect()
}

fn connection_activity(op: NetworkOp) -> &'static str {
    match op {
        NetworkOp::Connect => "connect",
        NetworkOp::Accept => "accept",
        NetworkOp::Listen => "listen",
        NetworkOp::Close => "close",
    }
}

fn network(connection: &Connection, boot_ns: u64, clock: &Clock) -> NetworkColumns {
    let (opener, other) =
        if connection.outbound { (connection.local, connection.remote) } else { (connection.remote, connection.local) };
    let closed = connection.op == NetworkOp::Close;
    let address = |(ip, _): (IpAddr, u16)| (!ip.is_unspecified()).then(|| ip.to_canonical().to_string());
    let port = |(_, port): (IpAddr, u16)| (port != 0).then_some(i32::from(port));
    let listens = connection.op == NetworkOp::Listen;
    NetworkColumns {
        protocol: Some("TCP".into()),
        direction: Some(if connection.outbound { "outbound" } else { "inbound" }.into()),
        src_ip: address(opener),
        src_port: port(opener),
        // 0.0.0.0 is what a listener listens on, not an unknown address.
        dst_ip: if listens { Some(other.0.to_canonical().to_string()) } else { address(other) },
        dst_port: port(other),
        bytes_out: closed.then_some(connection.bytes_sent.cast_signed()),
        bytes_in: closed.then_some(connection.bytes_received.cast_signed()),
        start_time: (connection.opened_boot_ns != 0).then(|| clock.utc(connection.opened_boot_ns)),
        end_time: closed.then(|| clock.utc(boot_ns)),
        tcp_state: tcp_state(connection.tcp_state).map(Into::into),
        ret: (connection.op == NetworkOp::Connect).then_some(i64::from(connection.ret)),
    }
}

/// include/net/tcp_states.h
fn tcp_state(state: u8) -> Option<&'static str> {
    const NAMES: [&str; 12] = [
        "ESTABLISHED",
        "SYN_SENT",
        "SYN_RECV",
        "FIN_WAIT1",
        "FIN_WAIT2",
        "TIME_WAIT",
        "CLOSE",
        "CLOSE_WAIT",
        "LAST_ACK",
        "LISTEN",
        "CLOSING",
        "NEW_SYN_RECV",
    ];
    NAMES.get(usize::from(state.checked_sub(1)?)).copied()
}

#[cfg(test)]
mod tests;

use kerntrail_schemas::cell::Micros;
use kerntrail_schemas::identity::{BootHash, BootId, ProcessUid};

use super::*;
use crate::event::{ProcessRef, Task};
use crate::mask::MaskConfig;

fn node() -> Node {
    Node {
        name: "n".into(),
        cluster: None,
        boot_id: BootId::new("b"),
        boot_hash: BootHash::of("b"),
        root: "/".into(),
        procfs: "/proc".into(),
        init: 1,
        mnt_ns: Some(10),
        pid_ns: Some(20),
        net_ns: Some(30),
        root_dev: Some(0x0010_0001),
        container: None,
    }
}

fn row(kind: EventKind) -> Row {
    let task = Task { process: ProcessRef { tgid: 7, start_boottime: 1 }, ..Task::default() };
    let event = KernelEvent { cpu: 0, seq: 0, boot_ns: 9_000_000, flags: 0, task, kind };
    let mask = Mask::new(&MaskConfig::default()).unwrap();
    of(&event, &node(), &Clock::fixed(Micros(1_000)), &mask)
}

fn call(op: PrivilegeOp) -> PrivilegeCall {
    let state = PrivilegeState { mnt_ns: 1, pid_ns: 2, net_ns: 3, user_ns: 4, ..PrivilegeState::default() };
    PrivilegeCall { op, before: state, after: state, ..blank() }
}

fn kernel(call: PrivilegeCall) -> (&'static str, KernelColumns) {
    match row(EventKind::Privilege(Box::new(call))) {
        Row::Kernel(activity, columns) => (activity, *columns),
        other => panic!("{other:?}"),
    }
}

/// A call of which nothing is known.
fn blank() -> PrivilegeCall {
    PrivilegeCall {
        op: PrivilegeOp::Setns,
        ret: 0,
        flags: 0,
        source: String::new(),
        target: String::new(),
        fs_type: String::new(),
        target_dev: 0,
        before: PrivilegeState::default(),
        after: PrivilegeState::default(),
        target_process: ProcessRef::default(),
    }
}

#[test]
fn namespaces_that_a_call_names() {
    let flags = |bits: i32| u64::from(bits.unsigned_abs());
    let entered = PrivilegeState { mnt_ns: 10, net_ns: 30, ..call(PrivilegeOp::Setns).before };
    let cases = [
        (PrivilegeCall { flags: flags(libc::CLONE_NEWNS), ..call(PrivilegeOp::Setns) }, Some("mnt")),
        (
            PrivilegeCall { flags: flags(libc::CLONE_NEWNET | libc::CLONE_NEWPID), ..call(PrivilegeOp::Unshare) },
            Some("pid,net"),
        ),
        (PrivilegeCall { flags: 0x80, ..call(PrivilegeOp::Setns) }, Some("time")),
        (PrivilegeCall { after: entered, ..call(PrivilegeOp::Setns) }, Some("mnt,net")),
        (PrivilegeCall { ret: -1, ..call(PrivilegeOp::Setns) }, None),
        (PrivilegeCall { flags: flags(libc::CLONE_FS), ..call(PrivilegeOp::Unshare) }, None),
        (PrivilegeCall { flags: flags(libc::CLONE_NEWNS), ..call(PrivilegeOp::Mount) }, None),
    ];
    for (call, expected) in cases {
        let text = format!("{call:?}");
        assert_eq!(kernel(call).1.ns_type.as_deref(), expected, "{text}");
    }
}

#[test]
fn the_process_whose_namespaces_are_entered() {
    let target_process = ProcessRef { tgid: 1, start_boottime: 5 };
    let (_, columns) = kernel(PrivilegeCall { target_process, ..blank() });
    assert_eq!(columns.target_process_uid, Some(ProcessUid::new(&BootHash::of("b"), 5, 1)));
    assert_eq!(columns.target_pid, Some(1));
    let (_, columns) = kernel(blank());
    assert_eq!((columns.target_process_uid, columns.target_pid), (None, None));
}

#[test]
fn namespaces_of_the_node_that_are_entered() {
    let inside = PrivilegeState { mnt_ns: 1, pid_ns: 2, net_ns: 3, ..PrivilegeState::default() };
    let cases = [
        (inside, PrivilegeState { mnt_ns: 10, ..inside }, Some("mnt")),
        (inside, PrivilegeState { mnt_ns: 10, pid_ns: 20, net_ns: 30, ..inside }, Some("mnt,pid,net")),
        (inside, PrivilegeState { mnt_ns: 11, ..inside }, None),
        (inside, inside, None),
        // On the node already.
        (PrivilegeState { mnt_ns: 10, ..inside }, PrivilegeState { mnt_ns: 10, net_ns: 31, ..inside }, None),
    ];
    for (before, after, expected) in cases {
        let (_, columns) = kernel(PrivilegeCall { before, after, ..blank() });
        assert_eq!(columns.host_ns_entered.as_deref(), expected, "{after:?}");
    }
}

#[test]
fn a_mount_onto_the_host() {
    let mount = |target_dev| PrivilegeCall {
        source: "/dev/sda1".into(),
        target: "/mnt".into(),
        fs_type: "ext4".into(),
        target_dev,
        ..call(PrivilegeOp::Mount)
    };
    for (device, expected) in [(0, None), (0x0010_0001, Some(true)), (0x0010_0002, Some(false))] {
        let (activity, columns) = kernel(mount(device));
        assert_eq!((activity, columns.mount_is_host), ("mount", expected));
        assert_eq!(columns.source_path.as_deref(), Some("/dev/sda1"));
        assert_eq!((columns.old_mnt_ns, columns.new_mnt_ns, columns.ret), (Some(1), Some(1), Some(0)));
    }
}

#[test]
fn unknown_is_null() {
    let (_, columns) = kernel(blank());
    assert_eq!((columns.source_path, columns.target_path, columns.fs_type), (None, None, None));
    assert_eq!((columns.old_mnt_ns, columns.old_cgroup_id, columns.mount_is_host), (None, None, None));
    let Row::Process("exec", columns) = row(EventKind::Exec(Box::default())) else { panic!("no exec") };
    assert_eq!(*columns, ProcessColumns::default());
}

#[test]
fn an_exit_by_code_or_signal() {
    for (code, signal, expected) in [(0, 0, (Some(0), None)), (3, 0, (Some(3), None)), (0, 9, (Some(0), Some(9)))] {
        let Row::Process("exit", columns) = row(EventKind::Exit { code, signal }) else { panic!("no exit") };
        assert_eq!((columns.exit_code, columns.exit_signal), expected);
    }
}

fn connection(op: NetworkOp, outbound: bool, local: &str, remote: &str) -> NetworkColumns {
    let address = |text: &str| text.parse::<std::net::SocketAddr>().map(|a| (a.ip(), a.port())).unwrap();
    let connection = Connection {
        op,
        outbound,
        local: address(local),
        remote: address(remote),
        bytes_sent: 5,
        bytes_received: 6,
        opened_boot_ns: 4_000_000,
        tcp_state: 1,
        ret: -111,
    };
    match row(EventKind::Network(Box::new(connection))) {
        Row::Network(_, columns) => *columns,
        other => panic!("{other:?}"),
    }
}

#[test]
fn ends_of_a_connection() {
    let ends = |columns: &NetworkColumns| {
        let end =
            |ip: &Option<String>, port: Option<i32>| format!("{}:{}", ip.as_deref().unwrap_or("-"), port.unwrap_or(-1));
        format!("{} > {}", end(&columns.src_ip, columns.src_port), end(&columns.dst_ip, columns.dst_port))
    };
    let cases = [
        (NetworkOp::Connect, true, "10.0.0.1:4000", "10.0.0.2:443", "10.0.0.1:4000 > 10.0.0.2:443"),
        (NetworkOp::Accept, false, "10.0.0.1:80", "10.0.0.2:5000", "10.0.0.2:5000 > 10.0.0.1:80"),
        (NetworkOp::Listen, false, "0.0.0.0:80", "0.0.0.0:0", "-:-1 > 0.0.0.0:80"),
        (NetworkOp::Listen, false, "[::]:80", "[::]:0", "-:-1 > :::80"),
        (NetworkOp::Connect, true, "[::ffff:10.0.0.1]:4000", "[::ffff:10.0.0.2]:443", "10.0.0.1:4000 > 10.0.0.2:443"),
        (NetworkOp::Connect, true, "0.0.0.0:0", "10.0.0.2:443", "-:-1 > 10.0.0.2:443"),
    ];
    for (op, outbound, local, remote, expected) in cases {
        assert_eq!(ends(&connection(op, outbound, local, remote)), expected);
    }
}

#[test]
fn bytes_and_end_are_known_at_close_and_the_result_at_connect() {
    let close = connection(NetworkOp::Close, true, "10.0.0.1:1", "10.0.0.2:2");
    assert_eq!((close.bytes_out, close.bytes_in, close.ret), (Some(5), Some(6), None));
    assert_eq!((close.start_time, close.end_time), (Some(Micros(5_000)), Some(Micros(10_000))));
    let connect = connection(NetworkOp::Connect, true, "10.0.0.1:1", "10.0.0.2:2");
    assert_eq!((connect.bytes_out, connect.end_time, connect.ret), (None, None, Some(-111)));
}

#[test]
fn tcp_states() {
    for (state, name) in [(0, None), (1, Some("ESTABLISHED")), (2, Some("SYN_SENT")), (10, Some("LISTEN")), (13, None)]
    {
        assert_eq!(tcp_state(state), name);
    }
}

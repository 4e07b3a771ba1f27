use kerntrail_ebpf::records::{State, bytes_of, flags};

use super::*;

const PROCESS: records::Ref = records::Ref { start_boottime: 123, tgid: 7, reserved: 0 };
const NOBODY: records::Ref = records::Ref { start_boottime: 0, tgid: 0, reserved: 0 };

fn state(mnt_ns: u32) -> State {
    State { cap_effective: 1 << 21, cgroup_id: 5, euid: 1, mnt_ns, pid_ns: 3, net_ns: 4, user_ns: 6, reserved: 0 }
}

fn task() -> records::Task {
    records::Task {
        process: PROCESS,
        parent: records::Ref { tgid: 1, ..PROCESS },
        session_leader: PROCESS,
        group_leader: NOBODY,
        state: state(2),
        uid: 1000,
        gid: 100,
        login_uid: u32::MAX,
        tid: 8,
        exec_seq: 3,
        reserved: 0,
        comm: *b"sh\0left over\0\0\0\0",
        tty: *b"pts0\0\0\0\0\0\0\0\0\0\0\0\0",
    }
}

fn header(kind: u32, flags: u32) -> Header {
    Header { kind, size: 0, seq: 11, boot_ns: 99, cpu: 1, flags }
}

/// A whole record: its size is filled in.
fn record<T: Layout>(fixed: T, strings: &[u8]) -> Vec<u8> {
    let mut bytes = [bytes_of(&fixed), strings].concat();
    let size = bytes.len() as u32;
    bytes[4..8].copy_from_slice(&size.to_ne_bytes());
    bytes
}

fn program_record(kind: u32, flags: u32, strings: [&[u8]; 4]) -> Vec<u8> {
    let fixed = records::Program {
        header: header(kind, flags),
        task: task(),
        inode: 77,
        dev: 8 << 20 | 1,
        exe_len: strings[0].len() as u16,
        cwd_len: strings[1].len() as u16,
        cgroup_len: strings[2].len() as u16,
        reserved: 0,
        args_len: strings[3].len() as u32,
        stdin_kind: fd_kind::FD_SOCKET,
        stdout_kind: fd_kind::FD_CLOSED,
    };
    record(fixed, &strings.concat())
}

fn privilege_record(op: u32, call_flags: u64, flags: u32, strings: [&[u8]; 4]) -> Vec<u8> {
    let fixed = records::Privilege {
        header: header(kind::PRIVILEGE, flags),
        task: task(),
        before: state(1),
        target_process: PROCESS,
        ret: -1,
        call_flags,
        target_dev: 3,
        op,
        source_len: strings[0].len() as u16,
        target_len: strings[1].len() as u16,
        type_len: strings[2].len() as u16,
        cwd_len: strings[3].len() as u16,
    };
    record(fixed, &strings.concat())
}

fn network_record(op: u32, family: u16, local: [u8; 16]) -> Vec<u8> {
    let fixed = records::Network {
        header: header(kind::NETWORK, 0),
        task: task(),
        opened_boot_ns: 5,
        bytes_sent: 6,
        bytes_received: 7,
        local,
        remote: [0; 16],
        local_port: 80,
        remote_port: 1024,
        family,
        outbound: 1,
        tcp_state: 7,
        op,
        ret: -111,
    };
    record(fixed, &[])
}

fn program(bytes: &[u8]) -> Program {
    match decode(bytes).unwrap().kind {
        EventKind::Exec(program) | EventKind::Existing(program) => *program,
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_and_when_are_taken_over() {
    let event = decode(&record(records::Fork { header: header(kind::FORK, 0), task: task() }, &[])).unwrap();
    assert_eq!((event.cpu, event.seq, event.boot_ns, event.flags, &event.kind), (1, 11, 99, 0, &EventKind::Fork));
    let process = ProcessRef { tgid: 7, start_boottime: 123 };
    assert_eq!((event.task.process, event.task.session_leader), (process, process));
    assert_eq!((event.task.parent.tgid, event.task.group_leader), (1, ProcessRef::default()));
    assert_eq!((event.task.comm.as_str(), event.task.tty.as_str()), ("sh", "pts0"));
    assert_eq!((event.task.uid, event.task.gid, event.task.login_uid), (1000, 100, u32::MAX));
    let state =
        PrivilegeState { euid: 1, cap_effective: 1 << 21, mnt_ns: 2, pid_ns: 3, net_ns: 4, user_ns: 6, cgroup_id: 5 };
    assert_eq!(event.task.state, state);
}

#[test]
fn exit_status_is_split() {
    for (status, code, signal) in [(0, 0, 0), (3 << 8, 3, 0), (255 << 8, 255, 0), (9, 0, 9), (11 | 0x80, 0, 11)] {
        let exit = records::Exit { header: header(kind::EXIT, 0), task: task(), status, reserved: 0 };
        assert_eq!(decode(&record(exit, &[])).unwrap().kind, EventKind::Exit { code, signal }, "{status:#x}");
    }
}

#[test]
fn paths_are_turned_round() {
    let cases: &[(u32, &[u8], &str)] = &[
        (0, b"sh\0bin\0usr\0", "/usr/bin/sh"),
        (0, b"", "/"),
        (flags::EXE_UNREAD, b"", ""),
        (flags::EXE_CUT, b"sh\0deep\0", "deep/sh"),
        (flags::EXE_OUTSIDE, b"sh\0bin\0", "/bin/sh"),
        (flags::EXE_UNNAMED, b"memfd:x\0", "memfd:x"),
        (flags::KERNEL_THREAD, b"", ""),
        (0, b"s\xffh\0", "/s\u{fffd}h"),
    ];
    for (flags, exe, path) in cases {
        let decoded = program(&program_record(kind::EXEC, *flags, [exe, b"", b"", b""]));
        assert_eq!(decoded.path, *path, "{exe:?} {flags:#x}");
        assert_eq!(decoded.memfd, *flags == flags::EXE_UNNAMED, "{exe:?}");
    }
}

#[test]
fn a_program_has_all_its_parts() {
    let decoded =
        program(&program_record(kind::EXEC, 0, [b"sh\0", b"tmp\0", b"abc\0pod1\0kubepods\0", b"sh\0-c\0a b\0"]));
    let expected = Program {
        path: "/sh".into(),
        args: vec!["sh".into(), "-c".into(), "a b".into()],
        args_truncated: false,
        cwd: "/tmp".into(),
        inode: 77,
        dev: 8 << 20 | 1,
        memfd: false,
        stdin: FdKind::Socket,
        stdout: FdKind::Closed,
        cgroup_path: "kubepods/pod1/abc".into(),
    };
    assert_eq!(decoded, expected);
}

#[test]
fn arguments_keep_their_borders() {
    let cases: &[(u32, &[u8], &[&str])] = &[
        (kind::EXEC, b"", &[]),
        (kind::EXEC, b"\0", &[""]),
        (kind::EXEC, b"a\0\0b c\0", &["a", "", "b c"]),
        (kind::EXEC, b"a\0\0\0\0", &["a", "", "", ""]),
        (kind::EXEC, b"a\0cut", &["a", "cut"]),
        (kind::EXISTING, b"a\0\0", &["a", ""]),
        (kind::EXISTING, b"nginx: worker\0\0\0\0", &["nginx: worker"]),
        (kind::EXISTING, b"title", &["title"]),
    ];
    for (kind, bytes, args) in cases {
        assert_eq!(program(&program_record(*kind, 0, [b"", b"", b"", bytes])).args, *args, "{bytes:?}");
    }
    assert!(program(&program_record(kind::EXEC, flags::ARGS_CUT, [b"", b"", b"", b"a"])).args_truncated);
}

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
        let event = decode(&privilege_record(*op, *call_flags, *flags, *strings)).unwrap();
        let EventKind::Privilege(call) = event.kind else { panic!("{event:?}") };
        assert_eq!((call.source.as_str(), call.target.as_str()), (*source, *target), "{op} {strings:?}");
    }
}

#[test]
fn a_call_has_both_states() {
    let event = decode(&privilege_record(privilege_op::SETNS, 0x20000, 0, [b""; 4])).unwrap();
    let EventKind::Privilege(call) = event.kind else { panic!("{event:?}") };
    assert_eq!((call.op, call.ret, call.flags, call.target_dev), (PrivilegeOp::Setns, -1, 0x20000, 3));
    assert_eq!((call.before.mnt_ns, call.after.mnt_ns, call.target_process.tgid), (1, 2, 7));
}

#[test]
fn addresses_of_both_families() {
    let v4 = [127, 0, 0, 1, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9];
    let v6 = Ipv6Addr::LOCALHOST.octets();
    let mapped = Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped().octets();
    for (family, bytes, local) in [(2, v4, "127.0.0.1"), (10, v6, "::1"), (10, mapped, "10.0.0.1")] {
        let event = decode(&network_record(network_op::CLOSE, family, bytes)).unwrap();
        let EventKind::Network(connection) = event.kind else { panic!("{event:?}") };
        assert_eq!((connection.local.0.to_string().as_str(), connection.local.1), (local, 80));
        assert_eq!((connection.op, connection.ret, connection.remote.1), (NetworkOp::Close, -111, 1024));
        assert_eq!((connection.bytes_sent, connection.bytes_received, connection.opened_boot_ns), (6, 7, 5));
    }
}

#[test]
fn odd_records_are_named() {
    let exec = program_record(kind::EXEC, 0, [b"sh\0", b"", b"", b"sh\0"]);
    let exec_fixed = size_of::<records::Program>();
    let cut = |bytes: &[u8], len: usize| {
        let mut bytes = bytes[..len].to_vec();
        bytes[4..8].copy_from_slice(&(len as u32).to_ne_bytes());
        bytes
    };
    let with = |mut bytes: Vec<u8>, at: usize, value: u32| {
        bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        bytes
    };
    let stdin = std::mem::offset_of!(records::Program, stdin_kind);
    let cases = [
        (Vec::new(), DecodeError::NoHeader { bytes: 0 }),
        (vec![0; 8], DecodeError::NoHeader { bytes: 8 }),
        (with(exec.clone(), 0, 99), DecodeError::Kind(99)),
        (
            exec[..exec.len() - 1].to_vec(),
            DecodeError::Size { kind: "exec", stated: exec.len(), bytes: exec.len() - 1 },
        ),
        (cut(&exec, 40), DecodeError::Short { kind: "exec", bytes: 40, needed: exec_fixed }),
        (cut(&exec, exec_fixed + 2), DecodeError::Strings { kind: "exec", field: "exe", bytes: 2 }),
        (cut(&exec, exec_fixed + 5), DecodeError::Strings { kind: "exec", field: "args", bytes: 5 }),
        (with(exec, stdin, 44), DecodeError::Value { kind: "exec", field: "stdin_kind", value: 44 }),
        (privilege_record(9, 0, 0, [b""; 4]), DecodeError::Value { kind: "privilege", field: "op", value: 9 }),
        (network_record(9, 2, [0; 16]), DecodeError::Value { kind: "network", field: "op", value: 9 }),
        (network_record(1, 3, [0; 16]), DecodeError::Value { kind: "network", field: "family", value: 3 }),
    ];
    for (bytes, expected) in cases {
        assert_eq!(decode(&bytes), Err(expected));
    }
}

/// Numbers from a seed (xorshift64*), so that a failure can be run again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

#[test]
fn no_bytes_make_it_panic() {
    let seeds: Vec<Vec<u8>> = vec![
        record(records::Fork { header: header(kind::FORK, 0), task: task() }, b"surplus"),
        program_record(kind::EXEC, 0, [b"sh\0bin\0", b"tmp\0", b"pod\0", b"sh\0-c\0\0"]),
        program_record(kind::EXISTING, flags::EXE_UNNAMED, [b"memfd:\0", b"", b"", b"\0\0\0"]),
        privilege_record(privilege_op::PIVOT_ROOT, 0, 0, [b".", b"..", b"", b"w\0"]),
        network_record(network_op::CONNECT, 10, [0xff; 16]),
    ];
    for seed in 1..=20_000_u64 {
        let mut random = Random(seed);
        let mut bytes = seeds[random.below(seeds.len())].clone();
        bytes.truncate(random.below(bytes.len() + 1));
        for _ in 0..random.below(12) {
            let at = random.below(bytes.len().max(1));
            if let Some(byte) = bytes.get_mut(at) {
                *byte = random.next() as u8;
            }
        }
        // A right size and kind let the change reach the parts behind them.
        if bytes.len() >= 8 && seed % 4 != 0 {
            let size = bytes.len() as u32;
            bytes[..4].copy_from_slice(&((random.next() % 8) as u32).to_ne_bytes());
            bytes[4..8].copy_from_slice(&size.to_ne_bytes());
        }
        let result = std::panic::catch_unwind(|| decode(&bytes).map(drop));
        assert!(result.is_ok(), "seed {seed}: {bytes:?}");
    }
}

mod network;
mod privilege;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use kerntrail_ebpf::probes;
use kerntrail_ebpf::probes::network::kind::NETWORK;
use kerntrail_ebpf::probes::network::{Network, network_op};
use kerntrail_ebpf::probes::privilege::kind::PRIVILEGE;
use kerntrail_ebpf::probes::privilege::{Privilege, privilege_op};
use kerntrail_ebpf::probes::process::kind::{EXEC, EXIT, FORK};
use kerntrail_ebpf::probes::process::{self, fd_kind};
use kerntrail_ebpf::probes::tasks::kind::EXISTING;
use kerntrail_ebpf::records::{State, bytes_of, flags};
use kerntrail_schemas::cell::Micros;
use kerntrail_schemas::identity::{BootHash, BootId};
use kerntrail_schemas::tables::ProcessColumns;

use super::*;
use crate::event::{EventKind, EventRow, FdKind, Program};
use crate::mask::MaskConfig;
use crate::users::Users;

/// A node whose namespaces are 10, 20 and 30 and whose root is on device 0x100001.
fn node() -> Node {
    Node {
        name: "n".into(),
        cluster: None,
        host_id: None,
        boot_id: BootId::new("b"),
        boot_hash: BootHash::of("b"),
        root: "/".into(),
        users: Users::of("/nowhere".as_ref()),
        runtimes: Vec::new(),
        procfs: "/proc".into(),
        init: 1,
        mnt_ns: Some(10),
        pid_ns: Some(20),
        net_ns: Some(30),
        root_dev: Some(0x0010_0001),
        container: None,
    }
}

/// Decodes `bytes` on [`node`], with a clock whose boot was at 1 ms.
fn decode(bytes: &[u8]) -> Result<KernelEvent, DecodeError> {
    static KNOWN: LazyLock<(Node, BootClock, Mask)> =
        LazyLock::new(|| (node(), BootClock::fixed(Micros(1_000)), Mask::new(&MaskConfig::default()).unwrap()));
    let (node, clock, mask) = &*KNOWN;
    super::decode(bytes, Context { node, clock, mask })
}

/// The row that `bytes` become.
fn row(bytes: &[u8]) -> EventRow {
    decode(bytes).unwrap().kind.into_row()
}

const PROCESS: records::Ref = records::Ref { start_boottime: 123, tgid: 7, reserved: 0 };
const NOBODY: records::Ref = records::Ref { start_boottime: 0, tgid: 0, reserved: 0 };

fn state(mnt_ns: u32) -> State {
    State { cap_effective: 1 << 21, cgroup_id: 5, euid: 1, mnt_ns, pid_ns: 3, net_ns: 4, user_ns: 6, egid: 8 }
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
    let fixed = process::Program {
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
    call_record(Privilege { op, call_flags, header: header(PRIVILEGE, flags), ..call() }, strings)
}

/// A call that the kernel refused, with both states.
fn call() -> Privilege {
    Privilege {
        header: header(PRIVILEGE, 0),
        task: task(),
        before: state(1),
        target_process: PROCESS,
        ret: -1,
        call_flags: 0,
        target_dev: 3,
        op: privilege_op::SETNS,
        source_len: 0,
        target_len: 0,
        type_len: 0,
        cwd_len: 0,
    }
}

/// The record of `call` with source, target, type and working directory.
fn call_record(call: Privilege, strings: [&[u8]; 4]) -> Vec<u8> {
    let [source_len, target_len, type_len, cwd_len] = strings.map(|string| string.len() as u16);
    record(Privilege { source_len, target_len, type_len, cwd_len, ..call }, &strings.concat())
}

fn network_record(op: u32, family: u16, local: [u8; 16]) -> Vec<u8> {
    record(Network { op, family, local, ..connection() }, &[])
}

/// A connection of this side, seen at 99 ns.
fn connection() -> Network {
    Network {
        header: header(NETWORK, 0),
        task: task(),
        opened_boot_ns: 5,
        bytes_sent: 6,
        bytes_received: 7,
        local: [0; 16],
        remote: [0; 16],
        local_port: 80,
        remote_port: 1024,
        family: 2,
        outbound: 1,
        tcp_state: 7,
        op: network_op::CLOSE,
        ret: -111,
    }
}

fn program(bytes: &[u8]) -> Program {
    match decode(bytes).unwrap().kind {
        EventKind::Exec(program) | EventKind::Existing(program) => *program,
        other => panic!("{other:?}"),
    }
}

#[test]
fn actor_and_time_are_decoded() {
    let event = decode(&record(process::Fork { header: header(FORK, 0), task: task() }, &[])).unwrap();
    assert_eq!((event.cpu, event.seq, event.boot_ns, event.flags, &event.kind), (1, 11, 99, 0, &EventKind::Fork));
    let process = ProcessRef { tgid: 7, start_boottime: 123 };
    assert_eq!((event.task.process, event.task.session_leader), (process, process));
    assert_eq!((event.task.parent.tgid, event.task.group_leader), (1, ProcessRef::default()));
    assert_eq!((event.task.comm.as_str(), event.task.tty.as_str()), ("sh", "pts0"));
    assert_eq!((event.task.uid, event.task.gid, event.task.login_uid), (1000, 100, u32::MAX));
    let state = PrivilegeState {
        euid: 1,
        egid: 8,
        cap_effective: 1 << 21,
        mnt_ns: 2,
        pid_ns: 3,
        net_ns: 4,
        user_ns: 6,
        cgroup_id: 5,
    };
    assert_eq!(event.task.state, state);
}

#[test]
fn exit_status_is_split() {
    for (status, code, signal) in [(0, 0, 0), (3 << 8, 3, 0), (255 << 8, 255, 0), (9, 0, 9), (11 | 0x80, 0, 11)] {
        let exit = process::Exit { header: header(EXIT, 0), task: task(), status, reserved: 0 };
        assert_eq!(decode(&record(exit, &[])).unwrap().kind, EventKind::Exit { code, signal }, "{status:#x}");
    }
}

#[test]
fn an_exit_has_a_code_or_a_signal() {
    for (code, signal, expected) in [(0, 0, (Some(0), None)), (3, 0, (Some(3), None)), (0, 9, (None, Some(9)))] {
        let row = EventKind::Exit { code, signal }.into_row();
        assert_eq!(row.activity.name, "exit");
        let columns = ProcessColumns::try_from(row.columns).unwrap();
        assert_eq!((columns.exit_code, columns.exit_signal), expected);
    }
}

#[test]
fn unknown_values_of_an_exec_are_null() {
    let row = EventKind::Exec(Box::default()).into_row();
    assert_eq!(row.activity.name, "exec");
    assert_eq!(ProcessColumns::try_from(row.columns), Ok(ProcessColumns::default()));
}

#[test]
fn path_components_are_reversed() {
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
        let decoded = program(&program_record(EXEC, *flags, [exe, b"", b"", b""]));
        assert_eq!(decoded.path, *path, "{exe:?} {flags:#x}");
        assert_eq!(decoded.memfd, *flags == flags::EXE_UNNAMED, "{exe:?}");
    }
}

#[test]
fn all_fields_of_a_program_are_decoded() {
    let decoded = program(&program_record(EXEC, 0, [b"sh\0", b"tmp\0", b"abc\0pod1\0kubepods\0", b"sh\0-c\0a b\0"]));
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
fn argument_boundaries_are_kept() {
    let cases: &[(u32, &[u8], &[&str])] = &[
        (EXEC, b"", &[]),
        (EXEC, b"\0", &[""]),
        (EXEC, b"a\0\0b c\0", &["a", "", "b c"]),
        (EXEC, b"a\0\0\0\0", &["a", "", "", ""]),
        (EXEC, b"a\0cut", &["a", "cut"]),
        (EXISTING, b"a\0\0", &["a", ""]),
        (EXISTING, b"nginx: worker\0\0\0\0", &["nginx: worker"]),
        (EXISTING, b"title", &["title"]),
    ];
    for (kind, bytes, args) in cases {
        assert_eq!(program(&program_record(*kind, 0, [b"", b"", b"", bytes])).args, *args, "{bytes:?}");
    }
    assert!(program(&program_record(EXEC, flags::ARGS_CUT, [b"", b"", b"", b"a"])).args_truncated);
}

/// Each kind or operation that the kernel programs can report has the activity of its name, and each code of the registry
/// is one of these.
#[test]
fn records_match_the_registry() {
    let name = |constant: &str| match constant {
        // The newer of the two calls that mount.
        "MOVE_MOUNT" => "mount".to_owned(),
        _ => constant.to_lowercase(),
    };
    let mut codes: Vec<(u32, u32, String)> = Vec::new();
    for concern in probes::CONCERNS {
        let operations = concern.enums.iter().find(|one| one.name == format!("kt_{}_op", concern.name));
        for (constant, kind) in concern.kinds.values {
            match operations {
                Some(operations) => codes.extend(operations.values.iter().map(|(op, code)| (*kind, *code, name(op)))),
                None => codes.push((*kind, 0, name(constant))),
            }
        }
    }
    let declared = |activity: &'static Activity| {
        activity.records.iter().map(|code| (code.kind, code.op, activity.name.to_owned()))
    };
    let mut declared: Vec<(u32, u32, String)> = Activity::all().flat_map(declared).collect();
    codes.sort_unstable();
    declared.sort_unstable();
    assert_eq!(codes, declared);
}

#[test]
fn each_kind_of_record_has_one_decoder() {
    for record in probes::records() {
        let decoders = DECODERS.iter().filter(|decoder| decoder.kinds.contains(&record.kind)).count();
        assert_eq!(decoders, 1, "decoders of {} records, in the list DECODERS", record.name);
    }
}

#[test]
fn the_activities_of_probes_are_in_the_registry() {
    for probe in probes::CONCERNS.iter().flat_map(|concern| concern.probes) {
        for name in probe.activities {
            assert!(Activity::all().any(|activity| activity.name == *name), "probe {}: {name}", probe.name);
        }
    }
}

#[test]
fn each_activity_is_named_by_a_probe_of_its_concern() {
    for activity in Activity::all() {
        for code in activity.records {
            let owns = |concern: &&probes::Concern| concern.kinds.values.iter().any(|(_, kind)| *kind == code.kind);
            let concern = probes::CONCERNS.iter().find(owns).unwrap();
            let named = concern.probes.iter().any(|probe| probe.activities.contains(&activity.name));
            assert!(named, "{}: no probe of {} names it in `activities`", activity.name, concern.name);
        }
    }
}

#[test]
fn invalid_records_are_described() {
    let exec = program_record(EXEC, 0, [b"sh\0", b"", b"", b"sh\0"]);
    let exec_fixed = size_of::<process::Program>();
    let cut = |bytes: &[u8], len: usize| {
        let mut bytes = bytes[..len].to_vec();
        bytes[4..8].copy_from_slice(&(len as u32).to_ne_bytes());
        bytes
    };
    let with = |mut bytes: Vec<u8>, at: usize, value: u32| {
        bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        bytes
    };
    let stdin = std::mem::offset_of!(process::Program, stdin_kind);
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
fn arbitrary_bytes_do_not_cause_a_panic() {
    let mut seeds: Vec<Vec<u8>> = vec![
        record(process::Fork { header: header(FORK, 0), task: task() }, b"surplus"),
        program_record(EXEC, 0, [b"sh\0bin\0", b"tmp\0", b"pod\0", b"sh\0-c\0\0"]),
        program_record(EXISTING, flags::EXE_UNNAMED, [b"memfd:\0", b"", b"", b"\0\0\0"]),
        privilege_record(privilege_op::PIVOT_ROOT, 0, 0, [b".", b"..", b"", b"w\0"]),
        network_record(network_op::CONNECT, 10, [0xff; 16]),
    ];
    // And one of each kind, with strings of no length.
    seeds.extend(probes::records().map(|record| vec![0; record.layout.size]));
    let kinds = 2 + u64::from(probes::records().map(|record| record.kind).max().unwrap());
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
            bytes[..4].copy_from_slice(&((random.next() % kinds) as u32).to_ne_bytes());
            bytes[4..8].copy_from_slice(&size.to_ne_bytes());
        }
        let result = std::panic::catch_unwind(|| decode(&bytes).map(drop));
        assert!(result.is_ok(), "seed {seed}: {bytes:?}");
    }
}

//! Events decoded from records as the kernel programs write them.

use kerntrail_collector::clock::BootClock;
use kerntrail_collector::decode::{Context, decode};
use kerntrail_collector::event::{EventKind, PrivilegeState};
use kerntrail_collector::mask::Mask;
use kerntrail_collector::{MaskConfig, node::Node};
use kerntrail_ebpf::probes;
use kerntrail_ebpf::probes::network::network_op;
use kerntrail_ebpf::records::{self, Header, Layout, Ref, State, bytes_of};
use kerntrail_schemas::cell::Micros;

use crate::script::Setup;

const NOBODY: Ref = Ref { start_boottime: 0, tgid: 0, reserved: 0 };

/// The record that begins with `fixed` and ends with `strings`, decoded on the node of [`Setup::default`].
fn decoded(fixed: impl Layout, strings: &[u8]) -> EventKind {
    let mut bytes = [bytes_of(&fixed), strings].concat();
    let size = bytes.len() as u32;
    bytes[4..8].copy_from_slice(&size.to_ne_bytes());
    let node: Node = Setup::default().node;
    let clock = BootClock::fixed(Micros(1_700_000_000_000_000));
    let mask = Mask::new(&MaskConfig::default()).unwrap();
    decode(&bytes, Context { node: &node, clock: &clock, mask: &mask }).unwrap().kind
}

fn header(kind: u32) -> Header {
    Header { kind, size: 0, seq: 0, boot_ns: 9_000_000, cpu: 0, flags: 0 }
}

fn state(state: &PrivilegeState) -> State {
    let PrivilegeState { euid, egid, cap_effective, mnt_ns, pid_ns, net_ns, user_ns, cgroup_id } = *state;
    State { cap_effective, cgroup_id, euid, mnt_ns, pid_ns, net_ns, user_ns, egid }
}

fn task(after: &PrivilegeState) -> records::Task {
    records::Task {
        process: NOBODY,
        parent: NOBODY,
        session_leader: NOBODY,
        group_leader: NOBODY,
        state: state(after),
        uid: 0,
        gid: 0,
        login_uid: 0,
        tid: 0,
        exec_seq: 0,
        reserved: 0,
        comm: [0; 16],
        tty: [0; 16],
    }
}

/// A call `op` that made `before` into `after`, with these strings: source, target, file system type.
pub fn call(op: u32, call_flags: u64, before: &PrivilegeState, after: &PrivilegeState, texts: [&str; 3]) -> EventKind {
    let [source_len, target_len, type_len] = texts.map(|text| text.len() as u16);
    let fixed = probes::privilege::Privilege {
        header: header(probes::privilege::kind::PRIVILEGE),
        task: task(after),
        before: state(before),
        target_process: Ref { start_boottime: 5, tgid: 1, reserved: 0 },
        ret: 0,
        call_flags,
        target_dev: 0x0080_0001,
        op,
        source_len,
        target_len,
        type_len,
        cwd_len: 0,
    };
    decoded(fixed, texts.concat().as_bytes())
}

/// A change `op` of a connection that this side opened from 10.0.0.1:4000 to 10.0.0.9:443.
pub fn connection(op: u32) -> EventKind {
    let address = |last| [10, 0, 0, last, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let fixed = probes::network::Network {
        header: header(probes::network::kind::NETWORK),
        task: task(&PrivilegeState::default()),
        opened_boot_ns: 5,
        bytes_sent: 1,
        bytes_received: 2,
        local: address(1),
        remote: address(9),
        local_port: 4_000,
        remote_port: 443,
        family: 2,
        outbound: 1,
        tcp_state: 7,
        op,
        ret: 0,
    };
    decoded(fixed, &[])
}

/// The connection ended.
pub fn closed() -> EventKind {
    connection(network_op::CLOSE)
}

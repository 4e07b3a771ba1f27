//! TCP connections. `bpf/network.bpf.c`.

use super::{BpfProgram, Concern, MapSize, Need, Probe, kinds};
use crate::hook::Hook;
use crate::records::{Header, Task, constants, layouts};

/// Its declaration.
pub const CONCERN: Concern = Concern {
    name: "network",
    probes: &[
        Probe {
            name: "connections",
            need: Need::Optional,
            depends_on: None,
            activities: &["connect", "accept", "listen", "close"],
            programs: &[
                // A run that the kernel skips loses nothing: `bpf/network.bpf.c` says why.
                BpfProgram { skipped_is_lost: false, ..BpfProgram::new("socket_owner", STATE) },
                BpfProgram::new("socket_progress", STATE),
            ],
        },
        // They correct or complete what the state changes show, and would misread sockets without them.
        call(
            "accept",
            // When the other side resets a connection, its close shows the process that accepted it, remembered here.
            &["accept", "close"],
            &[
                BpfProgram::new("exit_accept", Hook::Syscall("sys_exit_accept")),
                BpfProgram::new("exit_accept4", Hook::Syscall("sys_exit_accept4")),
            ],
        ),
        call("connect", &["connect"], &[BpfProgram::new("exit_connect", Hook::Syscall("sys_exit_connect"))]),
        call("listen", &["listen"], &[BpfProgram::new("exit_listen", Hook::Syscall("sys_exit_listen"))]),
    ],
    records: RECORDS,
    kinds: KINDS,
    layouts: LAYOUTS,
    enums: ENUMS,
    maps: &[MapSize { map: "sockets", entries: |options| options.sockets }],
};

const STATE: Hook = Hook::Tracepoint("inet_sock_set_state");

const fn call(name: &'static str, activities: &'static [&'static str], programs: &'static [BpfProgram]) -> Probe {
    Probe { name, need: Need::Optional, depends_on: Some("connections"), activities, programs }
}

kinds! {
    "kt_network_kind" {
        /// A TCP connection changed.
        NETWORK = 6, "network", Network, Dropped;
    }
}

layouts! {
    /// [`kind::NETWORK`]: a TCP connection changed.
    Network = "kt_network" {
        /// Starts the record.
        header: Header,
        /// The process, as it was when it became known; all zero with [`crate::records::flags::OWNER_UNKNOWN`].
        task: Task,
        /// When it was opened, CLOCK_BOOTTIME ns; 0 when before the collector.
        opened_boot_ns: u64,
        /// Payload bytes sent; at close.
        bytes_sent: u64,
        /// Payload bytes received; at close.
        bytes_received: u64,
        /// Local address; 4 or 16 bytes of it, by `family`.
        local: [u8; 16],
        /// Remote address.
        remote: [u8; 16],
        /// Local port.
        local_port: u16,
        /// Remote port.
        remote_port: u16,
        /// 2 (AF_INET) or 10 (AF_INET6).
        family: u16,
        /// 1 when this side opened it.
        outbound: u8,
        /// State after the event (include/net/tcp_states.h).
        tcp_state: u8,
        /// One of [`network_op`].
        op: u32,
        /// For a connect that failed, minus the errno.
        ret: i32,
    }
}

constants! {
    /// Changes of [`Network`].
    network_op = "kt_network_op" {
        /// This side opened it, or tried to.
        CONNECT = 1,
        /// The other side opened it.
        ACCEPT = 2,
        /// A socket listens.
        LISTEN = 3,
        /// It ended.
        CLOSE = 4,
    }
}

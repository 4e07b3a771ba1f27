//! `network_flows`: connections.

mod to_ecs;
mod to_ocsf;

use super::{Declaration, Unknown};
use crate::activity::{RecordCode, activities};
use crate::cell::Micros;
use crate::columns::columns;
use crate::mapping::ecs;
use crate::mapping::ocsf;
use crate::sentence::Sentence;

pub(super) static DECLARATION: Declaration = Declaration {
    name: "network_flows",
    meaning: "Network connections.",
    number: 4,
    has_actor: true,
    in_timeline: true,
    in_finding: Sentence("[{activity|} to {dst_ip} port {dst_port|0} by `{command}`]"),
    activities: ACTIVITIES,
    unknown: Unknown {
        ocsf: ocsf::Classification { class: &ocsf::NETWORK, activity: ocsf::OTHER },
        ecs_category: &["network"],
        ecs_type: &["info"],
        sentence: Sentence("{activity} {source|unknown} -> {destination|unknown}[ {protocol}]"),
    },
    ocsf: to_ocsf::MAPPING,
    ecs: to_ecs::MAPPING,
};

columns! {
    /// Own columns of `network_flows`.
    NetworkColumns, NetworkColumnsBuilder {
        protocol: String = "`TCP`",
        direction: String = "`outbound` or `inbound`",
        src_ip: String = "address that opened the connection",
        src_port: i32 = "port that opened the connection",
        dst_ip: String = "address that was connected to",
        dst_port: i32 = "port that was connected to",
        bytes_out: i64 = "bytes sent by the actor's side",
        bytes_in: i64 = "bytes received by the actor's side",
        start_time: Micros = "when the connection was opened, UTC",
        end_time: Micros = "when it was closed, UTC",
        tcp_state: String = "TCP state at the event",
        ret: i64 = "result of a connect: 0, or minus the errno",
    }
}

activities! {
    NetworkFlows:
    /// A process opened a connection, or failed to.
    CONNECT = "connect" {
        records: &[RecordCode { kind: 6, op: 1 }],
        ocsf: ocsf::Classification { class: &ocsf::NETWORK, activity: "Open" },
        ecs: ecs::Classification { category: &["network"], kind: &["start", "connection"], action: "connection_attempted" },
        sigma: &["network_connection"],
        sentence: Sentence("connect to {destination|unknown}[ {protocol}]"),
        boundary: None,
    }
    /// A process accepted a connection.
    ACCEPT = "accept" {
        records: &[RecordCode { kind: 6, op: 2 }],
        ocsf: ocsf::Classification { class: &ocsf::NETWORK, activity: "Open" },
        ecs: ecs::Classification { category: &["network"], kind: &["start", "connection"], action: "connection_accepted" },
        sigma: &["network_connection"],
        sentence: Sentence("accepted from {source|unknown} on {destination|unknown}[ {protocol}]"),
        boundary: None,
    }
    /// A process began to listen for connections.
    LISTEN = "listen" {
        records: &[RecordCode { kind: 6, op: 3 }],
        ocsf: ocsf::Classification { class: &ocsf::NETWORK, activity: "Listen" },
        ecs: ecs::Classification { category: &["network"], kind: &["info"], action: "listen" },
        sigma: &[],
        sentence: Sentence("listen on {listener|unknown}[ {protocol}]"),
        boundary: None,
    }
    /// A connection ended.
    CLOSE = "close" {
        records: &[RecordCode { kind: 6, op: 4 }],
        ocsf: ocsf::Classification { class: &ocsf::NETWORK, activity: "Close" },
        ecs: ecs::Classification { category: &["network"], kind: &["end", "connection"], action: "disconnect_received" },
        sigma: &[],
        sentence: Sentence("closed {source|unknown} -> {destination|unknown}[ {protocol}]{traffic}"),
        boundary: None,
    }
}

//! Changes of connections.

use std::net::{IpAddr, SocketAddr};

use kerntrail_schemas::tables::NetworkColumns;

use super::*;
use crate::decode::network::tcp_state;

fn network(bytes: &[u8]) -> (&'static str, NetworkColumns) {
    let row = row(bytes);
    (row.activity.name, row.columns.try_into().unwrap())
}

fn octets(ip: IpAddr) -> (u16, [u8; 16]) {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            (2, [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        }
        IpAddr::V6(ip) => (10, ip.octets()),
    }
}

/// The columns of a change between two ends, at 9 ms.
fn between(op: u32, outbound: bool, local: &str, remote: &str) -> NetworkColumns {
    let end = |text: &str| text.parse::<SocketAddr>().map(|end| (octets(end.ip()), end.port())).unwrap();
    let (((family, local), local_port), ((_, remote), remote_port)) = (end(local), end(remote));
    let fixed = Network {
        header: Header { boot_ns: 9_000_000, ..header(NETWORK, 0) },
        op,
        outbound: outbound.into(),
        family,
        local,
        local_port,
        remote,
        remote_port,
        bytes_sent: 5,
        bytes_received: 6,
        opened_boot_ns: 4_000_000,
        tcp_state: 1,
        ..connection()
    };
    network(&record(fixed, &[])).1
}

#[test]
fn addresses_of_both_families() {
    let v4 = [127, 0, 0, 1, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9];
    let v6 = Ipv6Addr::LOCALHOST.octets();
    let mapped = Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped().octets();
    for (family, bytes, local) in [(2, v4, "127.0.0.1"), (10, v6, "::1"), (10, mapped, "10.0.0.1")] {
        let (activity, columns) = network(&network_record(network_op::CLOSE, family, bytes));
        assert_eq!((columns.src_ip.as_deref(), columns.src_port), (Some(local), Some(80)));
        assert_eq!((activity, columns.ret, columns.dst_port), ("close", None, Some(1024)));
        assert_eq!((columns.bytes_out, columns.bytes_in, columns.start_time), (Some(6), Some(7), Some(Micros(1_000))));
    }
    let (_, columns) = network(&network_record(network_op::CONNECT, 2, v4));
    assert_eq!(columns.ret, Some(-111));
}

#[test]
fn the_owner_of_a_connection_may_have_changed_since() {
    let event = decode(&network_record(network_op::CLOSE, 2, [0; 16])).unwrap();
    assert!(matches!(event.kind, EventKind::Other { task_is_current: false, .. }));
}

#[test]
fn source_and_destination_of_a_connection() {
    use network_op::{ACCEPT, CLOSE, CONNECT, LISTEN};
    let ends = |columns: &NetworkColumns| {
        let end =
            |ip: &Option<String>, port: Option<i32>| format!("{}:{}", ip.as_deref().unwrap_or("-"), port.unwrap_or(-1));
        format!("{} > {}", end(&columns.src_ip, columns.src_port), end(&columns.dst_ip, columns.dst_port))
    };
    let cases = [
        (CONNECT, true, "10.0.0.1:4000", "10.0.0.2:443", "10.0.0.1:4000 > 10.0.0.2:443"),
        (ACCEPT, false, "10.0.0.1:80", "10.0.0.2:5000", "10.0.0.2:5000 > 10.0.0.1:80"),
        (LISTEN, false, "0.0.0.0:80", "0.0.0.0:0", "-:-1 > 0.0.0.0:80"),
        (LISTEN, false, "[::]:80", "[::]:0", "-:-1 > :::80"),
        (CONNECT, true, "[::ffff:10.0.0.1]:4000", "[::ffff:10.0.0.2]:443", "10.0.0.1:4000 > 10.0.0.2:443"),
        (CONNECT, true, "0.0.0.0:0", "10.0.0.2:443", "-:-1 > 10.0.0.2:443"),
        (CONNECT, true, "0.0.0.0:0", "0.0.0.0:443", "-:-1 > 0.0.0.0:443"),
        (CLOSE, false, "[::]:80", "[::]:0", "-:-1 > :::80"),
    ];
    for (op, outbound, local, remote, expected) in cases {
        assert_eq!(ends(&between(op, outbound, local, remote)), expected);
    }
}

#[test]
fn a_close_has_bytes_and_end_time_and_a_connect_has_a_result() {
    let close = between(network_op::CLOSE, true, "10.0.0.1:1", "10.0.0.2:2");
    assert_eq!((close.bytes_out, close.bytes_in, close.ret), (Some(5), Some(6), None));
    assert_eq!((close.start_time, close.end_time), (Some(Micros(5_000)), Some(Micros(10_000))));
    let connect = between(network_op::CONNECT, true, "10.0.0.1:1", "10.0.0.2:2");
    assert_eq!((connect.bytes_out, connect.end_time, connect.ret), (None, None, Some(-111)));
}

#[test]
fn tcp_states() {
    for (state, name) in [(0, None), (1, Some("ESTABLISHED")), (2, Some("SYN_SENT")), (10, Some("LISTEN")), (13, None)]
    {
        assert_eq!(tcp_state(state), name);
    }
}

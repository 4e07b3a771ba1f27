//! Changes of TCP connections, as rows of `network_flows`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use kerntrail_ebpf::probes::network::{Network, kind, network_op};
use kerntrail_ebpf::records;
use kerntrail_schemas::tables::NetworkColumns;

use super::{Context, DecodeError, Decoder, Raw};
use crate::event::{EventKind, EventRow};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

pub(super) const DECODER: Decoder = Decoder { kinds: &[kind::NETWORK], decode };

fn decode(raw: Raw<'_>, context: Context<'_>) -> Result<(records::Task, EventKind), DecodeError> {
    let (network, _) = raw.parts::<Network>()?;
    let activity = raw.activity(network.op)?;
    let address = |bytes: &[u8; 16]| match network.family {
        AF_INET => Ok(IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]))),
        // A socket for both families holds v4 addresses as ::ffff:a.b.c.d.
        AF_INET6 => Ok(IpAddr::V6(Ipv6Addr::from(*bytes)).to_canonical()),
        family => Err(raw.unknown("family", family.into())),
    };
    let local = (address(&network.local)?, network.local_port);
    let remote = (address(&network.remote)?, network.remote_port);
    let columns = columns(&network, local, remote, raw.header.boot_ns, context);
    // The record has its process as it was when the socket became known.
    Ok((network.task, EventKind::Other { row: EventRow::new(activity, columns), task_is_current: false }))
}

/// Address and port of one end.
type End = (IpAddr, u16);

fn columns(
    network: &Network,
    local: End,
    remote: End,
    boot_ns: u64,
    Context { clock, .. }: Context<'_>,
) -> NetworkColumns {
    let outbound = network.outbound != 0;
    let (opener, other) = if outbound { (local, remote) } else { (remote, local) };
    let closed = network.op == network_op::CLOSE;
    // A listener has no peer, and a socket without a port is not bound; with a port, the unspecified address is a value.
    let address = |(ip, port): End| (!ip.is_unspecified() || port != 0).then(|| ip.to_string());
    let port = |(_, port): End| (port != 0).then_some(i32::from(port));
    NetworkColumns {
        protocol: Some("TCP".into()),
        direction: Some(if outbound { "outbound" } else { "inbound" }.into()),
        src_ip: address(opener),
        src_port: port(opener),
        dst_ip: address(other),
        dst_port: port(other),
        bytes_out: closed.then_some(network.bytes_sent.cast_signed()),
        bytes_in: closed.then_some(network.bytes_received.cast_signed()),
        start_time: (network.opened_boot_ns != 0).then(|| clock.utc(network.opened_boot_ns)),
        end_time: closed.then(|| clock.utc(boot_ns)),
        tcp_state: tcp_state(network.tcp_state).map(Into::into),
        ret: (network.op == network_op::CONNECT).then_some(i64::from(network.ret)),
    }
}

/// Name of a TCP state (include/net/tcp_states.h).
pub(super) fn tcp_state(state: u8) -> Option<&'static str> {
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

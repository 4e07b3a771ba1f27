//! Rows of `network_flows`: from the older connection events, and from calls that have a socket.
//!
//! `src_*` is the side that opened the connection. A closed connection does not tell which one did; then this side is
//! the source and `direction` stays unknown. A listener is the destination of what will come.

use std::net::IpAddr;

use kerntrail_schemas::tables::NetworkColumns;

use super::process::{fit, owned};
use super::record::{Body, Kind, MaybeText, Number, SockArg, SockaddrArg, given};
use crate::import::format::Refusal;

/// An end of a connection.
#[derive(Clone, Debug, Default)]
struct End {
    ip: Option<String>,
    port: Option<i32>,
}

impl End {
    fn new(field: &str, ip: &MaybeText<'_>, port: Option<Number>) -> Result<Self, Refusal> {
        let port = fit::<u16>(field, port)?.filter(|port| *port != 0).map(i32::from);
        Ok(Self { ip: given(ip).map(canonical), port })
    }

    /// The end of a connection: no address is an unknown one there.
    fn connected(mut self) -> Self {
        self.ip = self.ip.filter(|ip| ip.parse().map_or(true, |ip: IpAddr| !ip.is_unspecified()));
        self
    }
}

/// An address of IPv4 inside of IPv6 is one of IPv4.
fn canonical(ip: &str) -> String {
    ip.parse().map_or_else(|_| ip.to_owned(), |ip: IpAddr| ip.to_canonical().to_string())
}

/// What happened to a connection, as an activity.
pub(crate) fn activity(kind: Kind) -> &'static str {
    match kind {
        Kind::Accept => "accept",
        Kind::Listen => "listen",
        Kind::Close => "close",
        _ => "connect",
    }
}

/// The row of this side and the other.
fn flow(kind: Kind, this: End, other: End) -> NetworkColumns {
    let (direction, src, dst) = match kind {
        Kind::Accept => (Some("inbound"), other.connected(), this.connected()),
        Kind::Listen => (Some("inbound"), End::default(), this),
        Kind::Close => (None, this.connected(), other.connected()),
        _ => (Some("outbound"), this.connected(), other.connected()),
    };
    NetworkColumns {
        direction: direction.map(str::to_owned),
        src_ip: src.ip,
        src_port: src.port,
        dst_ip: dst.ip,
        dst_port: dst.port,
        ..NetworkColumns::default()
    }
}

/// The row of a `process_connect`, `process_accept`, `process_listen` or `process_close`.
pub(crate) fn connection(kind: Kind, body: &Body<'_>) -> Result<NetworkColumns, Refusal> {
    let source = End::new("source_port", &body.source_ip, body.source_port)?;
    let destination = End::new("destination_port", &body.destination_ip, body.destination_port)?;
    let mut row = match kind {
        Kind::Listen => flow(kind, End::new("port", &body.ip, body.port)?, End::default()),
        // Taken as named: the source is who opened the connection.
        Kind::Accept => flow(kind, destination, source),
        _ => flow(kind, source, destination),
    };
    row.protocol = owned(&body.protocol);
    if let Some(stats) = &body.stats {
        row.bytes_out = fit("stats.bytes_sent", stats.bytes_sent)?;
        row.bytes_in = fit("stats.bytes_received", stats.bytes_received)?;
    }
    Ok(row)
}

/// The row of a call on a socket.
pub(crate) fn socket(kind: Kind, socket: &SockArg<'_>) -> Result<NetworkColumns, Refusal> {
    let this = End::new("sock_arg.sport", &socket.saddr, socket.sport)?;
    let other = End::new("sock_arg.dport", &socket.daddr, socket.dport)?;
    let mut row = flow(kind, this, other);
    row.protocol = given(&socket.protocol).map(|name| name.trim_start_matches("IPPROTO_").to_owned());
    row.tcp_state = given(&socket.state).map(|name| name.trim_start_matches("TCP_").to_owned());
    Ok(row)
}

/// The row of a connect to an address, without the socket's own.
pub(crate) fn address(address: &SockaddrArg<'_>) -> Result<NetworkColumns, Refusal> {
    let other = End::new("sockaddr_arg.port", &address.addr, address.port)?;
    Ok(flow(Kind::Connect, End::default(), other))
}

/// Whether a socket's protocol is the one that the table is about; Tetragon may not tell.
pub(crate) fn is_tcp(socket: &SockArg<'_>) -> bool {
    match given(&socket.protocol) {
        Some(protocol) => protocol == "IPPROTO_TCP",
        None => given(&socket.r#type).is_none_or(|kind| kind == "SOCK_STREAM"),
    }
}

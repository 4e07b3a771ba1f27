//! Values of events that take more than a place among the arguments; the mapping tables name these functions.

use std::net::IpAddr;

use super::argument::TetragonEvent;
use super::names;
use super::process::has_flag;
use super::record::{BinaryFile, Credentials, Process, SockArg, SockaddrArg};
use crate::import::format::RecordRefusal;
use crate::import::json::{MaybeText, Number, fit, given, id};
use crate::import::mapping::{ColumnValue, FoundValue};

fn text(text: Option<&str>) -> FoundValue {
    Ok(text.map(|text| ColumnValue::Text(text.to_owned())))
}

fn number(number: Option<impl Into<i64>>) -> FoundValue {
    Ok(number.map(|number| ColumnValue::Number(number.into())))
}

/// When it happened.
pub(super) fn time(event: &TetragonEvent<'_>) -> FoundValue {
    Ok(Some(ColumnValue::Time(event.time)))
}

// Programs: `process_exec` and `process_exit`.

fn process<'a>(event: &TetragonEvent<'a>) -> Option<&'a Process<'a>> {
    event.body.process.as_ref()
}

fn binary_file<'a>(event: &TetragonEvent<'a>) -> Option<&'a BinaryFile<'a>> {
    process(event)?.binary_properties.as_ref()?.file.as_ref()
}

/// Whether the program ran already when Tetragon started.
pub(super) fn is_existing(event: &TetragonEvent<'_>) -> bool {
    process(event).and_then(|process| given(&process.flags)).is_some_and(|flags| has_flag(flags, "procFS"))
}

pub(super) fn binary_inode(event: &TetragonEvent<'_>) -> FoundValue {
    let inode = binary_file(event).and_then(|file| file.inode.as_ref()).and_then(|inode| inode.number);
    number(fit::<i64>("binary_properties.file.inode.number", inode)?)
}

pub(super) fn binary_memfd(event: &TetragonEvent<'_>) -> FoundValue {
    let in_memory = |path: &str| path.trim_start_matches('/').starts_with("memfd:");
    Ok(match binary_file(event) {
        Some(file) => given(&file.path).map(in_memory),
        None => process(event).and_then(|process| given(&process.binary)).map(in_memory).filter(|memfd| *memfd),
    }
    .map(ColumnValue::Flag))
}

fn signal(event: &TetragonEvent<'_>) -> Result<Option<i32>, RecordRefusal> {
    let known =
        |name: &str| names::signal(name).ok_or_else(|| RecordRefusal::content(format!("signal {name:?} is not known")));
    given(&event.body.signal).map(known).transpose()
}

pub(super) fn exit_signal(event: &TetragonEvent<'_>) -> FoundValue {
    number(signal(event)?)
}

pub(super) fn exit_code(event: &TetragonEvent<'_>) -> FoundValue {
    let status: Option<u8> = fit("status", event.body.status)?;
    // In protobuf's JSON a status of 0 is not written; a process that a signal ended has none.
    let ended_by_itself = signal(event)?.is_none();
    number(ended_by_itself.then_some(status.unwrap_or(0)))
}

// Changes of credentials.

pub(super) fn user_before(event: &TetragonEvent<'_>) -> FoundValue {
    number(event.actor.euid)
}

pub(super) fn capabilities_before(event: &TetragonEvent<'_>) -> FoundValue {
    number(event.actor.cap_effective)
}

fn credentials<'a>(event: &TetragonEvent<'a>) -> Option<&'a Credentials<'a>> {
    event.call.args.iter().find_map(|arg| arg.process_credentials_arg.as_ref())
}

pub(super) fn has_credentials(event: &TetragonEvent<'_>) -> bool {
    credentials(event).is_some()
}

fn new_user(event: &TetragonEvent<'_>) -> Result<Option<i32>, RecordRefusal> {
    id("process_credentials_arg.euid", credentials(event).and_then(|new| new.euid))
}

pub(super) fn credentials_change_user(event: &TetragonEvent<'_>) -> bool {
    // A user that is out of range is refused when the column is filled.
    has_credentials(event) && new_user(event).map_or(true, |user| user != event.actor.euid)
}

pub(super) fn credentials_user(event: &TetragonEvent<'_>) -> FoundValue {
    number(new_user(event)?)
}

pub(super) fn credentials_capabilities(event: &TetragonEvent<'_>) -> FoundValue {
    number(names::effective(credentials(event).and_then(|new| new.caps.as_ref())))
}

pub(super) fn capabilities_set(event: &TetragonEvent<'_>) -> FoundValue {
    number(event.call.args.iter().find_map(|arg| names::hexadecimal(&arg.cap_effective_arg)))
}

// What was loaded into the kernel.

pub(super) fn module_name(event: &TetragonEvent<'_>) -> FoundValue {
    let module = event.call.args.iter().find_map(|arg| arg.module_arg.as_ref());
    let name = module.and_then(|module| given(&module.name)).map(str::to_owned);
    Ok(name.or_else(|| event.call.text(0)).map(ColumnValue::Text))
}

pub(super) fn program_name(event: &TetragonEvent<'_>) -> FoundValue {
    let program = event.call.args.iter().find_map(|arg| arg.bpf_attr_arg.as_ref().or(arg.bpf_prog_arg.as_ref()));
    text(program.and_then(|program| given(&program.prog_name)))
}

// Files.

/// The first number after the file: the mask of `file_permission`, the protection of `mmap_file`.
fn after_file(event: &TetragonEvent<'_>) -> i64 {
    event.call.after_text(0).unwrap_or_default()
}

/// `MAY_WRITE` or `MAY_APPEND` (linux/fs.h).
pub(super) fn mask_has_write(event: &TetragonEvent<'_>) -> bool {
    after_file(event) & (2 | 8) != 0
}

/// `MAY_READ`.
pub(super) fn mask_has_read(event: &TetragonEvent<'_>) -> bool {
    after_file(event) & 4 != 0
}

/// `PROT_WRITE`, and the mapping is `MAP_SHARED`, so that what is written to it reaches the file.
pub(super) fn maps_for_writing(event: &TetragonEvent<'_>) -> bool {
    after_file(event) & 2 != 0 && event.call.after_text(1).is_none_or(|flags| flags & 1 != 0)
}

pub(super) fn has_protection(event: &TetragonEvent<'_>) -> bool {
    event.call.after_text(0).is_some()
}

/// The bytes read or written where that is known, else those asked for.
pub(super) fn transferred(event: &TetragonEvent<'_>) -> FoundValue {
    number(event.call.return_value().filter(|bytes| *bytes >= 0).or(event.call.after_text(0)))
}

// Connections.

/// The port; 0 means that there is none.
fn port(field: &str, value: Option<Number>) -> FoundValue {
    number(fit::<u16>(field, value)?.filter(|port| *port != 0))
}

/// The address as text; an address of IPv4 inside IPv6 is one of IPv4.
fn address(ip: &MaybeText<'_>) -> FoundValue {
    let canonical = |ip: &str| ip.parse().map_or_else(|_| ip.to_owned(), |ip: IpAddr| ip.to_canonical().to_string());
    Ok(given(ip).map(canonical).map(ColumnValue::Text))
}

/// The address of an end of a connection: `0.0.0.0` and `::` stand for an unknown one there.
fn connected(ip: &MaybeText<'_>) -> FoundValue {
    let unspecified =
        given(ip).and_then(|ip| ip.parse().ok()).is_some_and(|ip: IpAddr| ip.to_canonical().is_unspecified());
    if unspecified { Ok(None) } else { address(ip) }
}

pub(super) fn source_ip(event: &TetragonEvent<'_>) -> FoundValue {
    connected(&event.body.source_ip)
}

pub(super) fn source_port(event: &TetragonEvent<'_>) -> FoundValue {
    port("source_port", event.body.source_port)
}

pub(super) fn destination_ip(event: &TetragonEvent<'_>) -> FoundValue {
    connected(&event.body.destination_ip)
}

pub(super) fn destination_port(event: &TetragonEvent<'_>) -> FoundValue {
    port("destination_port", event.body.destination_port)
}

pub(super) fn listening_address(event: &TetragonEvent<'_>) -> FoundValue {
    address(&event.body.ip)
}

pub(super) fn listening_port(event: &TetragonEvent<'_>) -> FoundValue {
    port("port", event.body.port)
}

pub(super) fn protocol(event: &TetragonEvent<'_>) -> FoundValue {
    text(given(&event.body.protocol))
}

pub(super) fn bytes_sent(event: &TetragonEvent<'_>) -> FoundValue {
    number(fit::<i64>("stats.bytes_sent", event.body.stats.as_ref().and_then(|stats| stats.bytes_sent))?)
}

pub(super) fn bytes_received(event: &TetragonEvent<'_>) -> FoundValue {
    number(fit::<i64>("stats.bytes_received", event.body.stats.as_ref().and_then(|stats| stats.bytes_received))?)
}

/// The last socket among the arguments and the return value; its source is this side.
fn socket<'a>(event: &TetragonEvent<'a>) -> Option<&'a SockArg<'a>> {
    event.call.args.iter().chain(event.call.returned).filter_map(|arg| arg.sock_arg.as_ref()).next_back()
}

fn socket_address<'a>(event: &TetragonEvent<'a>) -> Option<&'a SockaddrArg<'a>> {
    event.call.args.iter().find_map(|arg| arg.sockaddr_arg.as_ref())
}

/// Whether there is a socket of TCP; Tetragon may omit the protocol.
pub(super) fn has_tcp_socket(event: &TetragonEvent<'_>) -> bool {
    socket(event).is_some_and(|socket| match given(&socket.protocol) {
        Some(protocol) => protocol == "IPPROTO_TCP",
        None => given(&socket.r#type).is_none_or(|kind| kind == "SOCK_STREAM"),
    })
}

pub(super) fn has_only_tcp_socket(event: &TetragonEvent<'_>) -> bool {
    socket_address(event).is_none() && has_tcp_socket(event)
}

/// Whether there is an address of IPv4 or IPv6; Tetragon may omit the family.
pub(super) fn has_internet_address(event: &TetragonEvent<'_>) -> bool {
    let internet =
        |address: &SockaddrArg<'_>| given(&address.family).is_none_or(|family| family.starts_with("AF_INET"));
    socket_address(event).is_some_and(internet)
}

pub(super) fn address_ip(event: &TetragonEvent<'_>) -> FoundValue {
    socket_address(event).map_or(Ok(None), |address| connected(&address.addr))
}

pub(super) fn address_port(event: &TetragonEvent<'_>) -> FoundValue {
    port("sockaddr_arg.port", socket_address(event).and_then(|address| address.port))
}

pub(super) fn local_ip(event: &TetragonEvent<'_>) -> FoundValue {
    socket(event).map_or(Ok(None), |socket| connected(&socket.saddr))
}

/// The address that a socket listens on; `0.0.0.0` and `::` stand for all.
pub(super) fn listening_ip(event: &TetragonEvent<'_>) -> FoundValue {
    socket(event).map_or(Ok(None), |socket| address(&socket.saddr))
}

pub(super) fn local_port(event: &TetragonEvent<'_>) -> FoundValue {
    port("sock_arg.sport", socket(event).and_then(|socket| socket.sport))
}

pub(super) fn remote_ip(event: &TetragonEvent<'_>) -> FoundValue {
    socket(event).map_or(Ok(None), |socket| connected(&socket.daddr))
}

pub(super) fn remote_port(event: &TetragonEvent<'_>) -> FoundValue {
    port("sock_arg.dport", socket(event).and_then(|socket| socket.dport))
}

pub(super) fn socket_protocol(event: &TetragonEvent<'_>) -> FoundValue {
    text(socket(event).and_then(|socket| given(&socket.protocol)).map(|name| name.trim_start_matches("IPPROTO_")))
}

pub(super) fn tcp_state(event: &TetragonEvent<'_>) -> FoundValue {
    text(socket(event).and_then(|socket| given(&socket.state)).map(|name| name.trim_start_matches("TCP_")))
}

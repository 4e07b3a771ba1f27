//! TCP connections, on the loopback or in a network namespace of a child's own.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use kerntrail_ebpf::probes::network::{Network, kind, network_op as op};
use kerntrail_ebpf::records::{flags, read};

use crate::live::{Live, assert_is_self, checked, header, refused};

const ESTABLISHED: u8 = 1;
const CLOSED: u8 = 7;

/// Local and remote address of a record.
fn addresses(network: &Network) -> (SocketAddr, SocketAddr) {
    let address = |bytes: [u8; 16], port: u16| {
        let ip: IpAddr = match network.family {
            2 => IpAddr::from([bytes[0], bytes[1], bytes[2], bytes[3]]),
            10 => IpAddr::from(bytes),
            family => panic!("family {family}"),
        };
        SocketAddr::new(ip, port)
    };
    (address(network.local, network.local_port), address(network.remote, network.remote_port))
}

/// Waits for the record about `local` (and `remote`, when given).
fn wait(live: &mut Live, op: u32, local: Option<SocketAddr>, remote: Option<SocketAddr>) -> Network {
    live.wait(&format!("network {op} {local:?} {remote:?}"), |records| {
        let networks = records.iter().filter(|record| header(record).kind == kind::NETWORK);
        networks.map(|record| read::<Network>(record).unwrap().0).find(|network| {
            let (found_local, found_remote) = addresses(network);
            network.op == op
                && local.is_none_or(|local| local == found_local)
                && remote.is_none_or(|remote| remote == found_remote)
        })
    })
}

fn a_connection_from_end_to_end(address: &str) {
    let Some(mut live) = Live::start() else { return };
    let listener = TcpListener::bind((address, 0)).unwrap();
    let server_address = listener.local_addr().unwrap();
    let mut client = TcpStream::connect(server_address).unwrap();
    let client_address = client.local_addr().unwrap();
    let (mut server, _) = listener.accept().unwrap();
    client.write_all(&[1; 1234]).unwrap();
    server.write_all(&[2; 777]).unwrap();
    client.read_exact(&mut [0; 777]).unwrap();
    server.read_exact(&mut [0; 1234]).unwrap();
    drop(client);
    assert_eq!(server.read(&mut [0]).unwrap(), 0);
    drop(server);
    drop(listener);

    let listen = wait(&mut live, op::LISTEN, Some(server_address), None);
    assert_eq!(listen.remote_port, 0);
    let connect = wait(&mut live, op::CONNECT, Some(client_address), Some(server_address));
    assert_eq!((connect.outbound, connect.ret, connect.tcp_state), (1, 0, ESTABLISHED));
    let accept = wait(&mut live, op::ACCEPT, Some(server_address), Some(client_address));
    assert_eq!((accept.outbound, accept.tcp_state), (0, ESTABLISHED));
    let client = wait(&mut live, op::CLOSE, Some(client_address), Some(server_address));
    assert_eq!((client.outbound, client.bytes_sent, client.bytes_received), (1, 1234, 777));
    let server = wait(&mut live, op::CLOSE, Some(server_address), Some(client_address));
    assert_eq!((server.outbound, server.bytes_sent, server.bytes_received), (0, 777, 1234));
    let end = wait(&mut live, op::CLOSE, Some(server_address), Some(SocketAddr::new(unspecified(server_address), 0)));
    for network in [listen, connect, accept, client, server, end] {
        assert_is_self(network.task.process);
        assert_eq!(network.header.flags, 0, "{network:?}");
    }
    // Opened before its record was made; the close has the time.
    assert!(client.opened_boot_ns != 0 && client.opened_boot_ns == connect.opened_boot_ns);
    assert!(connect.opened_boot_ns <= connect.header.boot_ns && connect.header.boot_ns <= client.header.boot_ns);
    assert!(server.opened_boot_ns != 0 && server.opened_boot_ns <= accept.header.boot_ns);
}

fn unspecified(address: SocketAddr) -> IpAddr {
    if address.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) }
}

#[test]
fn a_v4_connection() {
    a_connection_from_end_to_end("127.0.0.1");
}

#[test]
fn a_v6_connection() {
    if TcpListener::bind("[::1]:0").is_err() {
        assert!(std::env::var_os("CI").is_none(), "this machine has no ::1");
        eprintln!("skipped: this machine has no ::1");
        return;
    }
    a_connection_from_end_to_end("::1");
}

#[test]
fn the_process_that_closes_last_is_known_too() {
    let Some(mut live) = Live::start() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut server, client_address) = listener.accept().unwrap();
    server.write_all(b"bye").unwrap();
    let server_address = server.local_addr().unwrap();
    // Not read by the client: its close resets the connection.
    drop(client);
    let closed = wait(&mut live, op::CLOSE, Some(client_address), Some(server_address));
    assert_eq!((closed.bytes_sent, closed.bytes_received), (0, 3));
    let closed = wait(&mut live, op::CLOSE, Some(server_address), Some(client_address));
    assert_eq!((closed.bytes_sent, closed.bytes_received), (3, 0));
    assert_is_self(closed.task.process);
}

/// An address on which nobody listens.
fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn a_refused_connect_shows_its_error() {
    let Some(mut live) = Live::start() else { return };
    let nobody = closed_port();
    assert_eq!(TcpStream::connect(nobody).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    let connect = wait(&mut live, op::CONNECT, None, Some(nobody));
    assert_eq!((connect.ret, connect.tcp_state, connect.outbound), (-libc::ECONNREFUSED, CLOSED, 1));
    assert_ne!(connect.local_port, 0);
    assert_is_self(connect.task.process);
    // One attempt is one record.
    let marker = closed_port();
    TcpStream::connect(marker).unwrap_err();
    wait(&mut live, op::CONNECT, None, Some(marker));
    let networks = live.records.iter().filter(|record| header(record).kind == kind::NETWORK);
    let about = networks.map(|record| read::<Network>(record).unwrap().0).filter(|n| addresses(n).1 == nobody);
    assert_eq!(about.count(), 1);
}

#[test]
fn a_connect_in_progress_that_fails_later() {
    let Some(mut live) = Live::start() else { return };
    let nobody = closed_port();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let error = runtime.block_on(tokio::net::TcpStream::connect(nobody)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    let connect = wait(&mut live, op::CONNECT, None, Some(nobody));
    assert_eq!((connect.ret, connect.header.flags), (-libc::ECONNREFUSED, 0));
    assert_is_self(connect.task.process);
}

/// 127.0.0.1 for the raw calls of a child.
fn loopback(port: u16) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes([127, 0, 0, 1]) },
        sin_zero: [0; 8],
    }
}

#[test]
fn a_connect_that_fails_before_a_packet_is_sent() {
    let Some(mut live) = Live::start() else { return };
    let story = live.run_in_child(|| {
        let to = loopback(4444);
        // SAFETY: the address outlives the call; the network namespace is the child's own, with its loopback down.
        unsafe {
            checked(libc::unshare(libc::CLONE_NEWNET))?;
            let socket = checked(libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0))? as i32;
            let len = size_of::<libc::sockaddr_in>() as u32;
            refused(libc::connect(socket, (&raw const to).cast(), len), libc::ENETUNREACH)
        }
    });
    assert_eq!(story.network().len(), 1, "{story:?}");
    let connect = story.network()[0];
    assert_eq!((connect.op, connect.ret, connect.header.flags), (op::CONNECT, -libc::ENETUNREACH, 0));
    assert_eq!(addresses(&connect).1, "127.0.0.1:4444".parse().unwrap());
}

/// A socket for MPTCP, as Go makes them by default; `None` where the kernel has none.
fn mptcp_socket() -> Option<OwnedFd> {
    // SAFETY: a system call without pointers; what it returns is a descriptor of nobody else's.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, libc::IPPROTO_MPTCP);
        (socket >= 0).then(|| OwnedFd::from_raw_fd(socket))
    }
}

#[test]
fn both_ends_of_an_mptcp_connection_have_their_process() {
    let Some(mut live) = Live::start() else { return };
    let (Some(listener), Some(client)) = (mptcp_socket(), mptcp_socket()) else {
        eprintln!("skipped: this kernel has no MPTCP");
        return;
    };
    let at = loopback(0);
    let size = size_of::<libc::sockaddr_in>() as u32;
    // SAFETY: the address outlives the call; the descriptor is the listener's.
    unsafe {
        checked(libc::bind(listener.as_raw_fd(), (&raw const at).cast(), size)).unwrap();
        checked(libc::listen(listener.as_raw_fd(), 5)).unwrap();
    }
    let listener = TcpListener::from(listener);
    let server_address = listener.local_addr().unwrap();
    let to = loopback(server_address.port());
    // SAFETY: the address outlives the call.
    unsafe { checked(libc::connect(client.as_raw_fd(), (&raw const to).cast(), size)) }.unwrap();
    let mut client = TcpStream::from(client);
    let client_address = client.local_addr().unwrap();
    let (mut server, _) = listener.accept().unwrap();
    client.write_all(&[1; 99]).unwrap();
    server.read_exact(&mut [0; 99]).unwrap();
    drop(client);
    assert_eq!(server.read(&mut [0]).unwrap(), 0);
    drop(server);
    for (op, local, remote) in [
        (op::CONNECT, client_address, server_address),
        (op::ACCEPT, server_address, client_address),
        (op::CLOSE, client_address, server_address),
        (op::CLOSE, server_address, client_address),
    ] {
        let network = wait(&mut live, op, Some(local), Some(remote));
        assert_is_self(network.task.process);
        assert_eq!(network.header.flags, 0, "{network:?}");
    }
}

#[test]
fn a_listener_without_bind_has_a_port() {
    let Some(mut live) = Live::start() else { return };
    let story = live.run_in_child(|| {
        // SAFETY: system calls without pointers; the network namespace is the child's own.
        unsafe {
            checked(libc::unshare(libc::CLONE_NEWNET))?;
            let socket = checked(libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0))? as i32;
            checked(libc::listen(socket, 1))?;
        }
        Ok(())
    });
    let ops: Vec<_> = story.network().iter().map(|network| network.op).collect();
    assert_eq!(ops, [op::LISTEN, op::CLOSE]);
    assert_ne!(story.network()[0].local_port, 0);
    assert_eq!(story.network()[0].local_port, story.network()[1].local_port);
}

#[test]
fn a_connection_from_before_the_start_is_seen_at_its_end() {
    if !crate::live::allowed() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, client_address) = listener.accept().unwrap();
    let server_address = server.local_addr().unwrap();
    let Some(mut live) = Live::start() else { return };
    // SAFETY: ends the sending side of a socket that lives here.
    checked(unsafe { libc::shutdown(client.as_raw_fd(), libc::SHUT_WR) }).unwrap();
    drop(server);
    drop(client);
    let closed = wait(&mut live, op::CLOSE, Some(client_address), Some(server_address));
    assert_is_self(closed.task.process);
    assert_eq!((closed.opened_boot_ns, closed.header.flags & flags::OWNER_UNKNOWN), (0, 0));
}

//! Forwards connections from 127.0.0.1 of the machine to the node's API server in its network namespace.
//!
//! A socket belongs to the network namespace that its thread was in when it created it. So one thread moves into the
//! node's namespace and opens the inner connections; any thread may copy the bytes.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::port::Port;

const API: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 6443);

/// The listener. Dropping it ends its threads; open connections end with the node.
#[derive(Debug)]
pub(super) struct Proxy {
    port: Port,
    stop: Arc<AtomicBool>,
}

impl Proxy {
    /// Listens on a free port, for the API server in the network namespace of process `pid`.
    pub(super) fn start(pid: u32) -> Result<Self> {
        let port = Port::reserve()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port.number())).context("listen for the API server")?;
        let path = format!("/proc/{pid}/ns/net");
        let namespace = File::open(&path).with_context(|| format!("open {path}"))?;
        // While 16 clients wait for their connection, further ones wait in the kernel's queue.
        let (sender, receiver) = sync_channel(16);
        let (moved, outcome) = sync_channel(1);
        thread::spawn(move || {
            let entered = enter(&namespace);
            let go_on = entered.is_ok();
            if moved.send(entered).is_ok() && go_on {
                connect(&receiver);
            }
        });
        outcome.recv().context("the proxy's thread ended")?.with_context(|| format!("enter {path}"))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        thread::spawn(move || accept(&listener, &sender, &stopped));
        Ok(Self { port, stop })
    }

    pub(super) fn port(&self) -> u16 {
        self.port.number()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which then ends, and the connecting thread with it.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port()));
    }
}

fn enter(namespace: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open during the call. Only the calling thread moves, and it does nothing else.
    match unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn accept(listener: &TcpListener, sender: &SyncSender<TcpStream>, stopped: &AtomicBool) {
    for client in listener.incoming() {
        if stopped.load(Ordering::SeqCst) {
            return;
        }
        if let Ok(client) = client
            && sender.send(client).is_err()
        {
            return;
        }
    }
}

fn connect(clients: &Receiver<TcpStream>) {
    for client in clients {
        // When this fails, the client's connection is closed, as if there were no server.
        if let Ok(server) = TcpStream::connect_timeout(&API, Duration::from_secs(30)) {
            let _ = carry(client, server);
        }
    }
}

fn carry(client: TcpStream, server: TcpStream) -> io::Result<()> {
    for (mut from, mut to) in [(client.try_clone()?, server.try_clone()?), (server, client)] {
        thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
            let _ = from.shutdown(Shutdown::Read);
        });
    }
    Ok(())
}

//! Ports of 127.0.0.1 that stay reserved for one owner, so that a server can be restarted on its port.
//!
//! They are below the kernel's ephemeral range: otherwise a client that keeps connecting to the port of a stopped
//! server could get that very port as its source port and connect to itself. A locked file per port keeps other test
//! processes of the same user away; the lock ends with the process.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context, Result, bail};
use kerntrail_common::lock::FileLock;

use crate::cache;

const FIRST: u16 = 20_000;
const COUNT: u16 = 10_000;

/// A reserved port. Dropping it releases the port.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: FileLock,
}

impl Port {
    /// Reserves a port on which nothing is listening.
    pub fn reserve() -> Result<Self> {
        let folder = cache::root()?.join("ports");
        // Processes start their search at different ports, so that they seldom try the same one.
        let start = std::process::id() as u16 % COUNT;
        for step in 0..COUNT {
            let number = FIRST + (start + step) % COUNT;
            let path = folder.join(number.to_string());
            let lock = FileLock::try_take(&path).with_context(|| format!("lock {}", path.display()))?;
            if let Some(lock) = lock
                && TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok()
            {
                return Ok(Self { number, _lock: lock });
            }
        }
        bail!("no free port from {FIRST} to {}", FIRST + COUNT - 1)
    }

    /// The port's number.
    pub fn number(&self) -> u16 {
        self.number
    }
}

impl std::fmt::Display for Port {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.number.fmt(formatter)
    }
}

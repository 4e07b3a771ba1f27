//! Finds processes whose exit was lost: procfs no longer lists them.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;

/// Least time between two checks, ns.
const INTERVAL_NS: u64 = 30_000_000_000;

/// Decides when to check.
#[derive(Debug, Default)]
pub(crate) struct Reaper {
    wanted: bool,
    last_ns: u64,
}

impl Reaper {
    /// Something was lost, or the table is full: check soon.
    pub(crate) fn want(&mut self) {
        self.wanted = true;
    }

    /// Whether to check now; at most twice a minute.
    pub(crate) fn is_due(&mut self, now_ns: u64) -> bool {
        let due = self.wanted && (self.last_ns == 0 || now_ns.saturating_sub(self.last_ns) >= INTERVAL_NS);
        if due {
            self.wanted = false;
            self.last_ns = now_ns;
        }
        due
    }
}

/// Thread group ids in `procfs`.
///
/// Errors: it cannot be listed, or lists no process: then it is not a procfs.
pub(crate) fn alive(procfs: &Path) -> io::Result<HashSet<u32>> {
    let mut alive = HashSet::new();
    for entry in fs::read_dir(procfs)? {
        alive.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    if alive.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(alive) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive() {
        assert!(alive(Path::new("/proc")).unwrap().contains(&std::process::id()));
        assert!(alive(tempfile::tempdir().unwrap().path()).is_err());
    }

    #[test]
    fn reaping_is_rate_limited() {
        let mut reaper = Reaper::default();
        assert!(!reaper.is_due(1), "nobody asked");
        reaper.want();
        assert!(reaper.is_due(1));
        reaper.want();
        assert!(!reaper.is_due(INTERVAL_NS));
        assert!(reaper.is_due(1 + INTERVAL_NS));
        assert!(!reaper.is_due(u64::MAX));
    }
}

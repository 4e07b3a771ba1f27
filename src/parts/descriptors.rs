//! File descriptors: as many as this user may have, and a part of them for clients.

use std::io;

/// Part of the descriptors that connections of clients may take; the others are for storage, rules and sinks.
const FOR_CLIENTS: u64 = 4;

/// Raises the limit of this process to the highest allowed; returns how many of its descriptors clients may take.
pub fn raise() -> io::Result<usize> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: fills a structure that outlives the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: reads a valid structure, and keeps no pointer to it.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(limit.rlim_cur / FOR_CLIENTS).unwrap_or(usize::MAX))
}

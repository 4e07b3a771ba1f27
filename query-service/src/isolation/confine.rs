//! How much memory and processor time the query process may take from the others.
//!
//! Memory: a control group where this process may make one ([`group`]), which the kernel enforces on resident memory by
//! ending the query process. Else `RLIMIT_DATA`, which bounds what it maps, so that it ends itself when an allocation fails.
//! Source: Linux, Documentation/admin-guide/cgroup-v1/memory.rst; setrlimit(2).

pub mod group;

use std::fs;
use std::io;
use std::path::Path;

pub use group::MemoryGroup;

/// Added to the nice value: a busy collector gets about nine tenths of a processor that both want.
const NICE: libc::c_int = 10;
/// The first that the kernel ends when the whole machine is out of memory (proc_pid_oom_score_adj(5)).
const OOM_SCORE: &str = "1000";

/// How the memory of this process is bounded.
#[derive(Debug)]
pub enum Confinement {
    /// By a control group.
    Group,
    /// By `RLIMIT_DATA`, in bytes.
    Mapped(u64),
}

/// Bounds this process, before it starts threads: `memory` bytes by `group`, else by what it maps, for which `stacks`
/// bytes of its threads' stacks are added; behind others in processor time; and the first to end when the whole machine
/// is out of memory.
pub fn confine(memory: u64, stacks: u64, group: Option<&Path>) -> io::Result<Confinement> {
    // Neither is needed for what follows.
    let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    // SAFETY: changes a number of this process.
    let _ = unsafe { libc::nice(NICE) };
    if let Some(group) = group
        && fs::write(group.join("cgroup.procs"), std::process::id().to_string()).is_ok()
    {
        return Ok(Confinement::Group);
    }
    let bytes = memory.saturating_add(stacks);
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: the limit is a valid structure, and the call keeps no pointer to it.
    match unsafe { libc::setrlimit(libc::RLIMIT_DATA, &limit) } {
        0 => Ok(Confinement::Mapped(bytes)),
        _ => Err(io::Error::last_os_error()),
    }
}

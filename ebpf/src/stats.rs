//! What the kernel counts of each program.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// What the kernel counts of a program since it was loaded (bpf_prog_show_fdinfo of kernel/bpf/syscall.c).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramStats {
    /// Its name.
    pub program: &'static str,
    /// How often it ran; 0 while the sysctl `kernel.bpf_stats_enabled` is off.
    pub runs: u64,
    /// How long it ran, ns; counted in the same way.
    pub run_ns: u64,
    /// How often the kernel skipped it.
    pub skipped: u64,
}

impl ProgramStats {
    /// Of a program that is not loaded.
    pub(crate) fn none(program: &'static str) -> Self {
        Self { program, runs: 0, run_ns: 0, skipped: 0 }
    }

    /// Of the loaded program behind `fd`.
    pub(crate) fn read(program: &'static str, fd: BorrowedFd<'_>) -> io::Result<Self> {
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()))?;
        let mut stats = Self::none(program);
        for (name, value) in info.lines().filter_map(|line| line.split_once(':')) {
            let counter = match name {
                "run_cnt" => &mut stats.runs,
                "run_time_ns" => &mut stats.run_ns,
                "recursion_misses" => &mut stats.skipped,
                _ => continue,
            };
            *counter = value.trim().parse().unwrap_or(0);
        }
        Ok(stats)
    }
}

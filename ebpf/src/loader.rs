//! Loads and attaches the programs.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use aya::maps::{Map, MapError, RingBuf};
use aya::programs::{BtfTracePoint, Iter, Program, ProgramError, TracePoint};
use aya::{Btf, BtfError, Ebpf, EbpfError, EbpfLoader};

use crate::loss::Counters;
use crate::preflight::{Missing, preflight};
use crate::tasks::{self, TasksError};
use crate::{Batch, Reader, tracefs};

/// Where a program is attached.
#[derive(Clone, Copy)]
enum Hook {
    /// A tracepoint with typed arguments.
    Btf(&'static str),
    /// A tracepoint of the group `syscalls`.
    Syscall(&'static str),
    /// Task iterator: attached when it is run.
    Tasks,
}

/// Name of each program and where it goes, in the order in which they are attached: ends before beginnings, so that
/// no process is seen to start whose end could be missed.
const PROGRAMS: &[(&str, Hook)] = &[
    ("existing_tasks", Hook::Tasks),
    ("process_exit", Hook::Btf("sched_process_exit")),
    ("process_exec", Hook::Btf("sched_process_exec")),
    ("process_fork", Hook::Btf("sched_process_fork")),
    ("socket_owner", Hook::Btf("inet_sock_set_state")),
    ("socket_progress", Hook::Btf("inet_sock_set_state")),
    ("exit_accept", Hook::Syscall("sys_exit_accept")),
    ("exit_accept4", Hook::Syscall("sys_exit_accept4")),
    ("exit_connect", Hook::Syscall("sys_exit_connect")),
    ("exit_listen", Hook::Syscall("sys_exit_listen")),
    ("enter_setns", Hook::Syscall("sys_enter_setns")),
    ("exit_setns", Hook::Syscall("sys_exit_setns")),
    ("enter_unshare", Hook::Syscall("sys_enter_unshare")),
    ("exit_unshare", Hook::Syscall("sys_exit_unshare")),
    ("enter_mount", Hook::Syscall("sys_enter_mount")),
    ("exit_mount", Hook::Syscall("sys_exit_mount")),
    ("enter_move_mount", Hook::Syscall("sys_enter_move_mount")),
    ("exit_move_mount", Hook::Syscall("sys_exit_move_mount")),
    ("enter_pivot_root", Hook::Syscall("sys_enter_pivot_root")),
    ("exit_pivot_root", Hook::Syscall("sys_exit_pivot_root")),
    ("enter_chroot", Hook::Syscall("sys_enter_chroot")),
    ("exit_chroot", Hook::Syscall("sys_exit_chroot")),
];

/// What the kernel counts as missed of this program is nothing to it: `bpf/network.bpf.c` says why.
const MISSES_NOTHING: &str = "socket_owner";

impl Hook {
    fn name(self) -> &'static str {
        match self {
            Hook::Btf(name) | Hook::Syscall(name) => name,
            Hook::Tasks => "iter/task",
        }
    }
}

/// Sizes that are fixed at load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadOptions {
    /// Bytes of the ring; raised to a power of two of at least one page. Kernel memory.
    pub ring_bytes: u32,
    /// Live TCP sockets whose process is remembered, about 256 bytes of kernel memory each; the least recently used
    /// go first, and their close shows no process.
    pub sockets: u32,
}

impl Default for LoadOptions {
    /// 16 MiB: half a second of 20,000 execs a second. 32,768 sockets.
    fn default() -> Self {
        Self { ring_bytes: 16 << 20, sockets: 1 << 15 }
    }
}

/// Why the programs are not in the kernel.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The machine does not allow it.
    #[error("live collection is not possible here")]
    Missing(#[from] Missing),
    /// The kernel's type information can't be parsed.
    #[error("cannot read the kernel's BTF")]
    Btf(#[source] BtfError),
    /// Number of CPUs unknown.
    #[error("cannot read {path}")]
    Cpus {
        /// File that tells it.
        path: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Maps could not be made, or the object does not fit this kernel.
    #[error("cannot prepare the kernel programs")]
    Prepare(#[source] Box<EbpfError>),
    /// The kernel refused a program; under lockdown, or because its verifier objects.
    #[error("the kernel refused program {program}")]
    Refused {
        /// Which.
        program: &'static str,
        /// Why.
        source: Box<ProgramError>,
    },
    /// A program could not be attached.
    #[error("cannot attach program {program} to {hook}")]
    Attach {
        /// Which.
        program: &'static str,
        /// Where.
        hook: &'static str,
        /// Why.
        source: Box<ProgramError>,
    },
    /// tracefs can't be mounted.
    #[error("cannot mount tracefs for the ids of system call tracepoints")]
    Tracefs(#[source] io::Error),
    /// The object lacks a program or map that this crate knows.
    #[error("the embedded object has no {0}, or it is of another type")]
    Object(&'static str),
    /// A map can't be used.
    #[error("cannot use map {map}")]
    Map {
        /// Which.
        map: &'static str,
        /// Why.
        source: Box<MapError>,
    },
    /// The counters or the ring can't be mapped or polled.
    #[error("cannot open {what}")]
    Open {
        /// Which.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// The programs, loaded and attached; dropping it takes them out of the kernel.
pub struct Programs {
    ebpf: Ebpf,
    cpus: usize,
}

impl Programs {
    /// Loads all programs and attaches them: events are numbered and put into the ring from now on.
    ///
    /// Blocks for some tenths of a second (the verifier). Errors: see [`LoadError`]; nothing stays in the kernel.
    pub fn load(options: &LoadOptions) -> Result<Self, LoadError> {
        preflight()?;
        let btf = Btf::from_sys_fs().map_err(LoadError::Btf)?;
        Self::load_with_btf(options, &btf)
    }

    /// As [`Self::load`], but fits the programs to the types of `btf` instead of those that the kernel tells of itself.
    ///
    /// Tests use it to stand in for kernels that lack a field.
    pub fn load_with_btf(options: &LoadOptions, btf: &Btf) -> Result<Self, LoadError> {
        let cpus = aya::util::nr_cpus().map_err(|(path, source)| LoadError::Cpus { path, source })?;
        let ebpf = prepare(options, btf, cpus)?;
        let mut programs = Self { ebpf, cpus };
        for (name, hook) in PROGRAMS {
            programs.load_program(name, *hook, btf)?;
        }
        tracefs::with_tracefs(|| programs.attach_all()).map_err(LoadError::Tracefs)??;
        Ok(programs)
    }

    fn load_program(&mut self, name: &'static str, hook: Hook, btf: &Btf) -> Result<(), LoadError> {
        let program = self.ebpf.program_mut(name).ok_or(LoadError::Object(name))?;
        let mut load = || match (hook, &mut *program) {
            (Hook::Btf(tracepoint), Program::BtfTracePoint(program)) => program.load(tracepoint, btf),
            (Hook::Syscall(_), Program::TracePoint(program)) => program.load(),
            (Hook::Tasks, Program::Iter(program)) => program.load("task", btf),
            _ => Err(ProgramError::UnexpectedProgramType),
        };
        let mut loaded = load();
        for _ in 0..LOAD_RETRIES {
            if !was_interrupted(&loaded) {
                break;
            }
            loaded = load();
        }
        loaded.map_err(|source| LoadError::Refused { program: name, source: Box::new(source) })
    }

    fn attach_all(&mut self) -> Result<(), LoadError> {
        for (name, hook) in PROGRAMS {
            let program = self.ebpf.program_mut(name).ok_or(LoadError::Object(name))?;
            attach(program, *hook).map_err(|source| LoadError::Attach {
                program: name,
                hook: hook.name(),
                source: Box::new(source),
            })?;
        }
        Ok(())
    }

    /// The reader of the ring; there is only one, so a second call fails. Needs a tokio runtime.
    pub fn reader(&mut self) -> Result<Reader, LoadError> {
        let map = self.ebpf.take_map("events").ok_or(LoadError::Object("events"))?;
        let ring =
            RingBuf::try_from(map).map_err(|source| LoadError::Map { map: "events", source: Box::new(source) })?;
        Reader::new(ring).map_err(|source| LoadError::Open { what: "the ring", source })
    }

    /// The kernel's account of numbers and losses; it stays readable after [`Self::detach`].
    pub fn counters(&self) -> Result<Counters, LoadError> {
        let Some(Map::Array(map)) = self.ebpf.map("cpus") else { return Err(LoadError::Object("cpus")) };
        Counters::map(map.fd().as_fd(), self.cpus).map_err(|source| LoadError::Open { what: "the counters", source })
    }

    /// A record of kind `existing` for each process, kernel threads too. Blocks for about 40 µs a process.
    ///
    /// Arguments come from `procfs`, which must be of the root pid namespace; those that it does not tell are flagged
    /// as unread. Call it right after [`Self::load`]: what starts in between is both in here and in the ring.
    pub fn existing(&mut self, procfs: &Path) -> Result<Batch, TasksError> {
        let program = self.ebpf.program_mut("existing_tasks").map(TryInto::<&mut Iter>::try_into);
        match program {
            Some(Ok(program)) => tasks::run(program, procfs),
            Some(Err(source)) => Err(TasksError::Attach(source)),
            None => Err(TasksError::Attach(ProgramError::NotLoaded)),
        }
    }

    /// How often the kernel did not run a program because another BPF program or a bpf(2) call was under way on the
    /// same CPU. Such events have no number: this count is all that tells of them (kernel 6.7; 0 before).
    pub fn missed(&self) -> io::Result<u64> {
        let mut missed = 0;
        for (name, _) in PROGRAMS.iter().filter(|(name, _)| *name != MISSES_NOTHING) {
            let Some(fd) = self.ebpf.program(name).and_then(|program| program.fd().ok()) else { continue };
            let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd()))?;
            let count =
                info.lines().find_map(|line| line.strip_prefix("recursion_misses:")?.trim().parse::<u64>().ok());
            missed += count.unwrap_or(0);
        }
        Ok(missed)
    }

    /// Takes the programs out of the kernel. What is in the ring can still be read, and then nothing more comes.
    pub fn detach(&mut self) {
        for (name, program) in self.ebpf.programs_mut() {
            let unloaded = match program {
                Program::BtfTracePoint(program) => program.unload(),
                Program::TracePoint(program) => program.unload(),
                Program::Iter(program) => program.unload(),
                _ => Ok(()),
            };
            if let Err(error) = unloaded {
                tracing::debug!(name, %error, "program was not loaded");
            }
        }
    }
}

/// The verifier gives up with EAGAIN when a signal comes in between.
const LOAD_RETRIES: usize = 10;

fn was_interrupted(loaded: &Result<(), ProgramError>) -> bool {
    matches!(loaded, Err(ProgramError::LoadError { io_error, .. }) if io_error.raw_os_error() == Some(libc::EAGAIN))
}

fn prepare(options: &LoadOptions, btf: &Btf, cpus: usize) -> Result<Ebpf, LoadError> {
    let ring_bytes = options.ring_bytes.max(4096).checked_next_power_of_two().unwrap_or(1 << 31);
    let wake_bytes = u64::from(ring_bytes) / 8;
    let cpu_slots = u32::try_from(cpus).unwrap_or(u32::MAX);
    EbpfLoader::new()
        .btf(Some(btf))
        .map_max_entries("events", ring_bytes)
        .map_max_entries("cpus", cpu_slots)
        .map_max_entries("sockets", options.sockets.max(1))
        .override_global("wake_bytes", &wake_bytes, true)
        .load(crate::object())
        .map_err(|source| LoadError::Prepare(Box::new(source)))
}

fn attach(program: &mut Program, hook: Hook) -> Result<(), ProgramError> {
    match hook {
        Hook::Btf(_) => TryInto::<&mut BtfTracePoint>::try_into(program)?.attach().map(drop),
        Hook::Syscall(name) => TryInto::<&mut TracePoint>::try_into(program)?.attach("syscalls", name).map(drop),
        Hook::Tasks => Ok(()),
    }
}

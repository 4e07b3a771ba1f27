//! Where a program is attached, and how.

use aya::Btf;
use aya::programs::{BtfTracePoint, Program, ProgramError, TracePoint};
use kerntrail_common::error::chain;

/// Where a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// A tracepoint with typed arguments, by its name.
    Tracepoint(&'static str),
    /// A tracepoint of the group `syscalls`, by its name.
    Syscall(&'static str),
    /// The task iterator: attached when it is run.
    TaskIterator,
}

impl Hook {
    /// Its section in the object, as libbpf names sections: `tp_btf/sched_process_exec`.
    pub fn section(self) -> String {
        match self {
            Self::Tracepoint(name) => format!("tp_btf/{name}"),
            Self::Syscall(name) => format!("tracepoint/syscalls/{name}"),
            Self::TaskIterator => "iter/task".to_owned(),
        }
    }

    /// Whether its id comes from tracefs.
    pub(crate) fn needs_tracefs(self) -> bool {
        matches!(self, Self::Syscall(_))
    }

    /// Gives the program to the verifier.
    pub(crate) fn load(self, program: &mut Program, btf: &Btf) -> Result<(), ProgramError> {
        match (self, program) {
            (Self::Tracepoint(name), Program::BtfTracePoint(program)) => program.load(name, btf),
            (Self::Syscall(_), Program::TracePoint(program)) => program.load(),
            (Self::TaskIterator, Program::Iter(program)) => program.load("task", btf),
            _ => Err(ProgramError::UnexpectedProgramType),
        }
    }

    /// Attaches a loaded program.
    pub(crate) fn attach(self, program: &mut Program) -> Result<(), ProgramError> {
        match self {
            Self::Tracepoint(_) => TryInto::<&mut BtfTracePoint>::try_into(program)?.attach().map(drop),
            Self::Syscall(name) => TryInto::<&mut TracePoint>::try_into(program)?.attach("syscalls", name).map(drop),
            Self::TaskIterator => Ok(()),
        }
    }
}

/// Takes a program out of the kernel; nothing happens when it is not loaded.
pub(crate) fn unload(program: &mut Program) {
    let unloaded = match program {
        Program::BtfTracePoint(program) => program.unload(),
        Program::TracePoint(program) => program.unload(),
        Program::Iter(program) => program.unload(),
        _ => Ok(()),
    };
    match unloaded {
        Ok(()) | Err(ProgramError::NotLoaded) => {}
        Err(error) => tracing::warn!(error = chain(&error), "cannot unload a kernel program"),
    }
}

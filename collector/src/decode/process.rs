//! Processes: fork, exec, exit, and what already ran. The process table acts on these, so they stay typed until their
//! row is made.

use kerntrail_ebpf::probes::process::{self, fd_kind, kind};
use kerntrail_ebpf::probes::tasks;
use kerntrail_ebpf::records::{self, flags};
use kerntrail_schemas::tables::ProcessColumns;
use kerntrail_schemas::tables::process_events::{EXEC, EXISTING, EXIT, FORK};

use super::{Context, DecodeError, Decoder, Raw, Strings, from_the_top, path_of, text};
use crate::event::{EventKind, EventRow, FdKind, Program};

pub(super) const DECODER: Decoder =
    Decoder { kinds: &[kind::FORK, kind::EXEC, kind::EXIT, tasks::kind::EXISTING], decode };

fn decode(raw: Raw<'_>, _: Context<'_>) -> Result<(records::Task, EventKind), DecodeError> {
    Ok(match raw.header.kind {
        kind::FORK => (raw.parts::<process::Fork>()?.0.task, EventKind::Fork),
        kind::EXIT => {
            let (exit, _) = raw.parts::<process::Exit>()?;
            (exit.task, exit_of(exit.status))
        }
        tasks::kind::EXISTING => {
            let (program, strings) = raw.parts::<process::Program>()?;
            let mut decoded = program_of(raw, &program, strings)?;
            drop_title_padding(&mut decoded.args);
            (program.task, EventKind::Existing(Box::new(decoded)))
        }
        _ => {
            let (program, strings) = raw.parts::<process::Program>()?;
            (program.task, EventKind::Exec(Box::new(program_of(raw, &program, strings)?)))
        }
    })
}

/// wait(2): the signal in the low seven bits, then the core dump's bit, then the exit status.
fn exit_of(status: u32) -> EventKind {
    EventKind::Exit { code: (status >> 8) as u8, signal: (status & 0x7f) as u8 }
}

fn program_of(raw: Raw<'_>, program: &process::Program, mut strings: Strings<'_>) -> Result<Program, DecodeError> {
    let exe = strings.take("exe", program.exe_len.into())?;
    let cwd = strings.take("cwd", program.cwd_len.into())?;
    let cgroup = strings.take("cgroup", program.cgroup_len.into())?;
    let args = strings.take("args", program.args_len as usize)?;
    let is = |flag| raw.is(flag);
    let unnamed = is(flags::EXE_UNNAMED).then(|| from_the_top(exe));
    Ok(Program {
        memfd: unnamed.as_deref().is_some_and(|name| name.starts_with("memfd:")),
        path: unnamed
            .unwrap_or_else(|| path_of(exe, is(flags::EXE_UNREAD) || is(flags::KERNEL_THREAD), is(flags::EXE_CUT))),
        args: args_of(args),
        args_truncated: is(flags::ARGS_CUT),
        cwd: path_of(cwd, is(flags::CWD_UNREAD), is(flags::CWD_CUT)),
        inode: program.inode,
        dev: program.dev,
        stdin: fd_kind_of(raw, "stdin_kind", program.stdin_kind)?,
        stdout: fd_kind_of(raw, "stdout_kind", program.stdout_kind)?,
        cgroup_path: from_the_top(cgroup),
    })
}

/// Arguments, each ended by NUL; the last one lacks it when it was cut.
fn args_of(bytes: &[u8]) -> Vec<String> {
    if bytes.is_empty() {
        return Vec::new();
    }
    bytes.strip_suffix(&[0]).unwrap_or(bytes).split(|byte| *byte == 0).map(text).collect()
}

/// A program that has written a title over its arguments leaves NULs behind it: several empty arguments at the end.
fn drop_title_padding(args: &mut Vec<String>) {
    let kept = args.iter().rposition(|arg| !arg.is_empty()).map_or(0, |last| last + 1);
    if args.len() > kept + 1 {
        args.truncate(kept);
    }
}

fn fd_kind_of(raw: Raw<'_>, field: &'static str, value: u32) -> Result<FdKind, DecodeError> {
    Ok(match value {
        fd_kind::FD_UNKNOWN => FdKind::Unknown,
        fd_kind::FD_FILE => FdKind::File,
        fd_kind::FD_TTY => FdKind::Tty,
        fd_kind::FD_PIPE => FdKind::Pipe,
        fd_kind::FD_SOCKET => FdKind::Socket,
        fd_kind::FD_OTHER => FdKind::Other,
        fd_kind::FD_CLOSED => FdKind::Closed,
        value => return Err(raw.unknown(field, value)),
    })
}

impl EventKind {
    /// The row of the event.
    pub fn into_row(self) -> EventRow {
        match self {
            Self::Fork => EventRow::new(&FORK, ProcessColumns::default()),
            Self::Exec(program) => EventRow::new(&EXEC, started(&program)),
            Self::Existing(program) => EventRow::new(&EXISTING, started(&program)),
            Self::Exit { code, signal } => EventRow::new(&EXIT, ended(code, signal)),
            Self::Other { row, .. } => row,
        }
    }
}

fn started(program: &Program) -> ProcessColumns {
    let has_file = program.inode != 0;
    ProcessColumns {
        binary_inode: has_file.then_some(program.inode.cast_signed()),
        binary_dev: has_file.then_some(i64::from(program.dev)),
        binary_memfd: (has_file || program.memfd).then_some(program.memfd),
        stdin_kind: descriptor(program.stdin),
        stdout_kind: descriptor(program.stdout),
        ..ProcessColumns::default()
    }
}

fn ended(code: u8, signal: u8) -> ProcessColumns {
    ProcessColumns {
        // A process that a signal ended has no exit status: what wait(2) shows in its place is 0.
        exit_code: (signal == 0).then_some(i32::from(code)),
        exit_signal: (signal != 0).then_some(i32::from(signal)),
        ..ProcessColumns::default()
    }
}

fn descriptor(kind: FdKind) -> Option<String> {
    let name = match kind {
        FdKind::Unknown => return None,
        FdKind::File => "file",
        FdKind::Tty => "tty",
        FdKind::Pipe => "pipe",
        FdKind::Socket => "socket",
        FdKind::Other => "other",
        FdKind::Closed => "closed",
    };
    Some(name.into())
}

//! Processes: fork, exec and exit. `bpf/process.bpf.c`.
//!
//! Everything else is understood through the process table that these fill, so the probe is required.

use super::{BpfProgram, Concern, Need, Probe, kinds};
use crate::hook::Hook;
use crate::records::{Header, Task, constants, layouts};

/// Its declaration.
pub const CONCERN: Concern = Concern {
    name: "process",
    probes: &[Probe {
        name: "process",
        need: Need::Required,
        depends_on: None,
        activities: &["fork", "exec", "exit"],
        // Exit is attached first, so that the exit of a process whose start is seen cannot be missed.
        programs: &[
            BpfProgram::new("process_exit", Hook::Tracepoint("sched_process_exit")),
            BpfProgram::new("process_exec", Hook::Tracepoint("sched_process_exec")),
            BpfProgram::new("process_fork", Hook::Tracepoint("sched_process_fork")),
        ],
    }],
    records: RECORDS,
    kinds: KINDS,
    layouts: LAYOUTS,
    enums: ENUMS,
    maps: &[],
};

kinds! {
    "kt_process_kind" {
        /// A process was created.
        FORK = 1, "fork", Fork, Marked;
        /// A program was run.
        EXEC = 2, "exec", Program, Marked;
        /// A process ended.
        EXIT = 3, "exit", Exit, Marked;
    }
}

layouts! {
    /// [`kind::FORK`]: a process was created; `task` is the child.
    Fork = "kt_fork" {
        /// Starts the record.
        header: Header,
        /// The child.
        task: Task,
    }

    /// [`kind::EXIT`]: the last thread of a process ended.
    Exit = "kt_exit" {
        /// Starts the record.
        header: Header,
        /// The process.
        task: Task,
        /// As wait(2) gives it.
        status: u32,
        /// 0.
        reserved: u32,
    }

    /// [`kind::EXEC`] and [`super::tasks::kind::EXISTING`]: a program.
    ///
    /// Strings: exe, cwd, cgroup as components; args each ended by NUL.
    Program = "kt_program" {
        /// Starts the record.
        header: Header,
        /// The process.
        task: Task,
        /// Inode of the executable.
        inode: u64,
        /// Its device, kernel encoding: major << 20 | minor.
        dev: u32,
        /// Bytes of the executable's path.
        exe_len: u16,
        /// Bytes of the working directory.
        cwd_len: u16,
        /// Bytes of the cgroup path.
        cgroup_len: u16,
        /// 0.
        reserved: u16,
        /// Bytes of the arguments.
        args_len: u32,
        /// One of [`fd_kind`].
        stdin_kind: u32,
        /// One of [`fd_kind`].
        stdout_kind: u32,
    }
}

constants! {
    /// What a descriptor is.
    fd_kind = "kt_fd_kind" {
        /// Not known.
        FD_UNKNOWN = 0,
        /// Regular file or directory.
        FD_FILE = 1,
        /// Terminal.
        FD_TTY = 2,
        /// Pipe or fifo.
        FD_PIPE = 3,
        /// Socket.
        FD_SOCKET = 4,
        /// Another device or anonymous inode.
        FD_OTHER = 5,
        /// Not open.
        FD_CLOSED = 6,
    }
}

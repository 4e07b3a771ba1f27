//! A kernel event in Rust's own types: what [`crate::decode`] makes of a record and the process table takes.

use kerntrail_schemas::Activity;
use kerntrail_schemas::tables::AnyColumns;

/// One event as the kernel side saw it.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelEvent {
    /// Processor that numbered it.
    pub cpu: u32,
    /// Its number on that processor, from 0 since the programs were loaded; also taken by events that were lost.
    pub seq: u64,
    /// CLOCK_BOOTTIME, ns.
    pub boot_ns: u64,
    /// Which of its parts could not be read or were truncated: bits of `kerntrail_ebpf::records::flags`; 0 if none.
    pub flags: u32,
    /// The process that acted; for a fork, the child.
    pub task: Task,
    /// What happened.
    pub kind: EventKind,
}

impl KernelEvent {
    /// Whether the filter drops the event: it is for the process table only and has no number.
    pub fn is_filtered(&self) -> bool {
        self.flags & kerntrail_ebpf::records::flags::FILTERED != 0
    }
}

/// A process as it was at the event; ids are those of the root namespaces.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Task {
    /// Which process.
    pub process: ProcessRef,
    /// `real_parent` (for a fork: the process that forked).
    pub parent: ProcessRef,
    /// Leader of the session.
    pub session_leader: ProcessRef,
    /// Leader of the process group.
    pub group_leader: ProcessRef,
    /// How many programs the process has run so far, from the kernel: `self_exec_id - parent_exec_id` of the group
    /// leader (fork sets both to the forker's `self_exec_id`, exec raises the first), so it is the same live, from
    /// the iterator and after a restart. `None` where it was not read: the process table then counts from 0.
    pub exec_seq: Option<u32>,
    /// Name of the thread, at most 15 bytes.
    pub comm: String,
    /// Credentials and namespaces.
    pub state: PrivilegeState,
    /// Real user and group id.
    pub uid: u32,
    /// Real group id.
    pub gid: u32,
    /// Audit login uid; `u32::MAX` when unset.
    pub login_uid: u32,
    /// Controlling terminal, such as `pts0`; empty when there is none.
    pub tty: String,
}

/// Names a process of this boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ProcessRef {
    /// Thread group id in the root pid namespace; 0 when there is no such process.
    pub tgid: u32,
    /// `start_boottime` of the group leader, ns.
    pub start_boottime: u64,
}

/// What a privileged call can change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrivilegeState {
    /// Effective user id.
    pub euid: u32,
    /// Effective group id.
    pub egid: u32,
    /// Effective capabilities, one bit each.
    pub cap_effective: u64,
    /// Inode numbers of the namespaces.
    pub mnt_ns: u32,
    /// Pid namespace of new children (`pid_ns_for_children`).
    pub pid_ns: u32,
    /// Network namespace.
    pub net_ns: u32,
    /// User namespace.
    pub user_ns: u32,
    /// Cgroup id: of the v2 hierarchy, or where that holds only the root, of the `pids` controller (v1).
    pub cgroup_id: u64,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum EventKind {
    /// A process (not a thread) was created.
    Fork,
    /// A program was run.
    Exec(Box<Program>),
    /// It already ran when the collector started (task iterator).
    Existing(Box<Program>),
    /// The last thread of a process ended.
    Exit {
        /// Exit status.
        code: u8,
        /// Signal that ended it; 0 for none.
        signal: u8,
    },
    /// Anything else: the process table only takes note of the process, and the row is made already.
    Other {
        /// The row.
        row: EventRow,
        /// Whether `task` is the process as it was at the event; else, as it was at some earlier moment.
        task_is_current: bool,
    },
}

impl EventKind {
    /// An event that the process table does not act on.
    pub fn of_row(row: EventRow) -> Self {
        Self::Other { row, task_is_current: true }
    }
}

/// Activity and own columns of the row that an event becomes.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRow {
    /// What happened.
    pub activity: &'static Activity,
    /// Own columns of the activity's table.
    pub columns: AnyColumns,
}

impl EventRow {
    /// The row of `activity`, whose table has these `columns`.
    pub fn new(activity: &'static Activity, columns: impl Into<AnyColumns>) -> Self {
        Self { activity, columns: columns.into() }
    }
}

/// The program that a process runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {
    /// File, as seen from the process's root; `memfd:name` for one in memory only. Empty for a kernel thread.
    pub path: String,
    /// argv, one item per argument; bytes that are not UTF-8 are replaced.
    pub args: Vec<String>,
    /// Whether arguments were cut.
    pub args_truncated: bool,
    /// Working directory, as seen from the process's root.
    pub cwd: String,
    /// Inode of the file.
    pub inode: u64,
    /// Device of the file (kernel encoding).
    pub dev: u32,
    /// Whether the file lives in memory only.
    pub memfd: bool,
    /// What descriptor 0 is.
    pub stdin: FdKind,
    /// What descriptor 1 is.
    pub stdout: FdKind,
    /// Last components of the cgroup path from the top down, joined by `/`; empty at the root.
    pub cgroup_path: String,
}

/// What a descriptor refers to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FdKind {
    /// Not known.
    #[default]
    Unknown,
    /// Regular file or directory.
    File,
    /// Terminal.
    Tty,
    /// Pipe or fifo.
    Pipe,
    /// Socket.
    Socket,
    /// Another device or an anonymous inode.
    Other,
    /// Not open.
    Closed,
}

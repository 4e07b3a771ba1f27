//! Layouts that all records share, the same as in `bpf/event.h`; each concern declares its own in [`crate::probes`].
//!
//! A record is a struct that begins with a [`Header`], then the bytes of its strings, in the order in which the struct
//! names their lengths. Integers are in the machine's byte order. Paths are components: names from the innermost
//! outwards, each terminated by NUL.
//!
//! `tests/layout.rs` compares every struct, field, size, offset and constant with the BTF of the object.

mod layout;

pub use layout::{EnumLayout, FieldLayout, Layout, StructLayout, bytes_of, read};
pub(crate) use layout::{constants, layouts};

layouts! {
    /// Starts each record.
    Header = "kt_header" {
        /// One of the kinds that [`crate::probes`] declares.
        kind: u32,
        /// Bytes of the whole record.
        size: u32,
        /// Number on `cpu`, from 0 since the programs were loaded; see [`Header::is_numbered`].
        seq: u64,
        /// CLOCK_BOOTTIME, ns.
        boot_ns: u64,
        /// Processor that numbered it; [`EXISTING_CPU`] for those of the task iterator.
        cpu: u32,
        /// Bits of [`flags`].
        flags: u32,
    }

    /// Names a process of this boot.
    Ref = "kt_ref" {
        /// `start_boottime` of the group leader, ns; 0 when the process has ended and only its number is left.
        start_boottime: u64,
        /// Thread group id in the root pid namespace; 0 for none.
        tgid: u32,
        /// 0.
        reserved: u32,
    }

    /// What a privileged call can change.
    State = "kt_state" {
        /// Effective capabilities.
        cap_effective: u64,
        /// Cgroup id: v2, or `pids` controller of v1.
        cgroup_id: u64,
        /// Effective user id.
        euid: u32,
        /// Inode number of the mount namespace; the next fields are those of the other namespaces.
        mnt_ns: u32,
        /// Pid namespace of new children.
        pid_ns: u32,
        /// Network namespace.
        net_ns: u32,
        /// User namespace.
        user_ns: u32,
        /// Effective group id.
        egid: u32,
    }

    /// The process that acts.
    Task = "kt_task" {
        /// The process.
        process: Ref,
        /// Its real parent; for a fork, the process that forked.
        parent: Ref,
        /// Leader of its session.
        session_leader: Ref,
        /// Leader of its process group.
        group_leader: Ref,
        /// Credentials, namespaces, cgroup.
        state: State,
        /// Real user id.
        uid: u32,
        /// Real group id.
        gid: u32,
        /// Audit login uid; `u32::MAX` when unset.
        login_uid: u32,
        /// Thread, in the root pid namespace.
        tid: u32,
        /// How many programs the process has run so far.
        exec_seq: u32,
        /// 0.
        reserved: u32,
        /// Name of the thread, NUL-padded.
        comm: [u8; 16],
        /// Controlling terminal, NUL-padded.
        tty: [u8; 16],
    }

    /// Counters of one CPU.
    CpuSlot = "kt_cpu" {
        /// Number that the next record takes.
        next_seq: u64,
        /// Lost records by kind.
        lost: [u64; MAX_KINDS],
        /// Events dropped by the filter, by kind.
        filtered: [u64; MAX_KINDS],
        /// Lost records with [`flags::FILTERED`].
        context_lost: u64,
        /// 0.
        reserved: [u64; 14],
    }
}

impl Header {
    /// Whether `seq` is a number of the ring, of which a missing one is a loss.
    ///
    /// Records of the task iterator are numbered apart, and those with [`flags::FILTERED`] not at all.
    pub fn is_numbered(&self) -> bool {
        self.cpu != EXISTING_CPU && self.flags & flags::FILTERED == 0
    }
}

/// Kinds are numbered from 1 and below this.
pub const MAX_KINDS: usize = 64;

/// Processor number of the task iterator's records, which it numbers apart from those of the ring.
pub const EXISTING_CPU: u32 = 0xffff;

constants! {
    /// Which parts of a record could not be read or were truncated, and other properties.
    flags = "kt_flag" {
        /// The executable's path could not be read.
        EXE_UNREAD = 1 << 0,
        /// Only the end of the executable's path.
        EXE_CUT = 1 << 1,
        /// The executable is outside the process's root; its path starts at the top of its mounts.
        EXE_OUTSIDE = 1 << 2,
        /// The executable was removed from its directory.
        EXE_DELETED = 1 << 3,
        /// The executable is in no directory (memfd).
        EXE_UNNAMED = 1 << 4,
        /// The working directory could not be read.
        CWD_UNREAD = 1 << 5,
        /// Only the end of the working directory.
        CWD_CUT = 1 << 6,
        /// The working directory is outside the process's root.
        CWD_OUTSIDE = 1 << 7,
        /// The arguments could not be read.
        ARGS_UNREAD = 1 << 8,
        /// Only the first arguments.
        ARGS_CUT = 1 << 9,
        /// Only the end of the cgroup path.
        CGROUP_CUT = 1 << 10,
        /// The state before the call is unknown.
        BEFORE_UNREAD = 1 << 11,
        /// The source of a call could not be read.
        SOURCE_UNREAD = 1 << 12,
        /// The target of a call could not be read.
        TARGET_UNREAD = 1 << 13,
        /// The file system type could not be read.
        TYPE_UNREAD = 1 << 14,
        /// The target was read from the mount or root itself, not from the caller's memory.
        TARGET_RESOLVED = 1 << 15,
        /// Only the end of the target.
        TARGET_CUT = 1 << 16,
        /// The process of a connection is unknown.
        OWNER_UNKNOWN = 1 << 17,
        /// A kernel thread, which has no program.
        KERNEL_THREAD = 1 << 18,
        /// The filter drops the event; the record is for the process table only and has no number.
        FILTERED = 1 << 19,
    }
}

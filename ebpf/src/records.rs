//! Layouts of the records, the same as in `bpf/event.h`.
//!
//! A record is one of the structs that begin with a [`Header`], then the bytes of its strings, in the order in which
//! the struct names their lengths. Integers are in the machine's byte order. Paths are components: names from the
//! innermost outwards, each ended by NUL.
//!
//! `tests/layout.rs` compares every struct, field, size, offset and constant below with the BTF of the object.

/// A struct that a record can begin with.
///
/// # Safety
/// Implementors are `repr(C)`, valid for any bytes, and have no padding.
pub unsafe trait Layout: Copy {
    /// Its name in C.
    const C_NAME: &'static str;
    /// Name in C, offset and size of each field.
    const FIELDS: &'static [(&'static str, usize, usize)];
}

/// Reads the fixed part at the start of `bytes`, and gives what follows it. `None` when `bytes` are too short.
pub fn read<T: Layout>(bytes: &[u8]) -> Option<(T, &[u8])> {
    let (fixed, rest) = bytes.split_at_checked(size_of::<T>())?;
    // SAFETY: `fixed` is as long as T, T is valid for any bytes (Layout), and the read needs no alignment.
    Some((unsafe { fixed.as_ptr().cast::<T>().read_unaligned() }, rest))
}

/// The bytes of a fixed part, as the kernel writes them.
pub fn bytes_of<T: Layout>(fixed: &T) -> &[u8] {
    // SAFETY: T has no padding (Layout), so all its bytes are initialized; the slice borrows `fixed`.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(fixed).cast(), size_of::<T>()) }
}

macro_rules! layouts {
    ($($(#[$doc:meta])* $name:ident = $c_name:literal { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[repr(C)]
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub struct $name {
                $($(#[$field_doc])* pub $field: $type,)*
            }

            const _: () = assert!(0 $(+ size_of::<$type>())* == size_of::<$name>(), "padding");

            // SAFETY: repr(C); all fields are integers, arrays of integers or such structs; no padding (asserted).
            unsafe impl Layout for $name {
                const C_NAME: &'static str = $c_name;
                const FIELDS: &'static [(&'static str, usize, usize)] =
                    &[$((stringify!($field), std::mem::offset_of!($name, $field), size_of::<$type>()),)*];
            }
        )*

        /// Every layout: name in C, size, and name, offset and size of each field.
        pub const LAYOUTS: &[(&str, usize, &[(&str, usize, usize)])] =
            &[$((<$name as Layout>::C_NAME, size_of::<$name>(), <$name as Layout>::FIELDS),)*];
    };
}

layouts! {
    /// Starts each record.
    Header = "kt_header" {
        /// One of [`kind`].
        kind: u32,
        /// Bytes of the whole record.
        size: u32,
        /// Number on `cpu`, from 0 since the programs were loaded.
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
        /// `start_boottime` of the group leader, ns; 0 when the process is gone and only its number is left.
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
        /// Inode number of the mount namespace; likewise the next ones.
        mnt_ns: u32,
        /// Pid namespace of new children.
        pid_ns: u32,
        /// Network namespace.
        net_ns: u32,
        /// User namespace.
        user_ns: u32,
        /// 0.
        reserved: u32,
    }

    /// Who acts.
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

    /// [`kind::EXEC`] and [`kind::EXISTING`]: a program. Strings: exe, cwd, cgroup as components; args each ended by NUL.
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

    /// [`kind::PRIVILEGE`]: a call that changes namespaces or the root. Strings: source, target, type, cwd.
    ///
    /// cwd is components; target too when [`flags::TARGET_RESOLVED`] is set; the others are text.
    Privilege = "kt_privilege" {
        /// Starts the record.
        header: Header,
        /// The process, after the call.
        task: Task,
        /// State before the call.
        before: State,
        /// Process whose namespaces setns entered by pidfd.
        target_process: Ref,
        /// Result: 0 or more, or minus the errno.
        ret: i64,
        /// Flags of the call.
        call_flags: u64,
        /// Device of the new mount or root; 0 when unknown.
        target_dev: u32,
        /// One of [`privilege_op`].
        op: u32,
        /// Bytes of the source.
        source_len: u16,
        /// Bytes of the target.
        target_len: u16,
        /// Bytes of the file system type.
        type_len: u16,
        /// Bytes of the directory from which relative paths start; 0 when there are none.
        cwd_len: u16,
    }

    /// [`kind::NETWORK`]: a TCP connection changed.
    Network = "kt_network" {
        /// Starts the record.
        header: Header,
        /// The process, as it was when it became known; all zero with [`flags::OWNER_UNKNOWN`].
        task: Task,
        /// When it was opened, CLOCK_BOOTTIME ns; 0 when before the collector.
        opened_boot_ns: u64,
        /// Payload bytes sent; at close.
        bytes_sent: u64,
        /// Payload bytes received; at close.
        bytes_received: u64,
        /// Local address; 4 or 16 bytes of it, by `family`.
        local: [u8; 16],
        /// Remote address.
        remote: [u8; 16],
        /// Local port.
        local_port: u16,
        /// Remote port.
        remote_port: u16,
        /// 2 (AF_INET) or 10 (AF_INET6).
        family: u16,
        /// 1 when this side opened it.
        outbound: u8,
        /// State after the event (include/net/tcp_states.h).
        tcp_state: u8,
        /// One of [`network_op`].
        op: u32,
        /// For a connect that failed, minus the errno.
        ret: i32,
    }

    /// Numbers and losses of one CPU.
    CpuSlot = "kt_cpu" {
        /// Number that the next record takes.
        next_seq: u64,
        /// Lost records by kind.
        lost: [u64; kind::COUNT],
        /// 0.
        reserved: [u64; 8],
    }
}

/// Processor number of the task iterator's records, which it counts apart from those of the ring.
pub const EXISTING_CPU: u32 = 0xffff;

macro_rules! constants {
    ($($(#[$doc:meta])* $module:ident = $c_name:literal { $($(#[$const_doc:meta])* $name:ident = $value:expr,)* })*) => {
        $(
            $(#[$doc])*
            pub mod $module {
                $($(#[$const_doc])* pub const $name: u32 = $value;)*
            }
        )*

        /// Every enum: name in C, then name without prefix and value of each constant.
        pub const ENUMS: &[(&str, &[(&str, u32)])] =
            &[$(($c_name, &[$((stringify!($name), $module::$name),)*]),)*];
    };
}

constants! {
    /// Kinds of records.
    kinds = "kt_kind" {
        /// A process was created.
        FORK = 1,
        /// A program was run.
        EXEC = 2,
        /// A process ended.
        EXIT = 3,
        /// A process that already ran.
        EXISTING = 4,
        /// A call that changes namespaces or the root.
        PRIVILEGE = 5,
        /// A TCP connection changed.
        NETWORK = 6,
        /// One more than the last.
        KINDS = 7,
    }

    /// What of a record could not be read or is not whole.
    flags = "kt_flag" {
        /// The executable's path.
        EXE_UNREAD = 1 << 0,
        /// Only the end of the executable's path.
        EXE_CUT = 1 << 1,
        /// The executable lies outside the process's root; its path starts at the top of its mounts.
        EXE_OUTSIDE = 1 << 2,
        /// The executable was removed from its directory.
        EXE_DELETED = 1 << 3,
        /// The executable is in no directory (memfd).
        EXE_UNNAMED = 1 << 4,
        /// The working directory.
        CWD_UNREAD = 1 << 5,
        /// Only the end of the working directory.
        CWD_CUT = 1 << 6,
        /// The working directory lies outside the process's root.
        CWD_OUTSIDE = 1 << 7,
        /// The arguments.
        ARGS_UNREAD = 1 << 8,
        /// Only the first arguments.
        ARGS_CUT = 1 << 9,
        /// Only the end of the cgroup path.
        CGROUP_CUT = 1 << 10,
        /// The state before the call.
        BEFORE_UNREAD = 1 << 11,
        /// The source of a call.
        SOURCE_UNREAD = 1 << 12,
        /// The target of a call.
        TARGET_UNREAD = 1 << 13,
        /// The file system type.
        TYPE_UNREAD = 1 << 14,
        /// Not a lack: the target was read from the mount or root itself, not from the caller's memory.
        TARGET_RESOLVED = 1 << 15,
        /// Only the end of the target.
        TARGET_CUT = 1 << 16,
        /// Whose connection it is.
        OWNER_UNKNOWN = 1 << 17,
        /// Not a lack: a kernel thread, which has no program.
        KERNEL_THREAD = 1 << 18,
    }

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

    /// Calls of [`Privilege`].
    privilege_op = "kt_privilege_op" {
        /// setns(2)
        SETNS = 1,
        /// unshare(2)
        UNSHARE = 2,
        /// mount(2)
        MOUNT = 3,
        /// move_mount(2)
        MOVE_MOUNT = 4,
        /// pivot_root(2)
        PIVOT_ROOT = 5,
        /// chroot(2)
        CHROOT = 6,
    }

    /// Changes of [`Network`].
    network_op = "kt_network_op" {
        /// This side opened it, or tried to.
        CONNECT = 1,
        /// The other side opened it.
        ACCEPT = 2,
        /// A socket listens.
        LISTEN = 3,
        /// It ended.
        CLOSE = 4,
    }
}

/// Kinds of records, with their number and names.
pub mod kind {
    pub use super::kinds::*;

    /// Length of an array indexed by kind.
    pub const COUNT: usize = KINDS as usize;

    /// Name of a kind, as `event_loss` has it.
    pub fn name(kind: u32) -> Option<&'static str> {
        Some(match kind {
            FORK => "fork",
            EXEC => "exec",
            EXIT => "exit",
            EXISTING => "existing",
            PRIVILEGE => "privilege",
            NETWORK => "network",
            _ => return None,
        })
    }
}

//! Records of the kernel side become [`KernelEvent`]s.
//!
//! Invariant: never panics, whatever the bytes; what is no record is a [`DecodeError`] that says why.
//! Invariant: nothing is made up: a part that the kernel could not read is empty, and `flags` says so.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use kerntrail_ebpf::records::{self, Header, Layout, fd_kind, flags, kind, network_op, privilege_op};

use crate::event::{
    Connection, EventKind, FdKind, KernelEvent, NetworkOp, PrivilegeCall, PrivilegeOp, PrivilegeState, ProcessRef,
    Program, Task,
};

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not even a header.
    #[error("a record of {bytes} bytes has no header")]
    NoHeader {
        /// How many there are.
        bytes: usize,
    },
    /// A kind that this version does not know.
    #[error("unknown kind of record {0}")]
    Kind(u32),
    /// Shorter than the fixed part of its kind.
    #[error("{kind} record of {bytes} bytes is cut short: {needed} are its fixed part")]
    Short {
        /// Which kind.
        kind: &'static str,
        /// How many there are.
        bytes: usize,
        /// How many there must be at least.
        needed: usize,
    },
    /// Its own size is another.
    #[error("{kind} record says {stated} bytes and has {bytes}")]
    Size {
        /// Which kind.
        kind: &'static str,
        /// What it says.
        stated: usize,
        /// How many there are.
        bytes: usize,
    },
    /// The strings do not fit into what follows the fixed part.
    #[error("{kind} record has {bytes} bytes of strings, and {field} ends beyond")]
    Strings {
        /// Which kind.
        kind: &'static str,
        /// Which string.
        field: &'static str,
        /// How many bytes there are for all strings.
        bytes: usize,
    },
    /// A number that stands for nothing.
    #[error("{kind} record has unknown {field} {value}")]
    Value {
        /// Which kind.
        kind: &'static str,
        /// Which field.
        field: &'static str,
        /// What it holds.
        value: u32,
    },
}

/// Decodes one record, as the ring or the task iterator hands it out.
pub fn decode(record: &[u8]) -> Result<KernelEvent, DecodeError> {
    let (header, _) = records::read::<Header>(record).ok_or(DecodeError::NoHeader { bytes: record.len() })?;
    let name = kind::name(header.kind).ok_or(DecodeError::Kind(header.kind))?;
    if header.size as usize != record.len() {
        return Err(DecodeError::Size { kind: name, stated: header.size as usize, bytes: record.len() });
    }
    let (task, event) = match header.kind {
        kind::FORK => {
            let (fork, _) = fixed::<records::Fork>(record, name)?;
            (fork.task, EventKind::Fork)
        }
        kind::EXIT => {
            let (exit, _) = fixed::<records::Exit>(record, name)?;
            (exit.task, exit_of(exit.status))
        }
        kind::EXEC => {
            let (program, strings) = fixed::<records::Program>(record, name)?;
            (program.task, EventKind::Exec(Box::new(program_of(&program, Strings::new(name, strings))?)))
        }
        kind::EXISTING => {
            let (program, strings) = fixed::<records::Program>(record, name)?;
            let mut decoded = program_of(&program, Strings::new(name, strings))?;
            drop_title_padding(&mut decoded.args);
            (program.task, EventKind::Existing(Box::new(decoded)))
        }
        kind::PRIVILEGE => {
            let (call, strings) = fixed::<records::Privilege>(record, name)?;
            (call.task, EventKind::Privilege(Box::new(privilege_of(&call, Strings::new(name, strings))?)))
        }
        kind::NETWORK => {
            let (network, _) = fixed::<records::Network>(record, name)?;
            (network.task, EventKind::Network(Box::new(connection_of(&network)?)))
        }
        other => return Err(DecodeError::Kind(other)),
    };
    let Header { cpu, seq, boot_ns, flags, .. } = header;
    Ok(KernelEvent { cpu, seq, boot_ns, flags, task: task_of(&task), kind: event })
}

fn fixed<'a, T: Layout>(record: &'a [u8], kind: &'static str) -> Result<(T, &'a [u8]), DecodeError> {
    let needed = size_of::<T>();
    records::read::<T>(record).ok_or(DecodeError::Short { kind, bytes: record.len(), needed })
}

/// The strings of a record, taken one after the other.
struct Strings<'a> {
    kind: &'static str,
    all: usize,
    rest: &'a [u8],
}

impl<'a> Strings<'a> {
    fn new(kind: &'static str, bytes: &'a [u8]) -> Self {
        Self { kind, all: bytes.len(), rest: bytes }
    }

    fn take(&mut self, field: &'static str, len: usize) -> Result<&'a [u8], DecodeError> {
        let error = DecodeError::Strings { kind: self.kind, field, bytes: self.all };
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(error)?;
        self.rest = rest;
        Ok(taken)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Text in a field of constant length.
fn padded_text(bytes: &[u8]) -> String {
    text(bytes.split(|byte| *byte == 0).next().unwrap_or_default())
}

/// Components as the kernel writes them, innermost first, from the top down.
fn from_the_top(components: &[u8]) -> String {
    let names: Vec<_> = components.split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(text).collect();
    names.iter().rev().map(String::as_str).collect::<Vec<_>>().join("/")
}

/// A path from its components. Absolute, unless its upper part was cut off; empty when it could not be read.
fn path_of(components: &[u8], unread: bool, cut: bool) -> String {
    let path = from_the_top(components);
    if unread || cut { path } else { format!("/{path}") }
}

fn process_of(process: &records::Ref) -> ProcessRef {
    ProcessRef { tgid: process.tgid, start_boottime: process.start_boottime }
}

fn state_of(state: &records::State) -> PrivilegeState {
    let records::State { cap_effective, cgroup_id, euid, mnt_ns, pid_ns, net_ns, user_ns, reserved: _ } = *state;
    PrivilegeState { euid, cap_effective, mnt_ns, pid_ns, net_ns, user_ns, cgroup_id }
}

fn task_of(task: &records::Task) -> Task {
    Task {
        process: process_of(&task.process),
        parent: process_of(&task.parent),
        session_leader: process_of(&task.session_leader),
        group_leader: process_of(&task.group_leader),
        exec_seq: Some(task.exec_seq),
        comm: padded_text(&task.comm),
        state: state_of(&task.state),
        uid: task.uid,
        gid: task.gid,
        login_uid: task.login_uid,
        tty: padded_text(&task.tty),
    }
}

/// wait(2): the signal in the low seven bits, then the core dump's bit, then the exit status.
fn exit_of(status: u32) -> EventKind {
    EventKind::Exit { code: (status >> 8) as u8, signal: (status & 0x7f) as u8 }
}

fn program_of(program: &records::Program, mut strings: Strings<'_>) -> Result<Program, DecodeError> {
    let exe = strings.take("exe", program.exe_len.into())?;
    let cwd = strings.take("cwd", program.cwd_len.into())?;
    let cgroup = strings.take("cgroup", program.cgroup_len.into())?;
    let args = strings.take("args", program.args_len as usize)?;
    let is = |flag: u32| program.header.flags & flag != 0;
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
        stdin: fd_kind_of(strings.kind, "stdin_kind", program.stdin_kind)?,
        stdout: fd_kind_of(strings.kind, "stdout_kind", program.stdout_kind)?,
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

fn fd_kind_of(kind: &'static str, field: &'static str, value: u32) -> Result<FdKind, DecodeError> {
    Ok(match value {
        fd_kind::FD_UNKNOWN => FdKind::Unknown,
        fd_kind::FD_FILE => FdKind::File,
        fd_kind::FD_TTY => FdKind::Tty,
        fd_kind::FD_PIPE => FdKind::Pipe,
        fd_kind::FD_SOCKET => FdKind::Socket,
        fd_kind::FD_OTHER => FdKind::Other,
        fd_kind::FD_CLOSED => FdKind::Closed,
        value => return Err(DecodeError::Value { kind, field, value }),
    })
}

/// Flags of mount(2) with which its source is a path.
const MS_BIND: u64 = 0x1000;
const MS_MOVE: u64 = 0x2000;
/// Flag of move_mount(2) with which its source is a descriptor; the record then has the device's name.
const MOVE_MOUNT_F_EMPTY_PATH: u64 = 0x4;

fn privilege_of(call: &records::Privilege, mut strings: Strings<'_>) -> Result<PrivilegeCall, DecodeError> {
    let source = strings.take("source", call.source_len.into())?;
    let target = strings.take("target", call.target_len.into())?;
    let fs_type = strings.take("type", call.type_len.into())?;
    let base = strings.take("cwd", call.cwd_len.into())?;
    let is = |flag: u32| call.header.flags & flag != 0;
    let base = (call.cwd_len > 0 || !is(flags::CWD_UNREAD)).then(|| path_of(base, false, is(flags::CWD_CUT)));
    let (op, source_is_path) = match call.op {
        privilege_op::SETNS => (PrivilegeOp::Setns, false),
        privilege_op::UNSHARE => (PrivilegeOp::Unshare, false),
        privilege_op::MOUNT => (PrivilegeOp::Mount, call.call_flags & (MS_BIND | MS_MOVE) != 0),
        privilege_op::MOVE_MOUNT => (PrivilegeOp::Mount, call.call_flags & MOVE_MOUNT_F_EMPTY_PATH == 0),
        privilege_op::PIVOT_ROOT => (PrivilegeOp::PivotRoot, true),
        privilege_op::CHROOT => (PrivilegeOp::Chroot, false),
        value => return Err(DecodeError::Value { kind: strings.kind, field: "op", value }),
    };
    Ok(PrivilegeCall {
        op,
        ret: call.ret,
        flags: call.call_flags,
        source: if source_is_path { absolute(base.as_deref(), text(source)) } else { text(source) },
        target: if is(flags::TARGET_RESOLVED) {
            path_of(target, false, is(flags::TARGET_CUT))
        } else {
            absolute(base.as_deref(), text(target))
        },
        fs_type: text(fs_type),
        target_dev: call.target_dev,
        before: state_of(&call.before),
        after: state_of(&call.task.state),
        target_process: process_of(&call.target_process),
    })
}

/// `path` from the working directory `base`. `..` stays: only the kernel knows where a symbolic link would lead.
fn absolute(base: Option<&str>, path: String) -> String {
    let Some(base) = base.filter(|_| !path.is_empty() && !path.starts_with('/')) else { return path };
    let names = path.split('/').filter(|name| !matches!(*name, "" | "."));
    let mut whole = base.trim_end_matches('/').to_owned();
    for name in names {
        whole.push('/');
        whole.push_str(name);
    }
    if whole.is_empty() { "/".to_owned() } else { whole }
}

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

fn connection_of(network: &records::Network) -> Result<Connection, DecodeError> {
    let value = |field, value| DecodeError::Value { kind: "network", field, value };
    let address = |bytes: &[u8; 16]| match network.family {
        AF_INET => Ok(IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]))),
        // A socket for both families holds v4 addresses as ::ffff:a.b.c.d.
        AF_INET6 => Ok(IpAddr::V6(Ipv6Addr::from(*bytes)).to_canonical()),
        family => Err(value("family", family.into())),
    };
    Ok(Connection {
        op: match network.op {
            network_op::CONNECT => NetworkOp::Connect,
            network_op::ACCEPT => NetworkOp::Accept,
            network_op::LISTEN => NetworkOp::Listen,
            network_op::CLOSE => NetworkOp::Close,
            op => return Err(value("op", op)),
        },
        outbound: network.outbound != 0,
        local: (address(&network.local)?, network.local_port),
        remote: (address(&network.remote)?, network.remote_port),
        bytes_sent: network.bytes_sent,
        bytes_received: network.bytes_received,
        opened_boot_ns: network.opened_boot_ns,
        tcp_state: network.tcp_state,
        ret: network.ret,
    })
}

#[cfg(test)]
mod tests;

//! Decodes kernel records into [`KernelEvent`]s: the process that acted, and a row of the event's table.
//!
//! One module per concern, as on the kernel side: [`process`], [`privilege`] and [`network`]. What the process table acts
//! on stays typed ([`EventKind`]); everything else is decoded straight into the columns of its table.
//!
//! Invariant: never panics, whatever the bytes; bytes that are not a record become a [`DecodeError`] that says why.
//! Invariant: nothing is invented: a part that the kernel could not read is NULL, and `flags` says so.

mod network;
mod privilege;
mod process;

use kerntrail_ebpf::probes;
use kerntrail_ebpf::records::{self, Header, Layout};
use kerntrail_schemas::Activity;

use crate::clock::BootClock;
use crate::event::{EventKind, KernelEvent, PrivilegeState, ProcessRef, Task};
use crate::mask::Mask;
use crate::node::Node;

/// What decoding needs to know besides the bytes.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The node, for what is the host's own.
    pub node: &'a Node,
    /// The clock of the rows.
    pub clock: &'a BootClock,
    /// Masks secrets in text that a caller passed.
    pub mask: &'a Mask,
}

/// What is wrong with the bytes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The record is shorter than a header.
    #[error("a record of {bytes} bytes has no header")]
    NoHeader {
        /// Size of the record.
        bytes: usize,
    },
    /// The kind is unknown to this version.
    #[error("unknown kind of record {0}")]
    Kind(u32),
    /// The record is shorter than the fixed part of its kind.
    #[error("{kind} record of {bytes} bytes is truncated: its fixed part has {needed}")]
    Short {
        /// Which kind.
        kind: &'static str,
        /// Size of the record.
        bytes: usize,
        /// Minimum size for its kind.
        needed: usize,
    },
    /// The size in the header differs from the number of bytes.
    #[error("{kind} record states {stated} bytes but has {bytes}")]
    Size {
        /// Which kind.
        kind: &'static str,
        /// What it says.
        stated: usize,
        /// How many there are.
        bytes: usize,
    },
    /// A string ends beyond the bytes that follow the fixed part.
    #[error("{kind} record has {bytes} bytes of strings, but {field} ends beyond them")]
    Strings {
        /// Which kind.
        kind: &'static str,
        /// Which string.
        field: &'static str,
        /// How many bytes there are for all strings.
        bytes: usize,
    },
    /// A field holds a number without a meaning.
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
pub fn decode(record: &[u8], context: Context<'_>) -> Result<KernelEvent, DecodeError> {
    let (header, _) = records::read::<Header>(record).ok_or(DecodeError::NoHeader { bytes: record.len() })?;
    let name = probes::record(header.kind).ok_or(DecodeError::Kind(header.kind))?.name;
    if header.size as usize != record.len() {
        return Err(DecodeError::Size { kind: name, stated: header.size as usize, bytes: record.len() });
    }
    let raw = Raw { header, kind: name, bytes: record };
    let decoder = DECODERS.iter().find(|decoder| decoder.kinds.contains(&header.kind));
    let (task, event) = (decoder.ok_or(DecodeError::Kind(header.kind))?.decode)(raw, context)?;
    let Header { cpu, seq, boot_ns, flags, .. } = header;
    Ok(KernelEvent { cpu, seq, boot_ns, flags, task: task_of(&task), kind: event })
}

/// The decoders, one per concern.
const DECODERS: &[Decoder] = &[process::DECODER, privilege::DECODER, network::DECODER];

/// Decodes some kinds of records.
struct Decoder {
    /// Which.
    kinds: &'static [u32],
    /// The process that acted, and what it did.
    decode: for<'a> fn(Raw<'a>, Context<'a>) -> Result<(records::Task, EventKind), DecodeError>,
}

/// A record of a known kind and the right size.
#[derive(Clone, Copy)]
struct Raw<'a> {
    header: Header,
    /// Name of the kind.
    kind: &'static str,
    bytes: &'a [u8],
}

impl<'a> Raw<'a> {
    /// The fixed part, and the strings after it.
    fn parts<T: Layout>(self) -> Result<(T, Strings<'a>), DecodeError> {
        let needed = size_of::<T>();
        let short = DecodeError::Short { kind: self.kind, bytes: self.bytes.len(), needed };
        let (fixed, strings) = records::read::<T>(self.bytes).ok_or(short)?;
        Ok((fixed, Strings { kind: self.kind, all: strings.len(), rest: strings }))
    }

    /// Whether one of `kerntrail_ebpf::records::flags` is set.
    fn is(self, flag: u32) -> bool {
        self.header.flags & flag != 0
    }

    /// The activity that the registry has for this kind of record and `op`.
    fn activity(self, op: u32) -> Result<&'static Activity, DecodeError> {
        Activity::of_record(self.header.kind, op).ok_or_else(|| self.unknown("op", op))
    }

    fn unknown(self, field: &'static str, value: u32) -> DecodeError {
        DecodeError::Value { kind: self.kind, field, value }
    }
}

/// The strings of a record, to be taken one after the other.
struct Strings<'a> {
    kind: &'static str,
    all: usize,
    rest: &'a [u8],
}

impl<'a> Strings<'a> {
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
    let records::State { cap_effective, cgroup_id, euid, mnt_ns, pid_ns, net_ns, user_ns, egid } = *state;
    PrivilegeState { euid, egid, cap_effective, mnt_ns, pid_ns, net_ns, user_ns, cgroup_id }
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

#[cfg(test)]
mod tests;

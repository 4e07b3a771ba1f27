//! A type for each identity, so that they cannot be confused.

use std::fmt;
use std::str::FromStr;

use arrow::array::StringBuilder;
use arrow::datatypes::DataType;
use sha2::{Digest, Sha256};

use crate::cell::Cell;

/// Lower-case base32hex: sorts as the number it stands for (RFC 4648, section 7).
const BASE32: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
/// Characters of a 128-bit number in base32.
const UID_LEN: usize = 26;

/// A process for the whole of its life, across execs and collector restarts.
///
/// 40 bits hashed from the boot, 64 bits of start time (CLOCK_BOOTTIME ns), 24 bits of thread group id: within a
/// boot it sorts by start time. Shown as 26 base32 characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ProcessUid(u128);

impl ProcessUid {
    /// The process `tgid` of the boot `boot` that started at `start_boottime` ns.
    pub fn new(boot: &BootHash, start_boottime: u64, tgid: u32) -> Self {
        Self((u128::from(boot.0) << 88) | (u128::from(start_boottime) << 24) | u128::from(tgid & 0x00ff_ffff))
    }
}

impl fmt::Display for ProcessUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0u8; UID_LEN];
        for (place, character) in text.iter_mut().rev().enumerate() {
            *character = BASE32[(self.0 >> (5 * place)) as usize & 31];
        }
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

impl fmt::Debug for ProcessUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is not a process uid.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a process uid: expected 26 characters of 0-9 and a-v")]
pub struct NotAProcessUid(String);

impl FromStr for ProcessUid {
    type Err = NotAProcessUid;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || NotAProcessUid(text.to_owned());
        // The first character holds only three bits.
        if text.len() != UID_LEN || text.as_bytes()[0] > b'7' {
            return Err(wrong());
        }
        let mut value = 0u128;
        for character in text.bytes() {
            let digit = BASE32.iter().position(|known| *known == character).ok_or_else(wrong)?;
            value = (value << 5) | digit as u128;
        }
        Ok(Self(value))
    }
}

impl Cell for ProcessUid {
    type Builder = StringBuilder;
    fn data_type() -> DataType {
        DataType::Utf8
    }
    fn builder() -> StringBuilder {
        StringBuilder::new()
    }
    fn append(builder: &mut StringBuilder, value: Option<&Self>) {
        builder.append_option(value.map(ToString::to_string));
    }
    fn text_bytes(&self) -> usize {
        UID_LEN
    }
}

/// The 40 bits of a boot that open each of its [`ProcessUid`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootHash(u64);

impl BootHash {
    /// Hashes the boot id, or the node name of imported events, whose boot is unknown.
    pub fn of(boot: &str) -> Self {
        let digest = Sha256::digest(boot.as_bytes());
        Self(digest[..5].iter().fold(0, |bits, byte| (bits << 8) | u64::from(*byte)))
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The identity written as `text`.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }
            /// Its text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Cell for $name {
            type Builder = StringBuilder;
            fn data_type() -> DataType {
                DataType::Utf8
            }
            fn builder() -> StringBuilder {
                StringBuilder::new()
            }
            fn append(builder: &mut StringBuilder, value: Option<&Self>) {
                builder.append_option(value.map(Self::as_str));
            }
            fn text_bytes(&self) -> usize {
                self.0.len()
            }
        }
    };
}

text_id!(
    /// One boot of a kernel: `/proc/sys/kernel/random/boot_id`.
    BootId
);
text_id!(
    /// A container: the 64 hex digits that the runtime gave it.
    ContainerId
);
text_id!(
    /// A pod: its `metadata.uid`.
    PodUid
);
text_id!(
    /// A finding: a hash of rule, group and window or event, so that a second run of the rule adds nothing.
    FindingId
);
text_id!(
    /// A rule: the `id` of its Sigma document.
    RuleId
);
text_id!(
    /// A source of numbered events: boot id and start of a collector, or `kind:node` of imported events.
    StreamId
);

impl StreamId {
    /// The stream of a collector that started at `started` (CLOCK_BOOTTIME ns) in `boot`.
    pub fn of_collector(boot: &BootId, started: u64) -> Self {
        Self(format!("{boot}+{started}"))
    }

    /// The stream of the events of `node` that were imported from an export of `kind` (`tetragon`, ...).
    pub fn of_import(kind: &str, node: &str) -> Self {
        Self(format!("{kind}:{node}"))
    }
}

/// An id that is not stored, but joined from columns wherever rows are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinedId {
    /// Its name as a column.
    pub name: &'static str,
    /// The columns that it is joined from; where one is NULL, so is the id.
    pub columns: &'static [&'static str],
    /// What stands between them.
    pub separator: &'static str,
}

/// An event: [`event_id`].
pub const EVENT_ID: JoinedId = JoinedId { name: "event_id", columns: &["stream", "cpu", "seq"], separator: "-" };
/// A program run by a process: [`exec_id`].
pub const EXEC_ID: JoinedId = JoinedId { name: "exec_id", columns: &["process_uid", "exec_seq"], separator: "." };

/// `event_id` of the row with these numbers; a resend has the same.
pub fn event_id(stream: impl fmt::Display, cpu: i32, seq: i64) -> String {
    let separator = EVENT_ID.separator;
    format!("{stream}{separator}{cpu}{separator}{seq}")
}

/// `exec_id` of the program that `process_uid` ran after `exec_seq` others.
pub fn exec_id(process_uid: impl fmt::Display, exec_seq: i32) -> String {
    format!("{process_uid}{}{exec_seq}", EXEC_ID.separator)
}

/// The parts of an [`event_id`]; `None` if `text` is not an event id.
pub fn parse_event_id(text: &str) -> Option<(StreamId, i32, i64)> {
    let (rest, seq) = text.rsplit_once(EVENT_ID.separator)?;
    let (stream, cpu) = rest.rsplit_once(EVENT_ID.separator)?;
    // The collector's own numbers are those of processor -1.
    let (stream, cpu) = match stream.strip_suffix('-') {
        Some(stream) => (stream, format!("-{cpu}")),
        None => (stream, cpu.to_owned()),
    };
    Some((StreamId::new(stream), cpu.parse().ok()?, seq.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_uid_sorts_by_start_and_reads_back() {
        let boot = BootHash::of("59a5a6c4-8f13-4d0b-9a3f-4be4a4a1b9a7");
        let uids: Vec<_> =
            [(1, 9), (2, 1), (u64::MAX, 0x00ff_ffff)].map(|(ns, pid)| ProcessUid::new(&boot, ns, pid)).into();
        let texts: Vec<String> = uids.iter().map(ToString::to_string).collect();
        assert!(texts.is_sorted(), "{texts:?}");
        for (uid, text) in uids.iter().zip(&texts) {
            assert_eq!(text.len(), UID_LEN);
            assert_eq!(text.parse::<ProcessUid>().unwrap(), *uid);
        }
    }

    #[test]
    fn an_event_id_reads_back() {
        let boot = BootId::new("59a5a6c4-8f13-4d0b-9a3f-4be4a4a1b9a7");
        for stream in [StreamId::of_collector(&boot, 7), StreamId::of_import("tetragon", "worker-1")] {
            for (cpu, seq) in [(0, 0), (3, i64::MAX), (-1, 5)] {
                assert_eq!(parse_event_id(&event_id(&stream, cpu, seq)), Some((stream.clone(), cpu, seq)));
            }
        }
        for text in ["", "a", "a-1", "a-x-1", "a-1-x"] {
            assert_eq!(parse_event_id(text), None, "{text:?}");
        }
    }

    #[test]
    fn invalid_process_uids_are_refused() {
        for text in ["", "0", "w0000000000000000000000000", "80000000000000000000000000", "0000000000000000000000000é"]
        {
            assert!(text.parse::<ProcessUid>().is_err(), "{text:?}");
        }
    }
}

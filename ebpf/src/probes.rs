//! What is collected, declared as data: probes with their programs, and the records that they emit.
//!
//! A concern is a pair of files: its programs and records in `bpf/<concern>.bpf.c`, their declaration in
//! `probes/<concern>.rs`. The loader, the filter and the tests iterate over [`CONCERNS`] and know none by name.

pub mod network;
pub mod privilege;
pub mod process;
pub mod tasks;

use crate::hook::Hook;
use crate::loader::LoadOptions;
use crate::records::{self, EnumLayout, MAX_KINDS, StructLayout};

/// All concerns. Their probes are attached in this order.
pub const CONCERNS: &[Concern] = &[tasks::CONCERN, process::CONCERN, network::CONCERN, privilege::CONCERN];

/// A part of what is collected.
#[derive(Clone, Copy, Debug)]
pub struct Concern {
    /// Its name, that of its files.
    pub name: &'static str,
    /// Its probes, in the order in which they are attached.
    pub probes: &'static [Probe],
    /// The records that its programs emit.
    pub records: &'static [RecordKind],
    /// Its structs.
    pub layouts: &'static [StructLayout],
    /// Its enums.
    pub enums: &'static [EnumLayout],
    /// The enum of the kinds of its records.
    pub kinds: EnumLayout,
    /// Maps whose number of entries is an option.
    pub maps: &'static [MapSize],
}

/// Programs that work only together: when the kernel refuses one of them, none stays.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// Its name, in logs and metrics.
    pub name: &'static str,
    /// Whether collection works without it.
    pub need: Need,
    /// Probe without which its records would be wrong or useless; declared before it.
    pub depends_on: Option<&'static str>,
    /// Activities that are incomplete without it.
    pub activities: &'static [&'static str],
    /// Its programs, in the order in which they are attached.
    pub programs: &'static [BpfProgram],
}

/// What happens when the kernel refuses a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// It does not start.
    Required,
    /// It starts without the probe, and reports what is missing.
    Optional,
}

/// A program of the object.
#[derive(Clone, Copy, Debug)]
pub struct BpfProgram {
    /// Its function in C.
    pub name: &'static str,
    /// Where it is attached.
    pub hook: Hook,
    /// Whether an event is lost when the kernel skips a run of it.
    pub skipped_is_lost: bool,
}

impl BpfProgram {
    /// Function `name`, attached to `hook`.
    pub const fn new(name: &'static str, hook: Hook) -> Self {
        Self { name, hook, skipped_is_lost: true }
    }
}

/// A kind of record.
#[derive(Clone, Copy, Debug)]
pub struct RecordKind {
    /// Its number in [`records::Header::kind`]: 1 to 63, different for each kind.
    pub kind: u32,
    /// Its name, as column `event_kind` of `event_loss` has it.
    pub name: &'static str,
    /// Layout of its fixed part.
    pub layout: StructLayout,
    /// What the filter does to it.
    pub filtered: Filtered,
}

/// How a record is treated whose kind the filter drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filtered {
    /// It is not made.
    Dropped,
    /// It is made for the process table, with [`records::flags::FILTERED`] and without a number.
    Marked,
    /// No filter applies to it.
    Never,
}

/// A map whose number of entries is fixed at load.
#[derive(Clone, Copy, Debug)]
pub struct MapSize {
    /// Its name in the object.
    pub map: &'static str,
    /// Its number of entries.
    pub entries: fn(&LoadOptions) -> u32,
}

/// All kinds of records.
pub fn records() -> impl Iterator<Item = &'static RecordKind> {
    CONCERNS.iter().flat_map(|concern| concern.records)
}

/// The record whose kind has the number `kind`; `None` if the number is unknown.
pub fn record(kind: u32) -> Option<&'static RecordKind> {
    records().find(|record| record.kind == kind)
}

/// Every struct that is read from the kernel or written to it.
pub fn layouts() -> impl Iterator<Item = &'static StructLayout> {
    let shared = records::LAYOUTS.iter().chain(crate::filter::LAYOUTS);
    shared.chain(CONCERNS.iter().flat_map(|concern| concern.layouts))
}

/// Every enum of those structs.
pub fn enums() -> impl Iterator<Item = &'static EnumLayout> {
    records::ENUMS.iter().chain(CONCERNS.iter().flat_map(|concern| concern.enums))
}

/// Declares the kinds of a concern's records: module `kind` with their numbers, `KINDS` and `RECORDS`.
macro_rules! kinds {
    ($c_name:literal { $($(#[$doc:meta])* $kind:ident = $value:literal, $name:literal, $layout:ty, $filtered:ident;)* }) => {
        /// Numbers of the kinds of records.
        pub mod kind {
            $($(#[$doc])* pub const $kind: u32 = $value;)*
        }

        const KINDS: $crate::records::EnumLayout =
            $crate::records::EnumLayout { name: $c_name, values: &[$((stringify!($kind), $value),)*] };

        const RECORDS: &[$crate::probes::RecordKind] = &[$($crate::probes::RecordKind {
            kind: $value,
            name: $name,
            layout: <$layout as $crate::records::Layout>::LAYOUT,
            filtered: $crate::probes::Filtered::$filtered,
        },)*];
    };
}
use kinds;

const _: () = assert!(kinds_are_unique(), "two records have the same kind, or one is 0 or too large");

const fn kinds_are_unique() -> bool {
    let mut seen = 1_u64;
    let mut concern = 0;
    while concern < CONCERNS.len() {
        let records = CONCERNS[concern].records;
        let mut record = 0;
        while record < records.len() {
            let kind = records[record].kind;
            if kind as usize >= MAX_KINDS || seen >> kind & 1 == 1 {
                return false;
            }
            seen |= 1 << kind;
            record += 1;
        }
        concern += 1;
    }
    true
}

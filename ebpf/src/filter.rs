//! The filter decides, by cgroup and kind, which records are sent.
//!
//! The kernel programs consult it before they reserve or fill a record (`bpf/filter.h`). By default everything passes.
//! A dropped event takes no number, so it does not look lost; [`crate::CpuCounters::filtered`] counts it.
//!
//! The process table is built from fork, exec and exit, so dropped ones are still sent, with
//! [`crate::records::flags::FILTERED`] and without a number: ancestry and context of later events stay complete, even
//! for processes that leave the cgroup. Processes that already ran ([`crate::Programs::existing`]) are not filtered.
//!
//! A cgroup is identified by the id in its records ([`crate::records::State::cgroup_id`]: v2, or the `pids` controller
//! of v1), which is the inode number of its directory. Its child cgroups have entries of their own: a filter for a pod
//! must be set for each of them. An entry outlives its cgroup until it is cleared.

use std::collections::HashMap;

use aya::maps::{self, MapData, MapError};

use crate::probes::{self, Filtered};
use crate::records::{MAX_KINDS, layouts};

layouts! {
    /// What a cgroup's entry decides, a bit for each kind.
    Entry = "kt_filter" {
        /// Kinds that it decides.
        decided: u64,
        /// Of these, the ones that are dropped.
        dropped: u64,
    }

    /// What no entry decides.
    Defaults = "kt_filter_default" {
        /// Kinds that are dropped.
        dropped: u64,
        /// Number of entries.
        cgroups: u64,
    }
}

// SAFETY: repr(C), two integers, no padding (asserted by `layouts!`).
unsafe impl aya::Pod for Entry {}
// SAFETY: as above.
unsafe impl aya::Pod for Defaults {}

/// Whether an event passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is recorded.
    Pass,
    /// It is dropped and counted.
    Drop,
}

/// Why the filter did not change.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// No filter applies to records of this kind.
    #[error("records of kind {0} cannot be filtered")]
    Kind(u32),
    /// All entries are taken.
    #[error("no room for a filter of cgroup {cgroup_id}: {capacity} cgroups have one")]
    Full {
        /// The cgroup that got none.
        cgroup_id: u64,
        /// How many cgroups can have one.
        capacity: u32,
    },
    /// The kernel refused the change.
    #[error("cannot {operation}")]
    Map {
        /// What was tried.
        operation: &'static str,
        /// Why it failed.
        source: MapError,
    },
}

/// The filter of the loaded programs. A change applies to events that begin after it.
///
/// The kernel may skip programs on the CPU that makes a change, while it does; [`crate::Programs::missed`] counts that.
pub struct Filter {
    cgroups: maps::HashMap<MapData, u64, Entry>,
    defaults: maps::Array<MapData, Defaults>,
    /// The same as `cgroups`: nobody else writes it.
    entries: HashMap<u64, Entry>,
    dropped: u64,
    capacity: u32,
}

impl Filter {
    pub(crate) fn new(
        cgroups: maps::HashMap<MapData, u64, Entry>,
        defaults: maps::Array<MapData, Defaults>,
        capacity: u32,
    ) -> Self {
        Self { cgroups, defaults, entries: HashMap::new(), dropped: 0, capacity }
    }

    /// Sets whether events of `kind` pass for the processes in `cgroup_id`, regardless of the kind's default.
    ///
    /// Errors: [`FilterError::Full`] when as many cgroups as [`crate::LoadOptions`] allows have entries; nothing changed.
    pub fn set(&mut self, cgroup_id: u64, kind: u32, verdict: Verdict) -> Result<(), FilterError> {
        let bit = bit_of(kind)?;
        let mut entry = self.entry(cgroup_id);
        entry.decided |= bit;
        entry.dropped = with(entry.dropped, bit, verdict);
        self.store(cgroup_id, entry)
    }

    /// Leaves `kind` of `cgroup_id` to the default of the kind.
    pub fn clear(&mut self, cgroup_id: u64, kind: u32) -> Result<(), FilterError> {
        let bit = bit_of(kind)?;
        let mut entry = self.entry(cgroup_id);
        entry.decided &= !bit;
        entry.dropped &= !bit;
        self.store(cgroup_id, entry)
    }

    /// Leaves all kinds of `cgroup_id` to their defaults, and frees its entry.
    pub fn clear_cgroup(&mut self, cgroup_id: u64) -> Result<(), FilterError> {
        self.store(cgroup_id, NOTHING_DECIDED)
    }

    /// Sets whether events of `kind` pass where no entry decides, including those of unknown processes.
    pub fn set_default(&mut self, kind: u32, verdict: Verdict) -> Result<(), FilterError> {
        let dropped = with(self.dropped, bit_of(kind)?, verdict);
        self.store_default(dropped, self.entries.len())?;
        self.dropped = dropped;
        Ok(())
    }

    fn entry(&self, cgroup_id: u64) -> Entry {
        self.entries.get(&cgroup_id).copied().unwrap_or(NOTHING_DECIDED)
    }

    fn store(&mut self, cgroup_id: u64, entry: Entry) -> Result<(), FilterError> {
        let known = self.entries.contains_key(&cgroup_id);
        if entry.decided == 0 {
            if known {
                self.cgroups.remove(&cgroup_id).map_err(failed("remove a filter"))?;
                self.entries.remove(&cgroup_id);
            }
        } else {
            if !known && self.entries.len() >= self.capacity as usize {
                return Err(FilterError::Full { cgroup_id, capacity: self.capacity });
            }
            self.cgroups.insert(cgroup_id, entry, 0).map_err(failed("set a filter"))?;
            self.entries.insert(cgroup_id, entry);
        }
        self.store_default(self.dropped, self.entries.len())
    }

    fn store_default(&mut self, dropped: u64, cgroups: usize) -> Result<(), FilterError> {
        let default = Defaults { dropped, cgroups: cgroups as u64 };
        self.defaults.set(0, default, 0).map_err(failed("set the default filter"))
    }
}

const NOTHING_DECIDED: Entry = Entry { decided: 0, dropped: 0 };

fn bit_of(kind: u32) -> Result<u64, FilterError> {
    const { assert!(MAX_KINDS <= u64::BITS as usize) };
    match probes::record(kind) {
        Some(record) if record.filtered != Filtered::Never => Ok(1 << kind),
        _ => Err(FilterError::Kind(kind)),
    }
}

fn with(dropped: u64, bit: u64, verdict: Verdict) -> u64 {
    match verdict {
        Verdict::Pass => dropped & !bit,
        Verdict::Drop => dropped | bit,
    }
}

fn failed(operation: &'static str) -> impl FnOnce(MapError) -> FilterError {
    move |source| FilterError::Map { operation, source }
}

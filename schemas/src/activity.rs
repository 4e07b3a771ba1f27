//! What can happen: one entry for each activity of each table, with everything that depends on the activity.
//!
//! The entries are next to the columns of their table, in `tables/<table>.rs`. All code that depends on an activity
//! reads its entry: the mappings to OCSF and ECS, the collector's decoder, the timeline, the rules' log sources and
//! `docs/tables.md`.

use std::fmt;

use crate::mapping::{ecs, ocsf};
use crate::sentence::Sentence;
use crate::tables::Table;

/// One activity of a table.
pub struct Activity {
    /// The table to which it belongs.
    pub table: Table,
    /// Value of the column `activity`.
    pub name: &'static str,
    /// What happened, in one sentence.
    pub meaning: &'static str,
    /// Records of the kernel programs that become this activity; none for one that the kernel programs do not report.
    pub records: &'static [RecordCode],
    /// Class and activity in OCSF.
    pub ocsf: ocsf::Classification,
    /// Category, type and action in ECS.
    pub ecs: ecs::Classification,
    /// Categories of a Sigma rule's `logsource` that select it, besides the name of the table.
    pub sigma: &'static [&'static str],
    /// Its sentence in a timeline.
    pub sentence: Sentence,
    /// Whether it crosses a boundary of a container, and which columns show that; `None` when it crosses none.
    pub boundary: Option<BoundaryEvidence>,
}

/// Kind and operation of a kernel record: its number in `enum kt_*_kind` and its `op` in `ebpf/bpf/<concern>.bpf.c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordCode {
    /// Kind of the record.
    pub kind: u32,
    /// Operation within the kind; 0 for a kind without operations.
    pub op: u32,
}

/// The columns of a row that show whether a boundary was crossed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoundaryEvidence {
    /// The pairs `old_*` and `new_*`: namespaces, cgroup, user id, capabilities.
    StateChange,
    /// Besides these, `mount_is_host` says whether the new root directory is on the node's root file system.
    NewRoot {
        /// Column with the new root directory.
        path: &'static str,
    },
    /// Besides these, `mount_is_host` says whether the mount shows the node's root file system.
    Mount {
        /// Column with the mount point.
        path: &'static str,
    },
}

impl Activity {
    /// Every activity of every table.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        Table::ALL.iter().flat_map(|table| table.activities().iter().copied())
    }

    /// The activity that the kernel record with `kind` and `op` becomes; `None` for a record that no entry names.
    pub fn of_record(kind: u32, op: u32) -> Option<&'static Self> {
        let code = RecordCode { kind, op };
        Self::all().find(|activity| activity.records.contains(&code))
    }

    /// The activities that the Sigma category `category` selects, all of one table; empty for an unknown category.
    pub fn of_sigma_category(category: &str) -> Vec<&'static Self> {
        Self::all().filter(|activity| activity.sigma.contains(&category)).collect()
    }
}

/// Entries are compared by identity; no two of a table have the same name.
impl PartialEq for Activity {
    fn eq(&self, other: &Self) -> bool {
        (self.table, self.name) == (other.table, other.name)
    }
}

impl Eq for Activity {}

impl fmt::Debug for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.table, self.name)
    }
}

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Declares the activities of a table: `CONSTANT = "name" { field: value, ... }`, documented by its meaning.
///
/// Each becomes a static [`Activity`] of that name; `ACTIVITIES` lists them in the order of their declaration.
macro_rules! activities {
    ($table:ident: $($(#[doc = $meaning:literal])+ $constant:ident = $name:literal {
        $($field:ident: $value:expr,)*
    })+) => {
        $(
            $(#[doc = $meaning])+
            pub static $constant: $crate::activity::Activity = $crate::activity::Activity {
                table: $crate::tables::Table::$table,
                name: $name,
                meaning: concat!($($meaning),+).trim_ascii(),
                $($field: $value,)*
            };
        )+

        pub(super) static ACTIVITIES: &[&$crate::activity::Activity] = &[$(&$constant,)+];
    };
}
pub(crate) use activities;

#[cfg(test)]
mod tests;

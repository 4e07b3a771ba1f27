//! The shape of the mapping tables in `events.rs`, `calls.rs` and `process.rs`, and how a row is made by them.

use std::fmt::{self, Debug};
use std::sync::Arc;

use kerntrail_schemas::cell::Micros;
use kerntrail_schemas::tables::{Actor, Envelope, OwnColumns};

use super::call::CallArguments;
use super::names;
use super::numbers::id;
use super::record::{Body, Number};
use crate::import::format::{EventOrigin, ImportedRow, MappedColumn, MappedRow, RecordRefusal};

/// What a row is made of.
pub(super) struct TetragonEvent<'a> {
    pub(super) body: &'a Body<'a>,
    /// The arguments; empty for events that are not calls.
    pub(super) call: CallArguments<'a>,
    pub(super) actor: &'a Actor,
    pub(super) time: Micros,
}

/// A value of an event, to be stored in a column.
#[derive(Debug)]
pub(super) enum ColumnValue {
    Text(String),
    Number(i64),
    Flag(bool),
    Time(Micros),
}

/// A value, or none; or why the event is refused.
pub(super) type FoundValue = Result<Option<ColumnValue>, RecordRefusal>;

/// Where the value of a column is found.
///
/// A policy chooses which arguments of a function are exported, and the export does not name them. So arguments are
/// identified by type and order: the texts (strings, paths, files) count from 0, and so do the numbers. The value of an
/// argument that the policy leaves out is NULL where that can be seen.
#[derive(Clone, Copy)]
pub(super) enum ArgumentSource {
    /// The text with this number.
    Text(usize),
    /// A text, counted from the target of a mount: the first path of the kernel's; without any, the second text.
    FromTarget(isize),
    /// Of two texts the first; of one, none.
    FirstOfTwo,
    /// Of two texts the second; of one, that one.
    LastOfTwo,
    /// The number with this number.
    Number(usize),
    /// The number at this distance after the last text.
    AfterText(usize),
    /// Likewise, its permission bits.
    Permissions(usize),
    /// The user id with this number, or the last one; -1 stands for no change.
    UserId(usize),
    /// The namespaces that the flags in this number name.
    Namespaces(usize),
    /// What the call returned.
    Return,
    /// The same for every event.
    Fixed(&'static str),
    /// The field of this name, read by a function.
    Field(&'static str, for<'a> fn(&TetragonEvent<'a>) -> FoundValue),
}

impl ArgumentSource {
    /// The value in `event`. Errors: it is out of range.
    fn find(self, event: &TetragonEvent<'_>) -> FoundValue {
        let call = &event.call;
        Ok(match self {
            Self::Text(place) => call.text(place).map(ColumnValue::Text),
            Self::FromTarget(distance) => {
                call.target().checked_add_signed(distance).and_then(|place| call.text(place)).map(ColumnValue::Text)
            }
            Self::FirstOfTwo => call.text(0).filter(|_| call.has_two_texts()).map(ColumnValue::Text),
            Self::LastOfTwo => call.text(usize::from(call.has_two_texts())).map(ColumnValue::Text),
            Self::Number(place) => call.number(place).map(ColumnValue::Number),
            Self::AfterText(place) => call.after_text(place).map(ColumnValue::Number),
            Self::Permissions(place) => call.after_text(place).map(|mode| ColumnValue::Number(mode & 0o7777)),
            Self::UserId(place) => {
                let number = call.number(place).or(call.last_number()).filter(|number| *number != -1);
                id("uid", number.map(|number| Number(number.into())))?.map(|id| ColumnValue::Number(id.into()))
            }
            Self::Namespaces(place) => call.number(place).and_then(names::namespaces).map(ColumnValue::Text),
            Self::Return => call.return_value().map(ColumnValue::Number),
            Self::Fixed(text) => Some(ColumnValue::Text(text.to_owned())),
            Self::Field(_, read) => read(event)?,
        })
    }
}

impl fmt::Display for ArgumentSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(place) => write!(f, "text {}", place + 1),
            Self::FromTarget(-1) => f.write_str("text before the target"),
            Self::FromTarget(0) => f.write_str("target: first path, else text 2"),
            Self::FromTarget(_) => f.write_str("text after the target"),
            Self::FirstOfTwo => f.write_str("text 1 of two"),
            Self::LastOfTwo => f.write_str("text 2, or the only one"),
            Self::Number(place) => write!(f, "number {}", place + 1),
            Self::AfterText(place) => write!(f, "number {} after the texts", place + 1),
            Self::Permissions(place) => write!(f, "number {} after the texts, permission bits", place + 1),
            Self::UserId(place) => write!(f, "number {}, or the last one", place + 1),
            Self::Namespaces(place) => write!(f, "number {}, as names", place + 1),
            Self::Return => f.write_str("`return`"),
            Self::Fixed(text) => write!(f, "always `{text}`"),
            Self::Field(name, _) => f.write_str(name),
        }
    }
}

/// Which events of a kind an entry is for.
#[derive(Clone, Copy)]
pub(super) enum When {
    /// All of them.
    Always,
    /// Those for which the function holds; the text says which.
    If(&'static str, for<'a> fn(&TetragonEvent<'a>) -> bool),
}

/// A column and where its value is found.
pub(super) struct ColumnMapping<Own> {
    pub(super) name: &'static str,
    pub(super) source: ArgumentSource,
    pub(super) set: fn(&mut Own, ColumnValue),
}

/// An entry of a mapping table: the rows of `Own`'s table with one activity.
pub(super) struct RowMapping<Own: 'static> {
    /// Kinds of events, or functions, without the architecture.
    pub(super) names: &'static [&'static str],
    pub(super) when: When,
    pub(super) activity: &'static str,
    pub(super) columns: &'static [ColumnMapping<Own>],
}

/// An entry of a mapping table, of whichever table.
pub(super) trait MakeRow: Sync {
    /// Kinds of events, or functions, without the architecture.
    fn names(&self) -> &'static [&'static str];

    /// Whether it is for `event`, which has one of its names.
    fn applies(&self, event: &TetragonEvent<'_>) -> bool;

    /// The row of `event`, with `envelope` except for its activity. Errors: a value is out of range.
    fn make(
        &self,
        event: &TetragonEvent<'_>,
        origin: &Arc<EventOrigin>,
        envelope: Envelope,
    ) -> Result<ImportedRow, RecordRefusal>;

    /// For documentation.
    fn describe(&self) -> MappedRow;
}

impl<Own> MakeRow for RowMapping<Own>
where
    Own: OwnColumns + Default + Debug + Send + Sync + 'static,
    Own::Builder: Send,
{
    fn names(&self) -> &'static [&'static str] {
        self.names
    }

    fn applies(&self, event: &TetragonEvent<'_>) -> bool {
        match self.when {
            When::Always => true,
            When::If(_, holds) => holds(event),
        }
    }

    fn make(
        &self,
        event: &TetragonEvent<'_>,
        origin: &Arc<EventOrigin>,
        envelope: Envelope,
    ) -> Result<ImportedRow, RecordRefusal> {
        let mut own = Own::default();
        for column in self.columns {
            if let Some(value) = column.source.find(event)? {
                (column.set)(&mut own, value);
            }
        }
        Ok(ImportedRow::new(Arc::clone(origin), event.time, self.activity, envelope, own))
    }

    fn describe(&self) -> MappedRow {
        let columns = self.columns.iter();
        MappedRow {
            records: self.names.to_vec(),
            when: match self.when {
                When::Always => "",
                When::If(which, _) => which,
            },
            table: Own::TABLE,
            activity: self.activity,
            columns: columns.map(|column| MappedColumn::new(column.name, column.source.to_string())).collect(),
        }
    }
}

/// What a column can hold, from a value; `None` where the value does not fit.
pub(super) trait FromValue: Sized {
    fn from_value(value: ColumnValue) -> Option<Self>;
}

impl FromValue for String {
    fn from_value(value: ColumnValue) -> Option<Self> {
        if let ColumnValue::Text(text) = value { Some(text) } else { None }
    }
}

impl FromValue for i64 {
    fn from_value(value: ColumnValue) -> Option<Self> {
        if let ColumnValue::Number(number) = value { Some(number) } else { None }
    }
}

impl FromValue for i32 {
    fn from_value(value: ColumnValue) -> Option<Self> {
        i64::from_value(value).and_then(|number| number.try_into().ok())
    }
}

impl FromValue for bool {
    fn from_value(value: ColumnValue) -> Option<Self> {
        if let ColumnValue::Flag(flag) = value { Some(flag) } else { None }
    }
}

impl FromValue for Micros {
    fn from_value(value: ColumnValue) -> Option<Self> {
        if let ColumnValue::Time(time) = value { Some(time) } else { None }
    }
}

/// Declares a mapping table. An entry reads: own columns of the table, activity, names of the events, which of them, and
/// for each column where its value is found. Of several entries with the same name the first that applies is taken.
macro_rules! mapping_table {
    (
        $(#[$doc:meta])* $table:ident;
        $($own:ident $activity:literal: [$($name:literal),* $(,)?] $(if $which:literal, $holds:expr)? => {
            $($column:ident: $source:expr,)*
        })*
    ) => {
        $(#[$doc])*
        pub(super) const $table: &[&dyn $crate::import::formats::tetragon::mapping::MakeRow] = &[$(
            &$crate::import::formats::tetragon::mapping::RowMapping::<$own> {
                names: &[$($name),*],
                when: mapping_table!(@when $($which, $holds)?),
                activity: $activity,
                columns: &[$($crate::import::formats::tetragon::mapping::ColumnMapping {
                    name: stringify!($column),
                    source: $source,
                    set: |own, value| {
                        own.$column = $crate::import::formats::tetragon::mapping::FromValue::from_value(value);
                    },
                }),*],
            },
        )*];
    };
    (@when) => { $crate::import::formats::tetragon::mapping::When::Always };
    (@when $which:literal, $holds:expr) => {
        $crate::import::formats::tetragon::mapping::When::If($which, $holds)
    };
}
pub(super) use mapping_table;

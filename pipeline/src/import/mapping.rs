//! Mapping tables: which kind of record becomes a row with which activity, and where in it each column's value is found.
//!
//! A format declares its tables with `mapping_table!` over its own [`ValueSource`]. Rows and documentation are made from
//! the same entries.

use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::sync::Arc;

use kerntrail_schemas::cell::Micros;
use kerntrail_schemas::tables::{Envelope, OwnColumns};

use super::format::{EventOrigin, ImportedRow, MappedColumn, MappedRow, RecordRefusal};

/// A value of an event, to be stored in a column.
#[derive(Debug)]
pub(super) enum ColumnValue {
    Text(String),
    Texts(Vec<String>),
    Number(i64),
    Flag(bool),
    Time(Micros),
}

/// A value, or none; or why the event is refused.
pub(super) type FoundValue = Result<Option<ColumnValue>, RecordRefusal>;

/// Where the value of a column is found, as a format can say it; displayed in documentation.
pub(super) trait ValueSource: Copy + fmt::Display + Send + Sync + 'static {
    /// An event, as the format reads it.
    type Event<'a>;

    /// A condition on an event: a function.
    type Condition: Send + Sync;

    /// The value in `event`. Errors: it is out of range.
    fn find(self, event: &Self::Event<'_>) -> FoundValue;

    /// Whether `condition` holds for `event`.
    fn holds(condition: &Self::Condition, event: &Self::Event<'_>) -> bool;
}

/// Which events of a kind an entry is for.
pub(super) enum When<S: ValueSource> {
    /// All of them.
    Always,
    /// Those for which the function holds; the text says which.
    If(&'static str, S::Condition),
}

/// A column and where its value is found.
pub(super) struct ColumnMapping<S, Own> {
    pub(super) name: &'static str,
    pub(super) source: S,
    pub(super) set: fn(&mut Own, ColumnValue),
}

/// An entry of a mapping table: the rows of `Own`'s table with one activity.
pub(super) struct RowMapping<S: ValueSource, Own: 'static> {
    /// Names of the events that it is for.
    pub(super) names: &'static [&'static str],
    pub(super) when: When<S>,
    pub(super) activity: &'static str,
    pub(super) columns: &'static [ColumnMapping<S, Own>],
}

/// An entry of a mapping table, for rows of any table.
pub(super) trait MakeRow<S: ValueSource>: Sync {
    /// Names of the events that it is for.
    fn names(&self) -> &'static [&'static str];

    /// Whether it is for `event`, which has one of its names.
    fn applies(&self, event: &S::Event<'_>) -> bool;

    /// The row of `event`, which happened at `time`, with `envelope` except for its activity. Errors: a value is out of range.
    fn make(
        &self,
        event: &S::Event<'_>,
        time: Micros,
        origin: &Arc<EventOrigin>,
        envelope: Envelope,
    ) -> Result<ImportedRow, RecordRefusal>;

    /// For documentation.
    fn describe(&self) -> MappedRow;
}

impl<S, Own> MakeRow<S> for RowMapping<S, Own>
where
    S: ValueSource,
    Own: OwnColumns + Default + Debug + Send + Sync + 'static,
    Own::Builder: Send,
{
    fn names(&self) -> &'static [&'static str] {
        self.names
    }

    fn applies(&self, event: &S::Event<'_>) -> bool {
        match &self.when {
            When::Always => true,
            When::If(_, condition) => S::holds(condition, event),
        }
    }

    fn make(
        &self,
        event: &S::Event<'_>,
        time: Micros,
        origin: &Arc<EventOrigin>,
        envelope: Envelope,
    ) -> Result<ImportedRow, RecordRefusal> {
        let mut own = Own::default();
        for column in self.columns {
            if let Some(value) = column.source.find(event)? {
                (column.set)(&mut own, value);
            }
        }
        Ok(ImportedRow::new(Arc::clone(origin), time, self.activity, envelope, own))
    }

    fn describe(&self) -> MappedRow {
        let columns = self.columns.iter();
        MappedRow {
            records: self.names.to_vec(),
            when: match &self.when {
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

impl FromValue for Vec<String> {
    fn from_value(value: ColumnValue) -> Option<Self> {
        if let ColumnValue::Texts(texts) = value { Some(texts) } else { None }
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

/// Entries of a mapping table by name, in the table's order.
pub(super) struct ByName<S: ValueSource + 'static>(HashMap<&'static str, Vec<&'static dyn MakeRow<S>>>);

impl<S: ValueSource> ByName<S> {
    /// The entries of `table`.
    pub(super) fn of(table: &[&'static dyn MakeRow<S>]) -> Self {
        let mut entries = HashMap::<_, Vec<_>>::new();
        for entry in table {
            entry.names().iter().for_each(|name| entries.entry(*name).or_default().push(*entry));
        }
        Self(entries)
    }

    /// Those with the name `name`.
    pub(super) fn entries(&self, name: &str) -> &[&'static dyn MakeRow<S>] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// The name of an entry that is equal to `name`.
    pub(super) fn name(&self, name: &str) -> Option<&'static str> {
        self.0.get_key_value(name).map(|(name, _)| *name)
    }

    /// All names.
    #[cfg(test)]
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.keys().copied()
    }
}

/// Declares a mapping table and the type of its sources. An entry reads: own columns of the table, activity, names of the
/// events, which of them, and for each column where its value is found. Of several entries with the same name the first
/// that applies is taken.
macro_rules! mapping_table {
    (
        $(#[$doc:meta])* $table:ident: $source_type:ty;
        $($own:ident $activity:literal: [$($name:literal),* $(,)?] $(if $which:literal, $holds:expr)? => {
            $($column:ident: $source:expr,)*
        })*
    ) => {
        $(#[$doc])*
        pub(super) const $table: &[&dyn $crate::import::mapping::MakeRow<$source_type>] = &[$(
            &$crate::import::mapping::RowMapping::<$source_type, $own> {
                names: &[$($name),*],
                when: mapping_table!(@when $($which, $holds)?),
                activity: $activity,
                columns: &[$($crate::import::mapping::ColumnMapping {
                    name: stringify!($column),
                    source: $source,
                    set: |own, value| {
                        own.$column = $crate::import::mapping::FromValue::from_value(value);
                    },
                }),*],
            },
        )*];
    };
    (@when) => { $crate::import::mapping::When::Always };
    (@when $which:literal, $holds:expr) => {
        $crate::import::mapping::When::If($which, $holds as _)
    };
}
pub(super) use mapping_table;

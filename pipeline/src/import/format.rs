//! What an import format offers: it recognizes its records and makes rows of them.
//!
//! A format is one module in [`super::formats`] that implements [`ImportFormat`], with its mapping table as data, and one line
//! in [`super::FORMATS`]. Everything else (decompression, splitting, numbering, duplicates, batching, rejected records,
//! help and documentation) comes from the import.

use std::fmt;

use kerntrail_schemas::Table;

pub use super::row::ImportedRow;
pub use super::scope::{EventOrigin, FormatScope, KeyedActor};

/// A kind of export that can be imported.
///
/// The same text must give the same rows in the same order whenever it is read: a row is identified by the hash of its
/// record and its place among the record's rows.
pub trait ImportFormat: Send + Sync {
    /// Short lower-case name. It is the first part of the rows' `stream`, so it must never change.
    fn name(&self) -> &'static str;

    /// The column `source` of its rows, unless a row sets another.
    fn source(&self) -> &'static str {
        self.name()
    }

    /// What it reads, as one phrase for help and documentation: `Tetragon's JSON export (versions 0.8 to 1.6)`.
    fn description(&self) -> &'static str;

    /// Its mapping table, for documentation and tests.
    fn mapping(&self) -> FormatMapping;

    /// Appends the rows of the JSON object `text` to `rows`, which is empty.
    ///
    /// Errors: the record is of this format and wrong; rows that were appended before are dropped. A [`RecordRefusal::Json`]
    /// counts only when no other format recognizes the record.
    fn read(&self, text: &str, scope: &mut FormatScope, rows: &mut Vec<ImportedRow>) -> Result<Reading, RecordRefusal>;
}

impl fmt::Debug for dyn ImportFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a format makes of a record.
#[derive(Debug, PartialEq, Eq)]
pub enum Reading {
    /// The record is not of this format.
    OtherFormat,
    /// The rows appended, one or more.
    Rows,
    /// The record is of this format, and no table has a place for its event, which has this name.
    NoPlace(String),
}

/// Why a record of the format is rejected.
#[derive(Debug)]
pub enum RecordRefusal {
    /// It is not JSON, or not of the expected structure.
    Json(serde_json::Error),
    /// It lacks a value or has an impossible one; the reason, for the user.
    Content(String),
}

impl RecordRefusal {
    /// A refusal because of `reason`.
    pub fn content(reason: impl Into<String>) -> Self {
        Self::Content(reason.into())
    }
}

impl From<serde_json::Error> for RecordRefusal {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error)
    }
}

/// Which part of a record fills which column, as documentation shows it and tests check it.
#[derive(Clone, Debug, Default)]
pub struct FormatMapping {
    /// Columns of the envelope.
    pub envelope: Vec<MappedColumn>,
    /// Columns of the actor; empty where rows have none.
    pub actor: Vec<MappedColumn>,
    /// The rows, by kind of record.
    pub rows: Vec<MappedRow>,
}

/// A column, and what in the record fills it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedColumn {
    /// Name of the column.
    pub column: &'static str,
    /// What fills it, in a few words.
    pub from: String,
}

impl MappedColumn {
    /// `column`, filled with `from`.
    pub fn new(column: &'static str, from: impl Into<String>) -> Self {
        Self { column, from: from.into() }
    }
}

/// Rows of one table and activity, and the records that they are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedRow {
    /// Kinds of records, as the export names them.
    pub records: Vec<&'static str>,
    /// Which of these records, where the kind alone does not decide it; empty where it does.
    pub when: &'static str,
    /// The table of the rows.
    pub table: Table,
    /// Their activity.
    pub activity: &'static str,
    /// The table's own columns.
    pub columns: Vec<MappedColumn>,
}

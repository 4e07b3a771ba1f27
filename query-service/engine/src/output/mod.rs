//! Answers in the forms that people and programs read.
//!
//! Every format except `arrow` is safe to print: what a terminal would interpret is escaped. `json` and `ndjson` keep
//! the value (`\u001b`), the others show it (`\x1b`).

mod arrow_stream;
mod cell;
mod csv;
pub mod escape;
mod json;
mod list;
mod markdown;
mod table;

use std::fmt;
use std::io;
use std::str::FromStr;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use futures::StreamExt;
use kerntrail_common::suggest::did_you_mean;

use crate::error::QueryError;
use crate::stream::QueryStream;

pub use list::List;

/// A form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Aligned columns; long values are cut with `…`.
    Table,
    /// One array of objects; when served ([`Options::served`]), one object with `columns`, `rows` and `row_count` or `error`.
    Json,
    /// An object a line.
    Ndjson,
    /// RFC 4180 with a header. NULL is nothing, the empty string is `""`.
    Csv,
    /// A table of GitHub-flavored Markdown.
    Markdown,
    /// An Arrow IPC stream.
    Arrow,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 6] = [Self::Table, Self::Json, Self::Ndjson, Self::Csv, Self::Markdown, Self::Arrow];

    /// Its name in options and requests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
            Self::Markdown => "markdown",
            Self::Arrow => "arrow",
        }
    }

    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Table => "text/plain; charset=utf-8",
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Markdown => "text/markdown; charset=utf-8",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that no format has.
#[derive(Debug, thiserror::Error)]
#[error("there is no format `{0}`{1}; formats: {formats}", formats = Format::ALL.map(Format::as_str).join(", "))]
pub struct UnknownFormat(String, String);

impl FromStr for Format {
    type Err = UnknownFormat;
    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        Self::ALL.into_iter().find(|format| format.as_str() == name).ok_or_else(|| {
            let hint = did_you_mean(name, Self::ALL.iter().map(|format| format.as_str()));
            UnknownFormat(escape::visible(name).into_owned(), hint)
        })
    }
}

/// How an answer is written.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Widest cell of `table`, in characters.
    pub cell_width: usize,
    /// Whether the reader sees only the result: then an error is part of it, if the format has a place for errors.
    pub served: bool,
}

impl Default for Options {
    /// 100 characters; not served.
    fn default() -> Self {
        Self { cell_width: 100, served: false }
    }
}

/// Writes an answer piece by piece: `begin`, any number of `rows`, then `end` or `fail`.
pub trait Encoder: Send {
    /// What stands before the rows.
    fn begin(&mut self, schema: &SchemaRef, out: &mut Vec<u8>) -> Result<(), ArrowError>;
    /// Some rows.
    fn rows(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), ArrowError>;
    /// What stands after them.
    fn end(&mut self, out: &mut Vec<u8>) -> Result<(), ArrowError>;
    /// Ends with `error`; false when the format has no place for it.
    fn fail(&mut self, error: &QueryError, out: &mut Vec<u8>) -> bool;
}

/// The writer of `format`.
pub fn encoder(format: Format, options: Options) -> Box<dyn Encoder> {
    match format {
        Format::Table => Box::new(table::TableEncoder::new(options.cell_width)),
        Format::Json => Box::new(json::JsonEncoder::new(options.served)),
        Format::Ndjson => Box::new(json::NdjsonEncoder::new(options.served)),
        Format::Csv => Box::<csv::CsvEncoder>::default(),
        Format::Markdown => Box::<markdown::MarkdownEncoder>::default(),
        Format::Arrow => Box::<arrow_stream::ArrowEncoder>::default(),
    }
}

/// Why an answer was not written to its end.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The query failed; rows before that were written.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// A value has no form in this format.
    #[error("cannot write the result in this format")]
    Encode(#[from] ArrowError),
    /// The reader is gone.
    #[error("cannot write the result")]
    Write(#[from] io::Error),
}

/// Writes the whole answer in `format` to `out`, row by row as it comes; returns the number of rows.
///
/// After an error of the query, the rows before it are written and, except in `json`, well formed.
pub async fn write(
    mut answer: QueryStream,
    format: Format,
    options: Options,
    out: &mut (dyn io::Write + Send),
) -> Result<usize, OutputError> {
    let mut encoder = encoder(format, options);
    let mut buffer = Vec::new();
    let mut rows = 0;
    encoder.begin(&answer.schema(), &mut buffer)?;
    let failed = loop {
        match answer.next().await {
            Some(Ok(batch)) => {
                rows += batch.num_rows();
                encoder.rows(&batch, &mut buffer)?;
                out.write_all(&buffer)?;
                buffer.clear();
            }
            Some(Err(error)) => break Some(error),
            None => break None,
        }
    };
    match &failed {
        None => encoder.end(&mut buffer)?,
        Some(error) => {
            encoder.fail(error, &mut buffer);
        }
    }
    out.write_all(&buffer)?;
    out.flush()?;
    failed.map_or(Ok(rows), |error| Err(error.into()))
}

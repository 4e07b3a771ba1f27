//! Rows to bytes and back: the payload of a message.
//!
//! ```text
//! payload = 'K' 'T' | layout version u8 | table u8 | zstd frame
//! frame   = batch of actors (only where the table has actors) | batch of events
//! batch   = number of rows (varint) | a column for each field of the writer's schema
//! column  = presence u8 (0 no row has a value, 1 each has, 2 some: a bitmap follows) | values of the rows that have one
//! ```
//!
//! The schema is not part of a message: its header has the schema version, and [`SchemaHistory`] knows the columns of that
//! version; it also names the dictionary that zstd starts from. [`mod@column`] describes how values are laid out: Arrow's
//! own buffers compress badly, because ascending offsets and times share no bytes, and its metadata alone costs more than
//! a row (`examples/wire_size.rs` measures both).
//!
//! Invariant: a message is read by the columns of its writer; columns that were introduced later are NULL.
//! Invariant: a message of a newer version is [`CodecError::Newer`], never other rows.
//! Invariant: what [`Codec::encode`] accepts, [`Codec::decode`] accepts; both count the memory of the decoded arrays the
//! same way.
//! Invariant: [`Codec::decode`] allocates in proportion to bytes it has seen, up to [`MAX_DECODED_BYTES`], and never panics.

mod column;
mod dictionary;
mod reader;
mod split;

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use kerntrail_schemas::history::MessageLayout;
use kerntrail_schemas::{SchemaHistory, Table, TableBatch};

pub use split::Piece;

use crate::newer::Newer;
use column::Budget;
use reader::Reader;

/// Largest payload. With key and headers it stays below the 1 MiB that Kafka takes by default.
pub const MAX_PAYLOAD_BYTES: usize = 1_000_000;
/// Most rows in a message, and most actors.
pub const MAX_ROWS: usize = 1 << 16;
/// Most memory that the arrays of a message take when decoded, without the columns that its writer did not have; also the
/// most that its frame may inflate to.
pub const MAX_DECODED_BYTES: usize = 64 << 20;

const MAGIC: [u8; 2] = *b"KT";
const LAYOUT_VERSION: u8 = 1;
const HEADER_BYTES: usize = 4;

/// What is wrong with encoded rows.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The bytes are not rows of this table and version.
    #[error("cannot decode rows of {table}: {reason}")]
    Decode {
        /// The table expected.
        table: Table,
        /// What is wrong.
        reason: String,
    },
    /// The rows were written by a newer release, which can read them: keep them for it.
    #[error("cannot decode rows of {table}: {newer}")]
    Newer {
        /// The table expected.
        table: Table,
        /// What of them is newer.
        newer: Newer,
    },
    /// The rows cannot be written.
    #[error("cannot encode rows of {table}: {reason}")]
    Encode {
        /// The table.
        table: Table,
        /// What is wrong.
        reason: String,
    },
    /// The rows exceed a bound of a message; fewer of them may fit: see [`Codec::split`].
    #[error("{rows} rows of {table} are too large for a message: {reason}")]
    TooLarge {
        /// The table.
        table: Table,
        /// Number of rows.
        rows: usize,
        /// Which bound, and by how much.
        reason: String,
    },
}

/// Encodes rows with the newest columns of a history of schemas, and decodes rows of all of its versions.
#[derive(Clone, Debug)]
pub struct Codec {
    history: Arc<SchemaHistory>,
}

impl Codec {
    /// The codec of a release that knows `history`.
    pub fn new(history: Arc<SchemaHistory>) -> Self {
        Self { history }
    }

    /// The codec of this release.
    pub fn current() -> Self {
        Self::new(SchemaHistory::current())
    }

    /// The schema version that it writes, and the newest that it reads.
    pub fn version(&self) -> u16 {
        self.history.version()
    }

    /// The schemas that it knows.
    pub fn history(&self) -> &SchemaHistory {
        &self.history
    }

    /// Encodes `rows`, whose message has [`Codec::version`] as its schema version.
    ///
    /// Errors: `TooLarge` when a bound of a message is exceeded, `Encode` when the batches do not have the schemas of the
    /// table.
    pub fn encode(&self, rows: &TableBatch) -> Result<Bytes, CodecError> {
        let plain = self.lay_out(rows)?;
        let mut payload = Vec::with_capacity(HEADER_BYTES + plain.len() / 4);
        payload.extend_from_slice(&MAGIC);
        payload.extend_from_slice(&[LAYOUT_VERSION, rows.table.number()]);
        dictionary::compress(self.version(), &plain, &mut payload)
            .map_err(|reason| CodecError::Encode { table: rows.table, reason })?;
        check_bound(rows, "payload bytes", payload.len(), MAX_PAYLOAD_BYTES)?;
        Ok(payload.into())
    }

    /// Decodes rows of `table` written by `schema_version`. They have the newest columns, NULL where the writer had none.
    ///
    /// Errors: `Newer` for what a later release wrote, else `Decode`, whatever the bytes are. Pointers to actors are
    /// checked by [`TableBatch::flatten`] only.
    pub fn decode(&self, table: Table, schema_version: u16, payload: &[u8]) -> Result<TableBatch, CodecError> {
        self.check_version(schema_version, payload).map_err(|newer| CodecError::Newer { table, newer })?;
        let failed = |reason| CodecError::Decode { table, reason };
        let unknown = || failed(format!("schema version {schema_version} is not known"));
        let written = self.history.layout(table, schema_version).ok_or_else(unknown)?;
        let newest = self.history.newest(table).ok_or_else(unknown)?;
        let frame = frame(table, payload).map_err(failed)?;
        let plain = dictionary::decompress(schema_version, frame, MAX_DECODED_BYTES).map_err(failed)?;
        read(table, &plain, written).and_then(|rows| widen(rows, newest)).map_err(failed)
    }

    /// The bytes of `rows` before compression; what a dictionary is trained from.
    ///
    /// Errors: as [`Codec::encode`].
    pub fn lay_out(&self, rows: &TableBatch) -> Result<Vec<u8>, CodecError> {
        let failed = |reason: &str| CodecError::Encode { table: rows.table, reason: reason.to_owned() };
        let layout = self.history.newest(rows.table).ok_or_else(|| failed("the table is not known"))?;
        let mut plain = Vec::new();
        let mut budget = Budget::new(MAX_DECODED_BYTES);
        match (&rows.actors, &layout.actors) {
            (Some(actors), Some(schema)) => lay_out_batch(rows, actors, schema, &mut budget, &mut plain)?,
            (None, None) => {}
            _ => return Err(failed("actors are missing, or given for a table without actors")),
        }
        lay_out_batch(rows, &rows.events, &layout.events, &mut budget, &mut plain)?;
        check_bound(rows, "bytes before compression", plain.len(), MAX_DECODED_BYTES)?;
        Ok(plain)
    }

    /// Whether this codec knows the versions of a payload; bytes that are not a payload have none.
    ///
    /// Errors: the version that is newer.
    pub fn check_version(&self, schema_version: u16, payload: &[u8]) -> Result<(), Newer> {
        let [k, t, layout, ..] = *payload else { return Ok(()) };
        if [k, t] != MAGIC {
            return Ok(());
        }
        Newer::check("layout", layout.into(), LAYOUT_VERSION.into())?;
        Newer::check("schema", schema_version.into(), self.version().into())
    }
}

/// [`Codec::encode`] of this release.
///
/// Errors: as there.
pub fn encode(rows: &TableBatch) -> Result<Bytes, CodecError> {
    Codec::current().encode(rows)
}

/// [`Codec::decode`] of this release.
///
/// Errors: as there.
pub fn decode(table: Table, schema_version: u16, payload: &[u8]) -> Result<TableBatch, CodecError> {
    Codec::current().decode(table, schema_version, payload)
}

/// [`Codec::lay_out`] of this release.
///
/// Errors: as there.
pub fn lay_out(rows: &TableBatch) -> Result<Vec<u8>, CodecError> {
    Codec::current().lay_out(rows)
}

/// [`Codec::split`] of this release.
///
/// Errors: as there.
pub fn split(rows: &TableBatch) -> Result<Vec<Piece>, CodecError> {
    Codec::current().split(rows)
}

fn lay_out_batch(
    rows: &TableBatch,
    batch: &RecordBatch,
    schema: &SchemaRef,
    budget: &mut Budget,
    plain: &mut Vec<u8>,
) -> Result<(), CodecError> {
    let failed = |reason| CodecError::Encode { table: rows.table, reason };
    if batch.schema_ref() != schema {
        return Err(failed("the columns are not those of the table".into()));
    }
    check_bound(rows, "rows or actors", batch.num_rows(), MAX_ROWS)?;
    reader::put_varint(plain, batch.num_rows() as u64);
    for (field, array) in schema.fields().iter().zip(batch.columns()) {
        column::write(plain, array, budget).map_err(|reason| failed(format!("column {}: {reason}", field.name())))?;
    }
    check_bound(rows, "decoded bytes", budget.spent(), MAX_DECODED_BYTES)
}

fn check_bound(rows: &TableBatch, what: &str, held: usize, limit: usize) -> Result<(), CodecError> {
    if held <= limit {
        return Ok(());
    }
    Err(CodecError::TooLarge {
        table: rows.table,
        rows: rows.rows(),
        reason: format!("{held} {what} of at most {limit}"),
    })
}

/// The compressed part of `payload`.
fn frame(table: Table, payload: &[u8]) -> Result<&[u8], String> {
    if payload.len() > MAX_PAYLOAD_BYTES {
        return Err(format!("{} payload bytes of at most {MAX_PAYLOAD_BYTES}", payload.len()));
    }
    let (header, frame) = payload.split_at_checked(HEADER_BYTES).ok_or("the payload is shorter than its header")?;
    match *header {
        [k, t, LAYOUT_VERSION, code] if [k, t] == MAGIC => {
            if code == table.number() {
                Ok(frame)
            } else {
                Err(format!("it holds rows of another table (code {code})"))
            }
        }
        [k, t, version, _] if [k, t] == MAGIC => Err(format!("layout version {version} is not known")),
        _ => Err("it does not start as a payload does".into()),
    }
}

/// Reads what [`Codec::lay_out`] wrote with the columns of `layout`.
fn read(table: Table, plain: &[u8], layout: &MessageLayout) -> Result<TableBatch, String> {
    let mut reader = Reader::new(plain);
    let mut budget = Budget::new(MAX_DECODED_BYTES);
    let mut batch = |schema: &SchemaRef| read_batch(&mut reader, schema, &mut budget);
    let actors = layout.actors.as_ref().map(&mut batch).transpose()?;
    let events = batch(&layout.events)?;
    reader.finish()?;
    Ok(TableBatch { table, actors, events })
}

fn read_batch(reader: &mut Reader<'_>, schema: &SchemaRef, budget: &mut Budget) -> Result<RecordBatch, String> {
    let rows = reader.length()?;
    if rows > MAX_ROWS {
        return Err(format!("{rows} rows of at most {MAX_ROWS}"));
    }
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let array = column::read(reader, field.data_type(), rows, budget);
        columns.push(array.map_err(|reason| format!("column {}: {reason}", field.name()))?);
    }
    RecordBatch::try_new(Arc::clone(schema), columns).map_err(|error| text(&error))
}

/// `rows` with the columns of `layout`, which has all of theirs: NULL where they have none.
fn widen(rows: TableBatch, layout: &MessageLayout) -> Result<TableBatch, String> {
    let TableBatch { table, actors, events } = rows;
    let actors = actors.zip(layout.actors.as_ref()).map(|(actors, schema)| widen_batch(actors, schema)).transpose()?;
    Ok(TableBatch { table, actors, events: widen_batch(events, &layout.events)? })
}

fn widen_batch(batch: RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, String> {
    if batch.schema_ref().fields().len() == schema.fields().len() {
        return Ok(batch);
    }
    let rows = batch.num_rows();
    let mut held = batch.schema_ref().fields().iter().zip(batch.columns()).peekable();
    let columns = schema.fields().iter().map(|field| match held.next_if(|(have, _)| have.name() == field.name()) {
        Some((_, column)) => Arc::clone(column),
        None => new_null_array(field.data_type(), rows),
    });
    RecordBatch::try_new(Arc::clone(schema), columns.collect()).map_err(|error| text(&error))
}

fn text(error: &dyn fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests;

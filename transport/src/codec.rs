//! Rows to bytes and back: the payload of a message.
//!
//! ```text
//! payload = 'K' 'T' | layout version u8 | table u8 | zstd frame
//! frame   = batch of actors (only where the table has actors) | batch of events
//! batch   = number of rows (varint) | a column for each field of the schema
//! column  = presence u8 (0 no row has a value, 1 each has, 2 some: a bitmap follows) | values of the rows that have one
//! ```
//!
//! The schema does not travel: both sides know it by `schema_version`, which also names the dictionary that zstd
//! starts from. How values are laid out is told in [`mod@column`]: Arrow's own buffers compress badly, because ascending
//! offsets and times share no bytes, and its metadata alone costs more than a row (`examples/wire_size.rs` measures both).
//!
//! Invariant: what [`encode`] accepts, [`decode`] accepts; both count the memory of the decoded arrays the same way.
//! Invariant: [`decode`] allocates in proportion to bytes it has seen, up to [`MAX_DECODED_BYTES`], and never panics.

mod column;
mod dictionary;
mod reader;
mod split;

use std::fmt;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use kerntrail_schemas::{SCHEMA_VERSION, Table, TableBatch};

pub use split::{Piece, split};

use column::Budget;
use reader::Reader;

/// Largest payload. With key and headers it stays below the 1 MiB that Kafka takes unless told otherwise.
pub const MAX_PAYLOAD_BYTES: usize = 1_000_000;
/// Most rows in a message, and most actors.
pub const MAX_ROWS: usize = 1 << 16;
/// Most memory that the arrays of a message take when decoded; also the most that its frame may inflate to.
pub const MAX_DECODED_BYTES: usize = 64 << 20;

const MAGIC: [u8; 2] = *b"KT";
const LAYOUT_VERSION: u8 = 1;
const HEADER_BYTES: usize = 4;

/// What is wrong with encoded rows.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The bytes are no rows of this table and version.
    #[error("cannot decode rows of {table}: {reason}")]
    Decode {
        /// The table expected.
        table: Table,
        /// What is wrong.
        reason: String,
    },
    /// The rows cannot be written.
    #[error("cannot encode rows of {table}: {reason}")]
    Encode {
        /// The table.
        table: Table,
        /// What is wrong.
        reason: String,
    },
    /// The rows exceed a bound of a message; fewer of them may fit: see [`split`].
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

/// Encodes `rows` with [`SCHEMA_VERSION`].
///
/// Errors: `TooLarge` when a bound of a message is exceeded, `Encode` when the batches do not have the schemas of the table.
pub fn encode(rows: &TableBatch) -> Result<Bytes, CodecError> {
    let plain = lay_out(rows)?;
    let mut payload = Vec::with_capacity(HEADER_BYTES + plain.len() / 4);
    payload.extend_from_slice(&MAGIC);
    payload.extend_from_slice(&[LAYOUT_VERSION, code(rows.table)]);
    dictionary::compress(&plain, &mut payload).map_err(|reason| CodecError::Encode { table: rows.table, reason })?;
    check_bound(rows, "payload bytes", payload.len(), MAX_PAYLOAD_BYTES)?;
    Ok(payload.into())
}

/// Decodes rows of `table` written by `schema_version`.
///
/// Errors: `Decode`, whatever the bytes are. Pointers to actors are checked by [`TableBatch::flatten`] only.
pub fn decode(table: Table, schema_version: u16, payload: &[u8]) -> Result<TableBatch, CodecError> {
    let failed = |reason| CodecError::Decode { table, reason };
    let frame = frame(table, payload).map_err(failed)?;
    let plain = dictionary::decompress(schema_version, frame, MAX_DECODED_BYTES).map_err(failed)?;
    read(table, &plain).map_err(failed)
}

/// The bytes of `rows` before compression; what a dictionary is trained from.
///
/// Errors: as [`encode`].
pub fn lay_out(rows: &TableBatch) -> Result<Vec<u8>, CodecError> {
    let mut plain = Vec::new();
    let mut budget = Budget::new(MAX_DECODED_BYTES);
    if rows.table.has_actor() != rows.actors.is_some() {
        let reason = "actors are given for a table without, or missing".to_owned();
        return Err(CodecError::Encode { table: rows.table, reason });
    }
    if let Some(actors) = &rows.actors {
        lay_out_batch(rows, actors, &TableBatch::actors_schema(), &mut budget, &mut plain)?;
    }
    lay_out_batch(rows, &rows.events, &TableBatch::events_schema(rows.table), &mut budget, &mut plain)?;
    check_bound(rows, "bytes before compression", plain.len(), MAX_DECODED_BYTES)?;
    Ok(plain)
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
        [k, t, LAYOUT_VERSION, coded] if [k, t] == MAGIC => {
            if coded == code(table) {
                Ok(frame)
            } else {
                Err(format!("it holds rows of another table (code {coded})"))
            }
        }
        [k, t, version, _] if [k, t] == MAGIC => {
            Err(format!("layout version {version} is not known, only {LAYOUT_VERSION}"))
        }
        _ => Err("it does not start as a payload does".into()),
    }
}

/// Reads what [`lay_out`] wrote.
fn read(table: Table, plain: &[u8]) -> Result<TableBatch, String> {
    let mut reader = Reader::new(plain);
    let mut budget = Budget::new(MAX_DECODED_BYTES);
    let mut batch = |schema| read_batch(&mut reader, schema, &mut budget);
    let actors = table.has_actor().then(|| batch(TableBatch::actors_schema())).transpose()?;
    let events = batch(TableBatch::events_schema(table))?;
    reader.finish()?;
    Ok(TableBatch { table, actors, events })
}

fn read_batch(reader: &mut Reader<'_>, schema: SchemaRef, budget: &mut Budget) -> Result<RecordBatch, String> {
    let rows = reader.length()?;
    if rows > MAX_ROWS {
        return Err(format!("{rows} rows of at most {MAX_ROWS}"));
    }
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let array = column::read(reader, field.data_type(), rows, budget);
        columns.push(array.map_err(|reason| format!("column {}: {reason}", field.name()))?);
    }
    RecordBatch::try_new(schema, columns).map_err(|error| text(&error))
}

/// Number of a table in a payload. A number is never used again for another table.
fn code(table: Table) -> u8 {
    match table {
        Table::ProcessEvents => 1,
        Table::FileEvents => 2,
        Table::KernelEvents => 3,
        Table::NetworkFlows => 4,
        Table::Findings => 5,
        Table::EventLoss => 6,
    }
}

fn text(error: &dyn fmt::Display) -> String {
    error.to_string()
}

const _: () = assert!(SCHEMA_VERSION == 1, "a new schema version needs a dictionary: see codec/dictionary.rs");

#[cfg(test)]
mod tests;

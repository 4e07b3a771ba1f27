//! Splits rows that are too many for one message.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int32Array, RecordBatch, UInt32Array};
use arrow::compute::{max, min, take_record_batch};
use arrow::datatypes::{Int32Type, Int64Type};
use arrow::error::ArrowError;
use bytes::Bytes;
use kerntrail_schemas::TableBatch;
use kerntrail_schemas::identity::StreamId;

use super::{Codec, CodecError, MAX_ROWS};
use crate::log::{Headers, Message};

/// Encoded rows, with what the headers of their message say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// What [`Codec::encode`] made of them.
    pub payload: Bytes,
    /// Number of rows.
    pub rows: u32,
    /// Lowest and highest `seq`; `(0, 0)` where none has one.
    pub seq_range: (i64, i64),
}

impl Codec {
    /// Encodes `rows` in as few pieces as halving gives, each within the bounds of a message; none for no rows.
    ///
    /// Errors: `TooLarge` for a single row that exceeds them, else as [`Codec::encode`].
    pub fn split(&self, rows: &TableBatch) -> Result<Vec<Piece>, CodecError> {
        let mut pieces = Vec::new();
        if rows.rows() > 0 {
            self.halve(rows, &mut pieces)?;
        }
        Ok(pieces)
    }

    fn halve(&self, rows: &TableBatch, pieces: &mut Vec<Piece>) -> Result<(), CodecError> {
        let count = rows.rows();
        let error = if count > MAX_ROWS {
            None
        } else {
            match self.encode(rows) {
                Ok(payload) => {
                    pieces.push(Piece { payload, rows: count as u32, seq_range: seq_range(rows) });
                    return Ok(());
                }
                Err(error @ CodecError::TooLarge { .. }) if count > 1 => Some(error),
                Err(error) => return Err(error),
            }
        };
        tracing::debug!(table = %rows.table, rows = count, ?error, "rows are split over two messages");
        for half in [0..count / 2, count / 2..count] {
            let part = part(rows, half)
                .map_err(|error| CodecError::Encode { table: rows.table, reason: error.to_string() })?;
            self.halve(&part, pieces)?;
        }
        Ok(())
    }

    /// `rows` of `node`, numbered by `stream`, as messages whose batch numbers start with `first_batch`.
    ///
    /// Errors: as [`Codec::split`].
    pub fn messages(
        &self,
        rows: &TableBatch,
        node: &str,
        stream: &StreamId,
        first_batch: i64,
    ) -> Result<Vec<Message>, CodecError> {
        let message = |(piece, batch): (Piece, i64)| Message {
            headers: Headers {
                schema_version: self.version(),
                node: node.to_owned(),
                stream: stream.clone(),
                batch,
                rows: piece.rows,
                seq_range: piece.seq_range,
            },
            payload: piece.payload,
        };
        Ok(self.split(rows)?.into_iter().zip(first_batch..).map(message).collect())
    }
}

/// The rows in `range` with the actors that they point to.
fn part(rows: &TableBatch, range: Range<usize>) -> Result<TableBatch, ArrowError> {
    let events = rows.events.slice(range.start, range.len());
    let Some(actors) = &rows.actors else {
        return Ok(TableBatch { table: rows.table, actors: None, events });
    };
    let schema = events.schema();
    let none = || ArrowError::SchemaError(format!("{} has no pointers to actors", rows.table));
    let place = rows.actor_column().ok_or_else(none)?;
    let pointers = events.column(place).as_primitive_opt::<Int32Type>().ok_or_else(none)?;
    let mut kept: Vec<u32> = Vec::new();
    let mut moved: Vec<Option<i32>> = vec![None; actors.num_rows()];
    let mut new = Vec::with_capacity(pointers.len());
    for pointer in pointers {
        let known = pointer.map(|pointer| match moved.get_mut(pointer as usize) {
            Some(moved) => Ok(*moved.get_or_insert_with(|| {
                kept.push(pointer as u32);
                kept.len() as i32 - 1
            })),
            None => Err(ArrowError::InvalidArgumentError(format!("an event of {} points to no actor", rows.table))),
        });
        new.push(known.transpose()?);
    }
    let mut columns: Vec<ArrayRef> = events.columns().to_vec();
    columns[place] = Arc::new(Int32Array::from(new));
    let actors = take_record_batch(actors, &UInt32Array::from(kept))?;
    Ok(TableBatch { table: rows.table, actors: Some(actors), events: RecordBatch::try_new(schema, columns)? })
}

fn seq_range(rows: &TableBatch) -> (i64, i64) {
    let Some(seq) = rows.events.column_by_name("seq").and_then(|seq| seq.as_primitive_opt::<Int64Type>()) else {
        return (0, 0);
    };
    min(seq).zip(max(seq)).unwrap_or_default()
}

impl Message {
    /// [`Codec::messages`] of this release.
    ///
    /// Errors: as there.
    pub fn of_rows(
        rows: &TableBatch,
        node: &str,
        stream: &StreamId,
        first_batch: i64,
    ) -> Result<Vec<Self>, CodecError> {
        Codec::current().messages(rows, node, stream, first_batch)
    }
}

//! Selects the rows of a message that the sink sends.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::error::ArrowError;
use kerntrail_schemas::Table;
use kerntrail_schemas::mapping::{Row, rows};
use kerntrail_transport::Codec;
use kerntrail_transport::codec::CodecError;

use crate::filter::{RowFilter, with_ids};

/// A row with its identity.
#[derive(Clone, Debug, PartialEq)]
pub struct Identified {
    /// `event_id`; for a row that has none, the position of its message and the number of the row in it.
    pub event_id: String,
    /// The row.
    pub row: Row,
    /// Its number among the rows of its message, from 0.
    pub place: u32,
}

/// The rows of a message, by how they are treated.
#[derive(Debug, Default, PartialEq)]
pub struct Selection {
    /// To be sent.
    pub selected: Vec<Identified>,
    /// Those for which the condition failed, with the error.
    pub failed: Vec<(Identified, String)>,
    /// Number of rows that the condition did not select.
    pub filtered: usize,
}

/// Why the rows of a message cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    /// It cannot be decoded.
    #[error("the message cannot be decoded")]
    Codec(#[source] CodecError),
    /// Its content does not fit its table.
    #[error("the message does not contain rows of its table")]
    Rows(#[source] ArrowError),
}

/// Decodes a message of `table` with `codec` and applies `filter` to its rows. `position` identifies the message.
///
/// Errors: the message is damaged, or a newer release wrote it.
pub fn select(
    codec: &Codec,
    filter: &RowFilter,
    table: Table,
    schema_version: u16,
    payload: &[u8],
    position: &str,
) -> Result<Selection, SelectError> {
    let batch = codec.decode(table, schema_version, payload).map_err(SelectError::Codec)?;
    batch.flatten().and_then(|flat| select_rows(filter, table, &flat, position)).map_err(SelectError::Rows)
}

/// Applies `filter` to `flat`, rows of `table` with its columns. `position` identifies where they come from.
///
/// Errors: `flat` does not have the columns of `table`.
pub(crate) fn select_rows(
    filter: &RowFilter,
    table: Table,
    flat: &RecordBatch,
    position: &str,
) -> Result<Selection, ArrowError> {
    let batch = with_ids(table, flat)?;
    let ids = batch.column(flat.num_columns()).as_string::<i32>();
    let mut selection = Selection::default();
    for (index, (row, selected)) in rows(flat)?.into_iter().zip(filter.apply(&batch)?).enumerate() {
        let event_id = if ids.is_valid(index) { ids.value(index).to_owned() } else { format!("{position}#{index}") };
        let identified = Identified { event_id, row, place: index as u32 };
        match selected {
            Ok(true) => selection.selected.push(identified),
            Ok(false) => selection.filtered += 1,
            Err(error) => selection.failed.push((identified, error)),
        }
    }
    Ok(selection)
}

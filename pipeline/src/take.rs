//! Messages to flat rows. Work for the processor; nothing here waits.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, TimestampMicrosecondArray};
use arrow::error::ArrowError;
use kerntrail_common::error::chain;
use kerntrail_schemas::Table;
use kerntrail_transport::{Codec, Headers};

/// Column that says when the lake took a row.
const INGEST_TIME: &str = "ingest_time";

/// The rows of a message of `table`, as the lake stores them, except for `ingest_time`.
///
/// Errors: why it cannot be read, in words.
pub(crate) fn rows(codec: &Codec, table: Table, headers: &Headers, payload: &[u8]) -> Result<RecordBatch, String> {
    let batch = codec.decode(table, headers.schema_version, payload).map_err(|error| chain(&error))?;
    if batch.rows() != headers.rows as usize {
        return Err(format!("the header says {} rows, but there are {}", headers.rows, batch.rows()));
    }
    batch.flatten().map_err(|error| chain(&error))
}

/// `rows` of `table` with `ingest_time` set to `now`, microseconds since the Unix epoch.
pub(crate) fn stamp(table: Table, rows: RecordBatch, now: i64) -> Result<RecordBatch, ArrowError> {
    let schema = table.schema();
    let place = schema.index_of(INGEST_TIME)?;
    let times = TimestampMicrosecondArray::from_value(now, rows.num_rows()).with_timezone("UTC");
    let mut columns: Vec<ArrayRef> = rows.columns().to_vec();
    columns[place] = Arc::new(times);
    RecordBatch::try_new(schema, columns)
}

//! Messages whose rows the lake may hold although it does not know their batch number.
//!
//! The lake forgets the progress of a stream that had no commit for a month (see `kerntrail_lake`). A node that was off
//! for longer may then send a batch that the lake holds. Such a message has old rows and an unknown stream. A rejected
//! message that is replayed has a new stream at any age, and another release may have stored it before. Only in these
//! cases, a row of the message is looked up in the lake, which holds all rows of a message or none.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Date32Type, Int32Type, Int64Type, TimestampMicrosecondType};
use kerntrail_lake::{EventKey, Lake, LakeError};
use kerntrail_schemas::Table;
use kerntrail_schemas::cell::{Day, Micros};
use kerntrail_schemas::identity::StreamId;

use crate::rejected;

/// Whether the lake holds `rows`, which came by `stream`, of which it has no progress.
///
/// Errors: those of the lake.
pub(crate) async fn is_held(
    lake: &Lake,
    table: Table,
    stream: &StreamId,
    rows: &RecordBatch,
) -> Result<bool, LakeError> {
    let Some(table) = lake.existing(table).await? else { return Ok(false) };
    if !rejected::is_replayed(stream) && !table.may_have_expired(oldest(rows)) {
        return Ok(false);
    }
    match first_event(rows) {
        Some(event) => table.holds_event(&event).await,
        None => Ok(false),
    }
}

/// The earliest time of the rows; `None` when one of them has no time.
fn oldest(rows: &RecordBatch) -> Option<Micros> {
    let times = rows.column_by_name("time")?.as_primitive_opt::<TimestampMicrosecondType>()?;
    if times.null_count() > 0 { None } else { arrow::compute::min(times).map(Micros) }
}

/// The first row that has a number in a stream; the stream is the row's own, since a replay changes that of the message.
fn first_event(rows: &RecordBatch) -> Option<EventKey> {
    let streams = rows.column_by_name("stream")?.as_string_opt::<i32>()?;
    let seqs = rows.column_by_name("seq")?.as_primitive_opt::<Int64Type>()?;
    let row = (0..rows.num_rows()).find(|&row| streams.is_valid(row) && seqs.is_valid(row))?;
    let column = |name: &str| rows.column_by_name(name).filter(|column| column.is_valid(row));
    Some(EventKey {
        day: column("date").and_then(|days| Some(Day(days.as_primitive_opt::<Date32Type>()?.value(row)))),
        stream: StreamId::new(streams.value(row)),
        cpu: column("cpu").and_then(|cpus| Some(cpus.as_primitive_opt::<Int32Type>()?.value(row))),
        seq: Some(seqs.value(row)),
    })
}

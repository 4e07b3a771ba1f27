//! Messages that are sent again so late that the lake no longer knows their batch number.
//!
//! The lake forgets the progress of a stream that had no commit for a month (see `kerntrail_lake`). A node that was off
//! for longer may then send a batch that the lake holds. Such a message has old rows and a stream that nothing is known
//! of; only then its first row is looked for in the lake, which holds all rows of a message or none.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Date32Type, Int32Type, Int64Type, TimestampMicrosecondType};
use kerntrail_lake::{EventKey, Lake, LakeError};
use kerntrail_schemas::Table;
use kerntrail_schemas::cell::{Day, Micros};
use kerntrail_schemas::identity::StreamId;

/// Whether the lake holds `rows` of `stream`, of which it has no progress.
///
/// Errors: those of the lake.
pub(crate) async fn is_held(
    lake: &Lake,
    table: Table,
    stream: &StreamId,
    rows: &RecordBatch,
) -> Result<bool, LakeError> {
    let Some(table) = lake.existing(table).await? else { return Ok(false) };
    if rows.num_rows() == 0 || !table.may_have_expired(oldest(rows)) {
        return Ok(false);
    }
    table.holds_event(&first_event(rows, stream)).await
}

/// The least time of the rows; `None` when that of one is unknown.
fn oldest(rows: &RecordBatch) -> Option<Micros> {
    let times = rows.column_by_name("time")?.as_primitive_opt::<TimestampMicrosecondType>()?;
    if times.null_count() > 0 { None } else { arrow::compute::min(times).map(Micros) }
}

fn first_event(rows: &RecordBatch, stream: &StreamId) -> EventKey {
    let column = |name: &str| rows.column_by_name(name).filter(|column| column.is_valid(0));
    EventKey {
        day: column("date").and_then(|days| Some(Day(days.as_primitive_opt::<Date32Type>()?.value(0)))),
        stream: stream.clone(),
        cpu: column("cpu").and_then(|cpus| Some(cpus.as_primitive_opt::<Int32Type>()?.value(0))),
        seq: column("seq").and_then(|seqs| Some(seqs.as_primitive_opt::<Int64Type>()?.value(0))),
    }
}

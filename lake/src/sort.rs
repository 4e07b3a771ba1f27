//! The order of rows within a file, and the split of rows by day.

use arrow::array::{Array, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{SortColumn, SortOptions, concat_batches, lexsort_to_indices, take};
use arrow::datatypes::{Date32Type, SchemaRef};
use arrow::error::ArrowError;

use crate::file::PARTITION;

/// Columns that files are sorted by, ascending with NULLs first; a table may lack some.
pub(crate) const SORT: [&str; 3] = ["container_id", "process_uid", "time"];

/// Ascending, NULLs first.
pub(crate) const ORDER: SortOptions = SortOptions { descending: false, nulls_first: true };

/// The rows of one day, sorted by [`SORT`], without the partition column.
pub(crate) struct DayRows {
    /// Days since the Unix epoch; `None` when unknown.
    pub(crate) day: Option<i32>,
    /// The rows.
    pub(crate) rows: RecordBatch,
}

/// Sorts `batches` of `schema` and splits them by day.
pub(crate) fn by_day(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Vec<DayRows>, ArrowError> {
    let all = match batches {
        [one] => one.clone(),
        several => concat_batches(schema, several)?,
    };
    if all.num_rows() == 0 {
        return Ok(Vec::new());
    }
    let order = sorted(&all)?;
    let partition = schema.index_of(PARTITION)?;
    let days = all.column(partition).as_primitive::<Date32Type>();
    let day_at = |place: usize| {
        let row = order.value(place) as usize;
        days.is_valid(row).then(|| days.value(row))
    };
    let mut parts = Vec::new();
    let mut start = 0;
    while start < order.len() {
        let day = day_at(start);
        let end = (start + 1..order.len()).find(|&place| day_at(place) != day).unwrap_or(order.len());
        let mut rows = taken(&all, &order.slice(start, end - start))?;
        rows.remove_column(partition);
        parts.push(DayRows { day, rows });
        start = end;
    }
    Ok(parts)
}

/// The rows in this `order`. Half the columns of most tables hold only NULLs; those are sliced, which is faster.
fn taken(all: &RecordBatch, order: &UInt32Array) -> Result<RecordBatch, ArrowError> {
    let columns = all.columns().iter().map(|column| match column.null_count() == column.len() {
        true => Ok(column.slice(0, order.len())),
        false => take(column, order, None),
    });
    RecordBatch::try_new(all.schema(), columns.collect::<Result<_, _>>()?)
}

fn sorted(rows: &RecordBatch) -> Result<UInt32Array, ArrowError> {
    let columns: Vec<SortColumn> = std::iter::once(PARTITION)
        .chain(SORT)
        .filter_map(|name| rows.column_by_name(name))
        .map(|values| SortColumn { values: values.clone(), options: Some(ORDER) })
        .collect();
    lexsort_to_indices(&columns, None)
}

//! Values from record batches, independent of the exact types of columns.

use std::collections::HashMap;

use arrow::array::{Array, AsArray, BooleanArray, Int64Array, ListArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use arrow::error::ArrowError;
use datafusion::prelude::{DataFrame, ident};
use kerntrail_query_engine::QueryError;

/// The columns of a batch by name.
#[derive(Default)]
pub(crate) struct Values {
    rows: usize,
    texts: HashMap<String, StringArray>,
    numbers: HashMap<String, Int64Array>,
    flags: HashMap<String, BooleanArray>,
    lists: HashMap<String, ListArray>,
}

impl Values {
    pub(crate) fn new(batch: &RecordBatch) -> Result<Self, ArrowError> {
        let mut values = Self { rows: batch.num_rows(), ..Self::default() };
        for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
            let name = field.name().clone();
            match field.data_type() {
                DataType::Boolean => {
                    values.flags.insert(name, array.as_boolean().clone());
                }
                DataType::List(_) => {
                    values.lists.insert(name, array.as_list::<i32>().clone());
                }
                kind if kind.is_integer() || kind.is_temporal() => {
                    values.numbers.insert(name, cast(array, &DataType::Int64)?.as_primitive::<Int64Type>().clone());
                }
                _ => {
                    values.texts.insert(name, cast(array, &DataType::Utf8)?.as_string::<i32>().clone());
                }
            }
        }
        Ok(values)
    }

    /// Whether the batch has this column.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.texts.contains_key(name)
            || self.numbers.contains_key(name)
            || self.flags.contains_key(name)
            || self.lists.contains_key(name)
    }

    /// A value of any kind, as a sentence shows it.
    pub(crate) fn shown(&self, name: &str, row: usize) -> Option<String> {
        let number = || self.number(name, row).map(|number| number.to_string());
        let flag = || self.flag(name, row).map(|flag| flag.to_string());
        let list = || Some(self.list(name, row).join(", ")).filter(|list| !list.is_empty());
        self.text(name, row).or_else(number).or_else(flag).or_else(list)
    }

    pub(crate) fn text(&self, name: &str, row: usize) -> Option<String> {
        self.texts.get(name).filter(|array| array.is_valid(row)).map(|array| array.value(row).to_owned())
    }

    pub(crate) fn number(&self, name: &str, row: usize) -> Option<i64> {
        self.numbers.get(name).filter(|array| array.is_valid(row)).map(|array| array.value(row))
    }

    pub(crate) fn flag(&self, name: &str, row: usize) -> Option<bool> {
        self.flags.get(name).filter(|array| array.is_valid(row)).map(|array| array.value(row))
    }

    pub(crate) fn list(&self, name: &str, row: usize) -> Vec<String> {
        let items = self.lists.get(name).filter(|array| array.is_valid(row)).map(|array| array.value(row));
        let items = items.and_then(|items| cast(&items, &DataType::Utf8).ok());
        items.map_or_else(Vec::new, |items| items.as_string::<i32>().iter().flatten().map(str::to_owned).collect())
    }
}

/// Runs `frame` for `columns` and applies `make` to each row.
pub(crate) async fn rows<T>(
    frame: DataFrame,
    columns: &[&str],
    make: impl Fn(&Values, usize) -> T,
) -> Result<Vec<T>, QueryError> {
    let columns: Vec<_> = columns.iter().map(|name| ident(*name)).collect();
    let mut made = Vec::new();
    for batch in frame.select(columns)?.collect().await? {
        let values = Values::new(&batch).map_err(QueryError::internal)?;
        made.extend((0..values.rows).map(|row| make(&values, row)));
    }
    Ok(made)
}

/// The distinct values of a text column of `frame`, in order, at most `most`; NULL left out.
pub(crate) async fn distinct(frame: DataFrame, column: &str, most: usize) -> Result<Vec<String>, QueryError> {
    let frame = frame.filter(ident(column).is_not_null())?.select([ident(column)])?.distinct()?;
    let frame = frame.sort(vec![ident(column).sort(true, false)])?.limit(0, Some(most))?;
    let found = rows(frame, &[column], |values, row| values.text(column, row)).await?;
    Ok(found.into_iter().flatten().collect())
}

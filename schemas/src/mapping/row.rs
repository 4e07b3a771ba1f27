//! Flat Arrow rows as JSON objects.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Date32Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use serde_json::{Map, Value};

/// A row: column name to value, NULLs absent. Times are µs since the Unix epoch, dates `YYYY-MM-DD`,
/// lists arrays of text, maps objects.
pub type Row = Map<String, Value>;

/// The rows of `batch`, in order.
///
/// Errors: a column has a type that no table uses ([`ArrowError::NotYetImplemented`], with its name).
pub fn rows(batch: &RecordBatch) -> Result<Vec<Row>, ArrowError> {
    let mut rows = vec![Row::new(); batch.num_rows()];
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let value_at = reader(field.name(), column.as_ref())?;
        for (index, row) in rows.iter_mut().enumerate() {
            if column.is_valid(index) {
                row.insert(field.name().clone(), value_at(index));
            }
        }
    }
    Ok(rows)
}

/// Reads the value at an index that is not NULL.
type Reader<'a> = Box<dyn Fn(usize) -> Value + 'a>;

fn reader<'a>(name: &str, column: &'a dyn Array) -> Result<Reader<'a>, ArrowError> {
    Ok(match column.data_type() {
        DataType::Boolean => Box::new(|index| column.as_boolean().value(index).into()),
        DataType::Int32 => Box::new(|index| column.as_primitive::<Int32Type>().value(index).into()),
        DataType::Int64 => Box::new(|index| column.as_primitive::<Int64Type>().value(index).into()),
        DataType::Timestamp(..) if column.as_primitive_opt::<TimestampMicrosecondType>().is_some() => {
            Box::new(|index| column.as_primitive::<TimestampMicrosecondType>().value(index).into())
        }
        DataType::Date32 => Box::new(|index| day(column.as_primitive::<Date32Type>().value(index))),
        DataType::Utf8 => Box::new(|index| column.as_string::<i32>().value(index).into()),
        DataType::List(item) if item.data_type() == &DataType::Utf8 => {
            Box::new(|index| texts(column.as_list::<i32>().value(index).as_ref()).into())
        }
        DataType::Map(..) => Box::new(|index| {
            let entries = column.as_map().value(index);
            let (keys, values) = (texts(entries.column(0).as_ref()), texts(entries.column(1).as_ref()));
            let pairs = keys.into_iter().zip(values);
            Value::Object(pairs.filter_map(|(key, value)| Some((key.as_str()?.to_owned(), value))).collect())
        }),
        other => return Err(ArrowError::NotYetImplemented(format!("column {name} of type {other} as JSON"))),
    })
}

fn texts(items: &dyn Array) -> Vec<Value> {
    items.as_string::<i32>().iter().map(Value::from).collect()
}

fn day(days: i32) -> Value {
    let date = chrono::DateTime::from_timestamp(i64::from(days) * 86_400, 0);
    date.map_or(Value::Null, |date| date.format("%Y-%m-%d").to_string().into())
}

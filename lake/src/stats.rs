//! Statistics of a file: written to the log as Delta's JSON, and read back to skip files.
//!
//! Only scalar columns have them. Times are in microseconds. Parquet truncates long strings, but never below
//! [`EXACT_TEXT`] bytes; it rounds a lower bound down and an upper bound up, so both still bound the column.

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use chrono::{DateTime, SecondsFormat};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, DataFusionError, ScalarValue, Statistics};
use kerntrail_schemas::Table;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::statistics::Statistics as ChunkStatistics;
use serde_json::{Map, Value};

use crate::writer::file_schema;

/// A bound of fewer bytes was not truncated: Parquet truncates at 64 bytes, back to the start of a character.
const EXACT_TEXT: usize = 60;

/// Delta's statistics of a file of `schema` that was written with this `metadata`.
pub(crate) fn write(schema: &SchemaRef, metadata: &ParquetMetaData) -> String {
    let (mut min_values, mut max_values, mut null_counts) = (Map::new(), Map::new(), Map::new());
    let leaves = metadata.file_metadata().schema_descr().columns();
    for (index, leaf) in leaves.iter().enumerate() {
        let [name] = leaf.path().parts() else { continue };
        let Ok(field) = schema.field_with_name(name) else { continue };
        let chunks = metadata.row_groups().iter().map(|group| group.column(index).statistics());
        let Some(bounds) = Bounds::of(chunks, field) else { continue };
        null_counts.insert(name.clone(), bounds.nulls.into());
        if let (Some(min), Some(max)) = (bounds.min, bounds.max) {
            min_values.insert(name.clone(), min.into_json());
            max_values.insert(name.clone(), max.into_json());
        }
    }
    let stats = serde_json::json!({
        "numRecords": metadata.file_metadata().num_rows(),
        "minValues": min_values,
        "maxValues": max_values,
        "nullCount": null_counts,
    });
    stats.to_string()
}

/// A lowest or highest value.
#[derive(Clone, PartialEq, PartialOrd)]
enum Bound {
    Number(i64),
    /// Microseconds since the Unix epoch.
    Time(i64),
    Text(String),
}

impl Bound {
    fn into_json(self) -> Value {
        match self {
            Self::Number(value) => value.into(),
            Self::Text(value) => value.into(),
            Self::Time(micros) => DateTime::from_timestamp_micros(micros)
                .map_or(Value::Null, |time| time.to_rfc3339_opts(SecondsFormat::Micros, true).into()),
        }
    }
}

/// The bounds of a column over all row groups of a file.
struct Bounds {
    min: Option<Bound>,
    max: Option<Bound>,
    nulls: u64,
}

impl Bounds {
    /// `None` when a row group has no statistics.
    fn of<'a>(chunks: impl Iterator<Item = Option<&'a ChunkStatistics>>, field: &Field) -> Option<Self> {
        let mut all = Self { min: None, max: None, nulls: 0 };
        for chunk in chunks {
            let chunk = chunk?;
            all.nulls += chunk.null_count_opt()?;
            let Some((min, max)) = bounds(chunk, field.data_type()) else { continue };
            all.min = Some(all.min.take().map_or(min.clone(), |known| if min < known { min } else { known }));
            all.max = Some(all.max.take().map_or(max.clone(), |known| if max > known { max } else { known }));
        }
        Some(all)
    }
}

fn bounds(chunk: &ChunkStatistics, data_type: &DataType) -> Option<(Bound, Bound)> {
    match (chunk, data_type) {
        (ChunkStatistics::Int32(values), DataType::Int32) => {
            Some((Bound::Number((*values.min_opt()?).into()), Bound::Number((*values.max_opt()?).into())))
        }
        (ChunkStatistics::Int64(values), DataType::Int64) => {
            Some((Bound::Number(*values.min_opt()?), Bound::Number(*values.max_opt()?)))
        }
        (ChunkStatistics::Int64(values), DataType::Timestamp(_, _)) => {
            Some((Bound::Time(*values.min_opt()?), Bound::Time(*values.max_opt()?)))
        }
        (ChunkStatistics::ByteArray(values), DataType::Utf8) => {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok().map(Bound::Text);
            Some((text(values.min_opt()?.data())?, text(values.max_opt()?.data())?))
        }
        _ => None,
    }
}

/// The statistics of a file of `size` bytes: of the columns of `table` in order, without the partition column.
pub(crate) fn read(table: Table, json: Option<&str>, size: u64) -> Statistics {
    let schema = file_schema(table);
    let json: Value = json.and_then(|json| serde_json::from_str(json).ok()).unwrap_or(Value::Null);
    let mut statistics = Statistics::new_unknown(&schema);
    statistics.total_byte_size = usize::try_from(size).map_or(Precision::Absent, Precision::Inexact);
    if let Some(rows) = count(&json["numRecords"]) {
        statistics.num_rows = Precision::Exact(rows);
    }
    for (field, column) in schema.fields().iter().zip(&mut statistics.column_statistics) {
        read_column(field, &json, column);
    }
    statistics
}

/// `statistics` with a NULL of the column's type where one of `columns` has no lowest or highest value.
///
/// DataFusion builds one array of the values of all files, and gives up when one of them is an untyped NULL. Without this,
/// a single file whose column is all NULL would prevent skipping any file by that column. A truncated bound (of a container
/// id) still bounds the column, although it is not one of its values.
pub(crate) fn for_pruning(
    statistics: Option<&Statistics>,
    columns: &[usize],
    schema: &Schema,
) -> Result<Statistics, DataFusionError> {
    let mut statistics = statistics.cloned().unwrap_or_else(|| Statistics::new_unknown(schema));
    for &index in columns {
        let Some(column) = statistics.column_statistics.get_mut(index) else { continue };
        for value in [&mut column.min_value, &mut column.max_value] {
            let bound = match value.get_value() {
                Some(bound) if !bound.is_null() => bound.clone(),
                _ => ScalarValue::try_from(schema.field(index).data_type())?,
            };
            *value = Precision::Exact(bound);
        }
    }
    Ok(statistics)
}

fn read_column(field: &Field, json: &Value, column: &mut ColumnStatistics) {
    if let Some(nulls) = count(&json["nullCount"][field.name()]) {
        column.null_count = Precision::Exact(nulls);
    }
    let (min, max) = (&json["minValues"][field.name()], &json["maxValues"][field.name()]);
    if let (Some(min), Some(max)) = (precision(field.data_type(), min), precision(field.data_type(), max)) {
        column.min_value = min;
        column.max_value = max;
    }
}

fn count(value: &Value) -> Option<usize> {
    usize::try_from(value.as_u64()?).ok()
}

fn precision(data_type: &DataType, value: &Value) -> Option<Precision<ScalarValue>> {
    let scalar = match data_type {
        DataType::Int32 => ScalarValue::Int32(Some(i32::try_from(value.as_i64()?).ok()?)),
        DataType::Int64 => ScalarValue::Int64(Some(value.as_i64()?)),
        DataType::Timestamp(_, zone) => {
            let time = DateTime::parse_from_rfc3339(value.as_str()?).ok()?;
            ScalarValue::TimestampMicrosecond(Some(time.timestamp_micros()), zone.clone())
        }
        DataType::Utf8 => {
            let text = value.as_str()?;
            let scalar = ScalarValue::Utf8(Some(text.to_owned()));
            let exact = text.len() < EXACT_TEXT;
            return Some(if exact { Precision::Exact(scalar) } else { Precision::Inexact(scalar) });
        }
        _ => return None,
    };
    Some(Precision::Exact(scalar))
}

//! Encodes rows as Parquet, with an encoding per kind of column.
//!
//! Process uids, which increase within a file, are encoded as delta byte arrays, times and sequence numbers as delta
//! binary packed, pids plain, all others with a dictionary. Fresh files have zstd level 3, compacted ones level 9 and
//! bloom filters.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use kerntrail_schemas::Table;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, SortingColumn};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

use crate::file::PARTITION;
use crate::sort::{ORDER, SORT};

/// Columns whose values rarely repeat within a file and have common prefixes.
const RISING_UIDS: [&str; 1] = ["process_uid"];
/// Integer columns whose values rarely repeat; times are recognized by their type.
const RISING_NUMBERS: [&str; 4] = ["boot_ns", "seq", "from_seq", "to_seq"];
/// Numbers that are nearly unique in a file, but close to those of neighbouring rows: zstd beats a dictionary.
const PIDS: [&str; 2] = ["pid", "parent_pid"];
/// Columns that investigations search by.
const BLOOM: [&str; 5] = ["process_uid", "container_id", "pod_uid", "dst_ip", "path"];
/// False positive rate of the bloom filters.
const BLOOM_FALSE: f64 = 0.01;

/// Rows of a row group in a compacted file; a reader of one container skips the other groups.
pub(crate) const ROW_GROUP_ROWS: usize = 131_072;

/// Schema of the files of `table`: its columns without the partition's.
pub(crate) fn file_schema(table: Table) -> SchemaRef {
    let schema = table.schema();
    let fields = schema.fields().iter().filter(|field| field.name() != PARTITION).cloned();
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// What wrote a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An append.
    Fresh,
    /// Compaction.
    Compacted,
}

/// Writer options of files of `schema`.
pub(crate) fn options(schema: &SchemaRef, kind: Kind) -> Result<ArrowWriterOptions, ParquetError> {
    let level = match kind {
        Kind::Fresh => ZstdLevel::try_new(3)?,
        Kind::Compacted => ZstdLevel::try_new(9)?,
    };
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_created_by(concat!("kerntrail ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_sorting_columns(Some(sorting_columns(schema)));
    for field in schema.fields() {
        let column = ColumnPath::from(field.name().as_str());
        if RISING_UIDS.contains(&field.name().as_str()) {
            properties = without_dictionary(properties, &column, Encoding::DELTA_BYTE_ARRAY);
        } else if RISING_NUMBERS.contains(&field.name().as_str())
            || matches!(field.data_type(), DataType::Timestamp(_, _))
        {
            properties = without_dictionary(properties, &column, Encoding::DELTA_BINARY_PACKED);
        } else if PIDS.contains(&field.name().as_str()) {
            properties = without_dictionary(properties, &column, Encoding::PLAIN);
        }
        if kind == Kind::Compacted && BLOOM.contains(&field.name().as_str()) {
            properties = properties
                .set_column_bloom_filter_enabled(column.clone(), true)
                .set_column_bloom_filter_fpp(column.clone(), BLOOM_FALSE)
                .set_column_bloom_filter_max_ndv(column, ROW_GROUP_ROWS as u64);
        }
    }
    // Arrow's own copy of the schema would be most of a small file, and adds nothing.
    Ok(ArrowWriterOptions::new().with_properties(properties.build()).with_skip_arrow_metadata(true))
}

fn without_dictionary(
    properties: WriterPropertiesBuilder,
    column: &ColumnPath,
    encoding: Encoding,
) -> WriterPropertiesBuilder {
    properties.set_column_dictionary_enabled(column.clone(), false).set_column_encoding(column.clone(), encoding)
}

/// The columns of [`SORT`] as indices of a file's leaves; a map has two leaves.
fn sorting_columns(schema: &SchemaRef) -> Vec<SortingColumn> {
    let mut leaf = 0;
    let mut leaves = std::collections::HashMap::new();
    for field in schema.fields() {
        leaves.insert(field.name().as_str(), leaf);
        leaf += if matches!(field.data_type(), DataType::Map(_, _)) { 2 } else { 1 };
    }
    SORT.iter()
        .filter_map(|name| leaves.get(name))
        .map(|&column_idx| SortingColumn { column_idx, descending: ORDER.descending, nulls_first: ORDER.nulls_first })
        .collect()
}

/// `rows` as the bytes of a fresh Parquet file, and what its footer says.
pub(crate) fn encode(rows: &RecordBatch) -> Result<(Vec<u8>, ParquetMetaData), ParquetError> {
    let schema = rows.schema();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new_with_options(&mut bytes, schema.clone(), options(&schema, Kind::Fresh)?)?;
    writer.write(rows)?;
    let metadata = writer.close()?;
    Ok((bytes, metadata))
}

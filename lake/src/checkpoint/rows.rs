//! The rows of a checkpoint: one action each, in the column of its kind. Read as Arrow; columns that are not needed are
//! not decoded. Source: Delta protocol, "Checkpoint Schema".

use std::sync::Arc;

use arrow::array::{Array, AsArray, PrimitiveArray, RecordBatch, StringArray, StructArray};
use arrow::datatypes::{ArrowPrimitiveType, Int32Type, Int64Type};
use bytes::Bytes;
use deltalake_core::kernel::{Metadata, Protocol};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use serde_json::{Map, Value, json};

use crate::error::BoxError;
use crate::file::{self, DataFile, PARTITION};
use crate::txns::Recorded;

/// Rows decoded at once.
const BATCH_ROWS: usize = 8192;

/// Which actions to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Those that a table's state is made of.
    State,
    /// Removals, which only vacuum needs.
    Removals,
}

impl Wanted {
    /// The columns to decode, without those of a struct that only other writers fill.
    fn columns(self) -> &'static [&'static str] {
        match self {
            Self::State => &[
                "add.path",
                "add.partitionValues",
                "add.size",
                "add.modificationTime",
                "add.stats",
                "txn",
                "metaData",
                "protocol",
            ],
            Self::Removals => &["remove.path", "remove.deletionTimestamp"],
        }
    }

    fn has(self, leaf: &str) -> bool {
        self.columns()
            .iter()
            .any(|&column| leaf.strip_prefix(column).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
    }
}

/// A file that a commit removed.
#[derive(Debug)]
pub(crate) struct Removed {
    /// Path below the table.
    pub(crate) path: String,
    /// Milliseconds since the Unix epoch.
    pub(crate) at: Option<i64>,
}

/// What was wanted of a checkpoint.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    pub(crate) version: i64,
    pub(crate) files: Vec<DataFile>,
    pub(crate) txns: Vec<(Arc<str>, Recorded)>,
    pub(crate) metadata: Option<Metadata>,
    pub(crate) protocol: Option<Protocol>,
    pub(crate) removed: Vec<Removed>,
}

impl Checkpoint {
    /// A checkpoint of `version` of which nothing was read yet.
    pub(crate) fn empty(version: i64) -> Self {
        Self { version, files: Vec::new(), txns: Vec::new(), metadata: None, protocol: None, removed: Vec::new() }
    }

    /// Adds what is `wanted` of one of the checkpoint's files.
    pub(crate) fn read(&mut self, bytes: Bytes, wanted: Wanted) -> Result<(), BoxError> {
        // The types are Parquet's, whatever the writer had in memory.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes, options)?;
        let schema = reader.parquet_schema();
        let leaves = (0..schema.num_columns()).filter(|&leaf| wanted.has(&schema.column(leaf).path().string()));
        let mask = ProjectionMask::leaves(schema, leaves.collect::<Vec<_>>());
        for batch in reader.with_projection(mask).with_batch_size(BATCH_ROWS).build()? {
            let batch = batch?;
            self.read_files(&batch)?;
            self.read_removals(&batch)?;
            self.read_txns(&batch)?;
            self.read_table(&batch)?;
        }
        Ok(())
    }

    fn read_files(&mut self, batch: &RecordBatch) -> Result<(), BoxError> {
        let Some(adds) = Actions::of(batch, "add") else { return Ok(()) };
        let (paths, sizes) = (adds.texts("path")?, adds.numbers::<Int64Type>("size")?);
        let times = adds.numbers::<Int64Type>("modificationTime")?;
        // A writer may leave statistics out.
        let stats = adds.texts("stats").ok();
        for row in adds.rows() {
            self.files.push(DataFile::read(
                file::decode_path(paths.value(row))?.into(),
                adds.entry("partitionValues", row, PARTITION)?.as_deref(),
                sizes.value(row),
                times.value(row),
                stats.filter(|stats| stats.is_valid(row)).map(|stats| stats.value(row).into()),
            ));
        }
        Ok(())
    }

    fn read_removals(&mut self, batch: &RecordBatch) -> Result<(), BoxError> {
        let Some(removes) = Actions::of(batch, "remove") else { return Ok(()) };
        let (paths, times) = (removes.texts("path")?, removes.numbers::<Int64Type>("deletionTimestamp")?);
        for row in removes.rows() {
            let path = file::decode_path(paths.value(row))?;
            self.removed.push(Removed { path, at: times.is_valid(row).then(|| times.value(row)) });
        }
        Ok(())
    }

    fn read_txns(&mut self, batch: &RecordBatch) -> Result<(), BoxError> {
        let Some(txns) = Actions::of(batch, "txn") else { return Ok(()) };
        let (ids, versions) = (txns.texts("appId")?, txns.numbers::<Int64Type>("version")?);
        let updated = txns.numbers::<Int64Type>("lastUpdated").ok();
        for row in txns.rows() {
            let last_updated = updated.filter(|updated| updated.is_valid(row)).map(|updated| updated.value(row));
            let recorded = Recorded { version: versions.value(row), last_updated };
            self.txns.push((ids.value(row).into(), recorded));
        }
        Ok(())
    }

    /// The one row each of what the table is. deltalake-core makes these two types from JSON only.
    fn read_table(&mut self, batch: &RecordBatch) -> Result<(), BoxError> {
        if let Some(metadata) = Actions::of(batch, "metaData")
            && let Some(row) = metadata.rows().next()
        {
            let value = json!({
                "id": metadata.texts("id")?.value(row),
                "name": metadata.text("name", row),
                "description": metadata.text("description", row),
                "format": { "provider": "parquet", "options": {} },
                "schemaString": metadata.texts("schemaString")?.value(row),
                "partitionColumns": metadata.list("partitionColumns", row)?,
                "configuration": metadata.map("configuration", row)?,
                "createdTime": metadata.number::<Int64Type>("createdTime", row),
            });
            self.metadata = Some(serde_json::from_value(value)?);
        }
        if let Some(protocol) = Actions::of(batch, "protocol")
            && let Some(row) = protocol.rows().next()
        {
            let mut value = json!({
                "minReaderVersion": protocol.numbers::<Int32Type>("minReaderVersion")?.value(row),
                "minWriterVersion": protocol.numbers::<Int32Type>("minWriterVersion")?.value(row),
            });
            for features in ["readerFeatures", "writerFeatures"] {
                let listed = protocol.list(features, row)?;
                if !listed.is_empty() {
                    value[features] = listed.into();
                }
            }
            self.protocol = Some(serde_json::from_value(value)?);
        }
        Ok(())
    }
}

/// The actions of one kind in a batch: a struct that is NULL in the rows of other kinds.
struct Actions<'a> {
    name: &'static str,
    column: &'a StructArray,
}

impl<'a> Actions<'a> {
    fn of(batch: &'a RecordBatch, name: &'static str) -> Option<Self> {
        let column = batch.column_by_name(name)?.as_struct_opt()?;
        Some(Self { name, column })
    }

    /// The rows that have such an action.
    fn rows(&self) -> impl Iterator<Item = usize> + use<'a> {
        let column = self.column;
        (0..column.len()).filter(|&row| column.is_valid(row))
    }

    fn missing(&self, field: &str) -> BoxError {
        format!("a checkpoint without {}.{field} of its type", self.name).into()
    }

    fn texts(&self, field: &str) -> Result<&'a StringArray, BoxError> {
        let found = self.column.column_by_name(field).and_then(|column| column.as_string_opt::<i32>());
        found.ok_or_else(|| self.missing(field))
    }

    fn numbers<T: ArrowPrimitiveType>(&self, field: &str) -> Result<&'a PrimitiveArray<T>, BoxError> {
        let found = self.column.column_by_name(field).and_then(|column| column.as_primitive_opt::<T>());
        found.ok_or_else(|| self.missing(field))
    }

    fn text(&self, field: &str, row: usize) -> Option<&'a str> {
        self.texts(field).ok().filter(|texts| texts.is_valid(row)).map(|texts| texts.value(row))
    }

    fn number<T: ArrowPrimitiveType>(&self, field: &str, row: usize) -> Option<T::Native> {
        self.numbers::<T>(field).ok().filter(|numbers| numbers.is_valid(row)).map(|numbers| numbers.value(row))
    }

    /// The texts of a list; none where the column is missing or NULL.
    fn list(&self, field: &str, row: usize) -> Result<Vec<String>, BoxError> {
        let Some(column) = self.column.column_by_name(field) else { return Ok(Vec::new()) };
        let lists = column.as_list_opt::<i32>().ok_or_else(|| self.missing(field))?;
        if lists.is_null(row) {
            return Ok(Vec::new());
        }
        let values = lists.value(row);
        let texts = values.as_string_opt::<i32>().ok_or_else(|| self.missing(field))?;
        Ok(texts.iter().flatten().map(str::to_owned).collect())
    }

    /// The entries of a map of texts; none where the column is missing or NULL.
    fn map(&self, field: &str, row: usize) -> Result<Map<String, Value>, BoxError> {
        let mut entries = Map::new();
        self.each_entry(field, row, |key, value| {
            entries.insert(key.to_owned(), value.into());
        })?;
        Ok(entries)
    }

    /// The value of `key` in a map of texts.
    fn entry(&self, field: &str, row: usize, key: &str) -> Result<Option<String>, BoxError> {
        let mut found = None;
        self.each_entry(field, row, |name, value| {
            if name == key {
                found = value.map(str::to_owned);
            }
        })?;
        Ok(found)
    }

    fn each_entry(&self, field: &str, row: usize, mut take: impl FnMut(&str, Option<&str>)) -> Result<(), BoxError> {
        let Some(column) = self.column.column_by_name(field) else { return Ok(()) };
        let maps = column.as_map_opt().ok_or_else(|| self.missing(field))?;
        if maps.is_null(row) {
            return Ok(());
        }
        let entries = maps.value(row);
        let text = |index: usize| entries.column(index).as_string_opt::<i32>().ok_or_else(|| self.missing(field));
        let (keys, values) = (text(0)?, text(1)?);
        for entry in 0..entries.len() {
            take(keys.value(entry), values.is_valid(entry).then(|| values.value(entry)));
        }
        Ok(())
    }
}

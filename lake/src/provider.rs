//! A fixed list of a table's files as a DataFusion table.
//!
//! Files that a filter cannot match are skipped by the log's statistics before any file is opened. DataFusion's Parquet
//! source then skips row groups and pages, also by bloom filters. The statistics stay attached to each file, so that
//! `order by time desc limit 5` ends after the newest files, and an unfiltered `count(*)` opens no file.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Fields, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::config::TableParquetOptions;
use datafusion::common::pruning::PrunableStatistics;
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, DFSchema, DataFusionError, ScalarValue, Statistics, project_schema};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::LexOrdering;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use kerntrail_schemas::Table;
use object_store::ObjectStore;
use object_store::path::Path;
use url::Url;

use crate::file::{DataFile, PARTITION};
use crate::log::DeltaLog;
use crate::stats;
use crate::writer::file_schema;

/// Bytes read from the end of a file at once; the footer of a fresh file fits.
const FOOTER_HINT: usize = 64 * 1024;

/// A fixed list of a table's files.
pub(crate) struct FilesProvider {
    table: Table,
    schema: SchemaRef,
    /// The columns of the files, then the partition column: the order of the scan.
    scanned: TableSchema,
    files: Vec<Arc<DataFile>>,
    location: Url,
    root: Arc<dyn ObjectStore>,
}

impl FilesProvider {
    pub(crate) fn new(table: Table, log: &DeltaLog, files: Vec<Arc<DataFile>>) -> Self {
        let schema = table.schema();
        let partition: Fields = schema.fields().iter().filter(|field| field.name() == PARTITION).cloned().collect();
        Self {
            table,
            scanned: TableSchema::builder(file_schema(table)).with_table_partition_cols(partition).build(),
            schema,
            files,
            location: log.location().clone(),
            root: log.root(),
        }
    }

    /// A plan that reads `files` in these groups, columns in the order of the provider's schema.
    ///
    /// `sorted`: the order that the rows of each group have, in terms of the scan's own schema.
    pub(crate) fn scan_groups(
        &self,
        state: &dyn Session,
        groups: Vec<Vec<PartitionedFile>>,
        projection: Option<&Vec<usize>>,
        limit: Option<usize>,
        sorted: Option<LexOrdering>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let url = store_url(&self.location)?;
        if self.location.scheme() != "file" {
            state.runtime_env().register_object_store(url.as_ref(), Arc::clone(&self.root));
        }
        let global = state.config_options().execution.parquet.clone();
        let options = TableParquetOptions { global, ..TableParquetOptions::default() };
        let cache = state.runtime_env().cache_manager.get_file_metadata_cache();
        let reader = Arc::new(CachedParquetFileReaderFactory::new(Arc::clone(&self.root), cache));
        let source = ParquetSource::new(self.scanned.clone())
            .with_table_parquet_options(options)
            .with_parquet_file_reader_factory(reader)
            .with_metadata_size_hint(FOOTER_HINT);
        let statistics = self.total(groups.iter().flatten());
        let groups = groups.into_iter().map(FileGroup::new).collect();
        let config = FileScanConfigBuilder::new(url, Arc::new(source))
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_projection_indices(Some(self.scan_indices(projection)?))?
            .with_limit(limit)
            .with_output_ordering(sorted.into_iter().collect())
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }

    /// `projection`, given as indices into the provider's schema, as indices into that of the scan.
    fn scan_indices(&self, projection: Option<&Vec<usize>>) -> Result<Vec<usize>, DataFusionError> {
        let names = self.schema.fields();
        let wanted = projection.cloned().unwrap_or_else(|| (0..names.len()).collect());
        let scanned = self.scanned.table_schema();
        Ok(wanted.iter().map(|&index| scanned.index_of(names[index].name())).collect::<Result<_, _>>()?)
    }

    /// Row count of all files; exact when each file's is known.
    fn total<'a>(&self, files: impl Iterator<Item = &'a PartitionedFile>) -> Statistics {
        let mut total = Statistics::new_unknown(self.scanned.table_schema());
        let (mut rows, mut bytes) = (Precision::Exact(0), 0);
        for file in files {
            let known = file.statistics.as_ref().map_or(Precision::Absent, |statistics| statistics.num_rows);
            rows = rows.add(&known);
            bytes += file.object_meta.size as usize;
        }
        total.num_rows = rows;
        total.total_byte_size = Precision::Inexact(bytes);
        total
    }

    /// All files, as DataFusion's type.
    pub(crate) fn partitioned(&self) -> Result<Vec<PartitionedFile>, DataFusionError> {
        let folder = Path::from_url_path(self.location.path())?;
        let partitioned = |file: &Arc<DataFile>| {
            let mut partitioned = PartitionedFile::new("", file.size);
            partitioned.object_meta.location = join(&folder, &file.path);
            partitioned.object_meta.last_modified =
                chrono::DateTime::from_timestamp_millis(file.modified).unwrap_or_default();
            let partitioned = partitioned
                .with_partition_values(vec![ScalarValue::Date32(file.day)])
                .with_statistics(file.statistics(self.table));
            if file.day.is_none() { with_null_partition(partitioned) } else { partitioned }
        };
        Ok(self.files.iter().map(partitioned).collect())
    }

    /// The files that may have rows which pass all `filters`.
    fn matching(&self, state: &dyn Session, filters: &[Expr]) -> Result<Vec<PartitionedFile>, DataFusionError> {
        let files = self.partitioned()?;
        let Some(filter) = conjunction(filters.iter().cloned()) else { return Ok(files) };
        let scanned = Arc::clone(self.scanned.table_schema());
        let columns: Vec<usize> =
            filter.column_refs().iter().filter_map(|column| scanned.index_of(&column.name).ok()).collect();
        let filter = state.create_physical_expr(filter, &DFSchema::try_from(Arc::clone(&scanned))?)?;
        let predicate = PruningPredicateBuilder::new().with_file_schema(Arc::clone(&scanned)).try_build(filter);
        // A filter that statistics cannot decide skips nothing.
        let Ok(predicate) = predicate else { return Ok(files) };
        if predicate.always_true() || files.is_empty() {
            return Ok(files);
        }
        let statistics = files
            .iter()
            .map(|file| stats::for_pruning(file.statistics.as_deref(), &columns, &scanned).map(Arc::new))
            .collect::<Result<_, _>>()?;
        let keep = predicate.prune(&PrunableStatistics::new(statistics, scanned))?;
        Ok(files.into_iter().zip(keep).filter_map(|(file, keep)| keep.then_some(file)).collect())
    }
}

impl fmt::Debug for FilesProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FilesProvider").field("table", &self.table).field("files", &self.files.len()).finish()
    }
}

#[async_trait]
impl TableProvider for FilesProvider {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let files = self.matching(state, filters)?;
        if files.is_empty() {
            return Ok(Arc::new(EmptyExec::new(project_schema(&self.schema, projection)?)));
        }
        let groups = spread(files, state.config().target_partitions());
        let limit = limit.filter(|_| filters.is_empty());
        self.scan_groups(state, groups, projection, limit, None)
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>, DataFusionError> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    fn statistics(&self) -> Option<Statistics> {
        let mut statistics = Statistics::new_unknown(&self.schema);
        let rows = self.files.iter().map(|file| file.rows(self.table)).sum::<Option<usize>>();
        statistics.num_rows = rows.map_or(Precision::Absent, Precision::Exact);
        Some(statistics)
    }
}

/// DataFusion assumes that a partition value is never NULL; in this file it is NULL in every row.
fn with_null_partition(mut file: PartitionedFile) -> PartitionedFile {
    if let Some(statistics) = file.statistics.as_mut().map(Arc::make_mut)
        && let Some(partition) = statistics.column_statistics.last_mut()
    {
        *partition = ColumnStatistics { null_count: statistics.num_rows, ..ColumnStatistics::new_unknown() };
    }
    file
}

/// Spreads `files` over at most `groups` groups of similar size, newest first in each.
fn spread(mut files: Vec<PartitionedFile>, groups: usize) -> Vec<Vec<PartitionedFile>> {
    files.sort_by_key(|file| std::cmp::Reverse(file.object_meta.last_modified));
    let mut spread = vec![(0u64, Vec::new()); groups.clamp(1, files.len().max(1))];
    for file in files {
        if let Some((size, group)) = spread.iter_mut().min_by_key(|(size, _)| *size) {
            *size += file.object_meta.size;
            group.push(file);
        }
    }
    spread.into_iter().map(|(_, group)| group).collect()
}

/// The store of `location`, without the path.
fn store_url(location: &Url) -> Result<ObjectStoreUrl, DataFusionError> {
    let host = location.host_str().unwrap_or_default();
    ObjectStoreUrl::parse(format!("{}://{host}", location.scheme()))
}

fn join(folder: &Path, path: &str) -> Path {
    path.split('/').fold(folder.clone(), |path, part| path.join(part))
}

/// The location of a file of the table at `location`: a path if local, else a URL.
pub(crate) fn absolute(location: &Url, path: &str) -> String {
    match location.to_file_path() {
        Ok(folder) if location.scheme() == "file" => folder.join(path).to_string_lossy().into_owned(),
        _ => location.join(path).map_or_else(|_| format!("{location}{path}"), String::from),
    }
}

/// Whether two types hold the same values; the names of the fields inside lists and maps do not matter.
pub(crate) fn same_type(one: &DataType, other: &DataType) -> bool {
    match (one, other) {
        (DataType::List(one), DataType::List(other)) => same_type(one.data_type(), other.data_type()),
        (DataType::Map(one, _), DataType::Map(other, _)) => same_type(one.data_type(), other.data_type()),
        (DataType::Struct(one), DataType::Struct(other)) => {
            one.len() == other.len()
                && one.iter().zip(other).all(|(one, other)| same_type(one.data_type(), other.data_type()))
        }
        _ => one == other,
    }
}

//! Compaction: merges many small sorted files into few large ones with the same rows.
//!
//! The files of a partition form tiers by size. A tier with too many files is merged, so each row is rewritten about once
//! per tier rather than at every run. A partition whose day has passed and that has been quiet is merged into as few
//! files as possible. Inputs are already sorted, so they are merged, not sorted again: memory holds one compressed row
//! group and one batch of each input. The work runs on a thread of its own, so it does not delay writers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use datafusion::catalog::TableProvider;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use futures::TryStreamExt;
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::AsyncArrowWriter;
use parquet::file::metadata::ParquetMetaData;
use tokio::sync::oneshot;
use tracing::{debug, warn};

use crate::commit::{Change, CommitOutcome};
use crate::error::{BoxError, LakeError};
use crate::file::{self, DataFile, PARTITION};
use crate::metrics::{COMPACTED_FILES_TOTAL, COMPACTION_HELD};
use crate::provider::FilesProvider;
use crate::sort::{ORDER, SORT};
use crate::stats;
use crate::table::LakeTable;
use crate::writer::{self, Kind, file_schema};

/// Rows of a batch while merging; small, since each input has one in memory.
const BATCH_ROWS: usize = 1024;
/// Bytes of an output file that are uploaded at once.
const UPLOAD_BYTES: usize = 8 * 1024 * 1024;
/// A day in milliseconds.
const DAY: i64 = 86_400_000;

/// Which files to merge, and when.
#[derive(Clone, Debug)]
pub struct CompactOptions {
    /// Files of the smallest tier that a partition may have before they are merged. Default 32.
    pub small_files: usize,
    /// The same for each larger tier. Default 8.
    pub tier_files: usize,
    /// Upper bound of the smallest tier, in bytes; that of each next tier is eight times higher. Default 1 MiB.
    pub tier_bytes: u64,
    /// Size at which output files are split. Files of at least half this size are not merged. Default 128 MiB.
    pub target_bytes: u64,
    /// Most files that one merge opens. Default 64.
    pub most_inputs: usize,
    /// A partition is closed this long after its day has ended and its last file was written. Default 10 min.
    pub quiet: Duration,
}

impl Default for CompactOptions {
    fn default() -> Self {
        Self {
            small_files: 32,
            tier_files: 8,
            tier_bytes: 1024 * 1024,
            target_bytes: 128 * 1024 * 1024,
            most_inputs: 64,
            quiet: Duration::from_secs(600),
        }
    }
}

/// What a compaction did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactReport {
    /// Merges committed.
    pub merges: usize,
    /// Files replaced.
    pub removed: usize,
    /// Files that replaced them.
    pub added: usize,
    /// Rows rewritten.
    pub rows: usize,
    /// Merges abandoned because another writer had replaced the same files.
    pub overtaken: usize,
}

/// The files to merge now: one list per merge, all of one partition, smallest files first.
fn plan(files: &[Arc<DataFile>], now: i64, options: &CompactOptions) -> Vec<Vec<Arc<DataFile>>> {
    let mut partitions: BTreeMap<Option<i32>, Vec<Arc<DataFile>>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.size < options.target_bytes / 2) {
        partitions.entry(file.day).or_default().push(Arc::clone(file));
    }
    let mut merges = Vec::new();
    for (day, mut files) in partitions {
        files.sort_by(|one, other| (one.size, &one.path).cmp(&(other.size, &other.path)));
        let chosen = if is_closed(day, &files, now, options) { files } else { crowded(files, options) };
        let merge_of = |part: &[Arc<DataFile>]| (part.len() > 1).then(|| part.to_vec());
        merges.extend(chosen.chunks(options.most_inputs.max(2)).filter_map(merge_of));
    }
    merges
}

fn is_closed(day: Option<i32>, files: &[Arc<DataFile>], now: i64, options: &CompactOptions) -> bool {
    let quiet = options.quiet.as_millis() as i64;
    let newest = files.iter().map(|file| file.modified).max().unwrap_or(now);
    let over = day.is_some_and(|day| (i64::from(day) + 1) * DAY + quiet < now);
    over && newest + quiet < now && files.len() > 1
}

/// The files of every tier that has too many, `files` being sorted by size.
fn crowded(files: Vec<Arc<DataFile>>, options: &CompactOptions) -> Vec<Arc<DataFile>> {
    let mut tiers: BTreeMap<u32, Vec<Arc<DataFile>>> = BTreeMap::new();
    for file in files {
        tiers.entry(tier(file.size, options.tier_bytes)).or_default().push(file);
    }
    let most = |tier: u32| if tier == 0 { options.small_files } else { options.tier_files };
    tiers.into_iter().filter(|(tier, files)| files.len() > most(*tier)).flat_map(|(_, files)| files).collect()
}

fn tier(size: u64, smallest: u64) -> u32 {
    let mut tier = 0;
    let mut bound = smallest.max(1);
    while size >= bound {
        tier += 1;
        bound = bound.saturating_mul(8);
    }
    tier
}

impl LakeTable {
    /// Merges the files that `options` select, and commits each merge.
    ///
    /// Other writers may append meanwhile without a conflict. Rows, [`LakeTable::added_since`] and progress stay the
    /// same. Replaced files stay in the store until [`LakeTable::vacuum`] removes them. Nothing is merged while the table
    /// has columns that only a newer release knows: they would be missing from the new files.
    ///
    /// Errors: `Store`; `Refused` when a merge would change the number of rows, which is then not committed.
    /// Cancel-safe: at most, files are left that no commit names.
    pub async fn compact(&mut self, options: &CompactOptions) -> Result<CompactReport, LakeError> {
        self.refresh().await?;
        let mut report = CompactReport::default();
        let files: Vec<_> = self.state().files.values().cloned().collect();
        for inputs in plan(&files, file::now(), options) {
            // Before each merge: the one before may have met a commit that added columns.
            if self.has_newer_columns()? {
                break;
            }
            self.merge(inputs, options, &mut report).await?;
        }
        Ok(report)
    }

    /// Whether a newer release has added columns, which a merge by this one would drop.
    fn has_newer_columns(&self) -> Result<bool, LakeError> {
        let columns = self.state().newer_columns()?;
        let newer = !columns.is_empty();
        if newer && self.note_newer_columns() {
            let table = self.table();
            warn!(%table, ?columns, "a newer release added columns; files are not merged until kerntrail is upgraded");
        }
        metrics::gauge!(COMPACTION_HELD, "table" => self.table().name()).set(if newer { 1.0 } else { 0.0 });
        Ok(newer)
    }

    async fn merge(
        &mut self,
        removed: Vec<Arc<DataFile>>,
        options: &CompactOptions,
        report: &mut CompactReport,
    ) -> Result<(), LakeError> {
        let table = self.table();
        let inputs = removed.len();
        let merge = Merge {
            provider: FilesProvider::new(table, self.log(), removed.clone()),
            store: self.log().files(),
            table,
            day: removed.first().and_then(|file| file.day),
            target_bytes: options.target_bytes,
        };
        // Dropped with this future, which ends the merge.
        let (_wanted, unwanted) = oneshot::channel();
        let written = tokio::task::spawn_blocking(move || merge.run(unwanted)).await;
        let failed = |source: BoxError| LakeError::store(format!("merge {inputs} files of {table}"), source);
        let written = written.map_err(|source| failed(source.into()))?.map_err(failed)?;
        let paths: Vec<Arc<str>> = written.iter().map(|file| file.path.clone()).collect();
        let rows = written.iter().map(|file| file.rows(table)).sum::<Option<usize>>();
        let had = removed.iter().map(|file| file.rows(table)).sum::<Option<usize>>();
        if rows.is_none() || had.is_some_and(|had| Some(had) != rows) {
            self.discard(&paths).await;
            let reason = format!("merging {inputs} files would make {had:?} rows {rows:?}; left as they are");
            return Err(LakeError::refused(table, reason));
        }
        for path in &paths {
            self.log().sync(path).await?;
        }
        match self.commit(&Change::Replace { removed, added: written }).await? {
            CommitOutcome::Committed(version) => {
                debug!(%table, version, inputs, outputs = paths.len(), rows, "merged files");
                metrics::counter!(COMPACTED_FILES_TOTAL, "table" => table.name()).increment(inputs as u64);
                report.merges += 1;
                report.removed += inputs;
                report.added += paths.len();
                report.rows += rows.unwrap_or(0);
            }
            CommitOutcome::Overtaken => {
                self.discard(&paths).await;
                report.overtaken += 1;
            }
        }
        Ok(())
    }
}

/// One merge of the files of one partition.
struct Merge {
    provider: FilesProvider,
    store: Arc<dyn ObjectStore>,
    table: kerntrail_schemas::Table,
    day: Option<i32>,
    target_bytes: u64,
}

impl Merge {
    /// Merges on this thread, with a runtime of its own, until done or `unwanted`.
    fn run(&self, unwanted: oneshot::Receiver<()>) -> Result<Vec<DataFile>, BoxError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut rows = self.sorted_rows()?;
            let mut written = Vec::new();
            let outcome = tokio::select! {
                outcome = self.write_all(&mut rows, &mut written) => outcome,
                _ = unwanted => Err("the merge was cancelled".into()),
            };
            if outcome.is_err() {
                for file in &written {
                    if let Err(error) = self.store.delete(&Path::from(&*file.path)).await {
                        warn!(path = %file.path, %error, "an uncommitted file stays until the next vacuum");
                    }
                }
            }
            outcome.map(|()| written)
        })
    }

    /// The rows of all inputs in order, without the partition column.
    fn sorted_rows(&self) -> Result<SendableRecordBatchStream, DataFusionError> {
        let session =
            kerntrail_session::unguarded(|config| config.with_batch_size(BATCH_ROWS).with_target_partitions(1));
        let state = session.state();
        let columns = self.provider.schema();
        let kept = (0..columns.fields().len()).filter(|&index| columns.field(index).name() != PARTITION).collect();
        let groups: Vec<Vec<PartitionedFile>> =
            self.provider.partitioned()?.into_iter().map(|file| vec![file]).collect();
        let order = ordering(&file_schema(self.table));
        let scan = self.provider.scan_groups(&state, groups, Some(&kept), None, order.clone())?;
        let plan: Arc<dyn ExecutionPlan> = match order {
            Some(order) => Arc::new(SortPreservingMergeExec::new(order, scan)),
            None => scan,
        };
        plan.execute(0, Arc::new(TaskContext::from(&state)))
    }

    async fn write_all(
        &self,
        rows: &mut SendableRecordBatchStream,
        written: &mut Vec<DataFile>,
    ) -> Result<(), BoxError> {
        let mut output: Option<Output> = None;
        while let Some(batch) = rows.try_next().await? {
            let mut current = match output.take() {
                Some(current) => current,
                None => Output::create(self)?,
            };
            current.writer.write(&batch).await?;
            if current.bytes() >= self.target_bytes {
                written.push(current.close(self).await?);
            } else {
                output = Some(current);
            }
        }
        if let Some(last) = output {
            written.push(last.close(self).await?);
        }
        Ok(())
    }
}

/// A file being written.
struct Output {
    path: String,
    writer: AsyncArrowWriter<BufWriter>,
}

impl Output {
    fn create(merge: &Merge) -> Result<Self, BoxError> {
        let path = file::new_path(merge.day);
        let schema = file_schema(merge.table);
        let sink = BufWriter::with_capacity(Arc::clone(&merge.store), Path::from(path.as_str()), UPLOAD_BYTES);
        let options = writer::options(&schema, Kind::Compacted)?;
        Ok(Self { path, writer: AsyncArrowWriter::try_new_with_options(sink, schema, options)? })
    }

    fn bytes(&self) -> u64 {
        (self.writer.bytes_written() + self.writer.in_progress_size()) as u64
    }

    async fn close(mut self, merge: &Merge) -> Result<DataFile, BoxError> {
        let metadata: ParquetMetaData = self.writer.finish().await?;
        let size = self.writer.bytes_written() as u64;
        let stats = stats::write(&file_schema(merge.table), &metadata);
        Ok(DataFile::fresh(self.path, merge.day, size, stats))
    }
}

/// The order of the rows of a file of `schema`.
fn ordering(schema: &arrow::datatypes::SchemaRef) -> Option<LexOrdering> {
    let columns = SORT.iter().filter_map(|name| {
        let column = Column::new(name, schema.index_of(name).ok()?);
        Some(PhysicalSortExpr { expr: Arc::new(column), options: ORDER })
    });
    LexOrdering::new(columns)
}

#[cfg(test)]
mod tests;

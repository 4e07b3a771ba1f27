//! One table: a handle with a snapshot of it, and the append.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use datafusion::catalog::TableProvider;
use deltalake_core::kernel::engine::arrow_conversion::TryIntoKernel;
use deltalake_core::kernel::{Action, MetadataExt, Protocol, StructType, new_metadata};
use kerntrail_schemas::Table;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use tracing::{debug, info, warn};

use crate::commit::{Change, Outcome};
use crate::error::{LakeError, Source};
use crate::file::{self, DataFile, PARTITION};
use crate::log::DeltaLog;
use crate::metrics::{BYTES_WRITTEN_TOTAL, EVENTS_IN_TOTAL, FILES};
use crate::progress::Progress;
use crate::provider::{self, FilesProvider};
use crate::state::{Passed, READER_VERSION, TableState, WRITER_VERSION};
use crate::{sort, stats, writer};

/// Table properties: the log must remember removed files for as long as [`LakeTable::vacuum`] may keep them.
const PROPERTIES: [(&str, &str); 3] = [
    ("delta.deletedFileRetentionDuration", "interval 6 hours"),
    ("delta.logRetentionDuration", "interval 6 hours"),
    ("delta.checkpointInterval", "100"),
];

/// What the handles of one table have in common.
pub(crate) struct Shared {
    log: DeltaLog,
    /// The newest state that any of them has seen.
    latest: Mutex<Option<Arc<TableState>>>,
}

impl Shared {
    pub(crate) fn new(log: DeltaLog) -> Self {
        Self { log, latest: Mutex::new(None) }
    }

    fn latest(&self) -> Option<Arc<TableState>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn publish(&self, state: &Arc<TableState>) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if latest.as_ref().is_none_or(|known| known.version < state.version) {
            *latest = Some(Arc::clone(state));
        }
    }
}

/// One table as of a version; it moves on by [`LakeTable::refresh`] and by what is written through it.
///
/// A clone is another handle at the same version. Any number of handles, in any number of processes, may write.
#[derive(Clone)]
pub struct LakeTable {
    shared: Arc<Shared>,
    state: Arc<TableState>,
}

impl LakeTable {
    pub(crate) async fn open(shared: Arc<Shared>) -> Result<Option<Self>, LakeError> {
        let state = match shared.latest() {
            Some(known) => known,
            None => match shared.log.load().await? {
                Some(loaded) => Arc::new(loaded),
                None => return Ok(None),
            },
        };
        let mut table = Self { shared, state };
        table.refresh().await?;
        Ok(Some(table))
    }

    pub(crate) async fn open_or_create(shared: Arc<Shared>) -> Result<Self, LakeError> {
        if Self::open(Arc::clone(&shared)).await?.is_none() {
            let log = &shared.log;
            let created = log.write_commit(0, &creation(log.table)?).await?;
            info!(table = %log.table, created, "table made");
        }
        let missing = || LakeError::refused(shared.log.table, "the table vanished");
        let mut table = Self::open(Arc::clone(&shared)).await?.ok_or_else(missing)?;
        table.add_missing_columns().await?;
        Ok(table)
    }

    /// Which table.
    pub fn table(&self) -> Table {
        self.state.table
    }

    /// The version that this handle sees.
    pub fn version(&self) -> i64 {
        self.state.version
    }

    pub(crate) fn state(&self) -> &TableState {
        &self.state
    }

    pub(crate) fn state_mut(&mut self) -> &mut TableState {
        Arc::make_mut(&mut self.state)
    }

    pub(crate) fn log(&self) -> &DeltaLog {
        &self.shared.log
    }

    /// Lets the other handles know what this one knows.
    pub(crate) fn publish(&self) {
        self.shared.publish(&self.state);
        metrics::gauge!(FILES, "table" => self.table().name()).set(self.state.files.len() as f64);
    }

    /// Moves on to the latest version: reads the commits since, usually none or one.
    ///
    /// Errors: `Store`; `Refused` when the table has become one that this version of kerntrail does not understand.
    pub async fn refresh(&mut self) -> Result<(), LakeError> {
        self.take_commits().await.map(|_| ())
    }

    /// Moves on to the latest version and tells what the commits since this handle's did.
    pub(crate) async fn take_commits(&mut self) -> Result<Passed, LakeError> {
        let log = self.shared.log.clone();
        let before = Arc::clone(&self.state);
        if let Some(latest) = self.shared.latest().filter(|latest| latest.version > self.state.version) {
            self.state = latest;
        }
        loop {
            let next = self.version() + 1;
            let Some(actions) = log.commit(next).await? else { break };
            self.state_mut().apply(next, actions)?;
        }
        // Nothing follows, or what follows was cleaned up after a checkpoint while this handle slept.
        let checkpoint = log.checkpoint_version().await.unwrap_or_else(|error| {
            debug!(%error, "no word of a checkpoint");
            None
        });
        if checkpoint.is_some_and(|version| version > self.version()) {
            let missing = || LakeError::refused(self.state.table, "the table vanished");
            self.state = Arc::new(log.load().await?.ok_or_else(missing)?);
        } else if checkpoint.is_some() && checkpoint != self.state.checkpoint {
            self.state_mut().checkpoint = checkpoint;
        }
        self.publish();
        Ok(passed(&before, &self.state))
    }

    /// How far the source's `partition` (`<topic>/<n>`) had been taken at this handle's version.
    pub fn progress(&self, partition: &str) -> Progress {
        Progress::read(partition, &self.state.txns)
    }

    /// Commits `rows` together with the `progress` of where they come from, and moves on to that version.
    ///
    /// `rows`: flat, columns of [`Table::schema`], any order and number; none records progress alone.
    /// `progress`: what is now taken of each source, `rows` included. Holds two copies of the rows while it sorts them.
    /// Returns the version; it is the current one when there is nothing to write.
    ///
    /// Errors: `Conflict` when the lake already has as much of a source; `Refused` when the columns differ; `Store`.
    /// On error no row is visible, except after a `Store` error of the commit itself, when it is unknown: appending
    /// the same again then gives `Conflict` if they are. Cancel-safe: leaves at most files that nothing names.
    pub async fn append(&mut self, rows: Vec<RecordBatch>, progress: &[Progress]) -> Result<i64, LakeError> {
        self.refresh().await?;
        // Before anything is written: it may be in vain.
        Progress::rising(self.table(), progress, &self.state.txns)?;
        let count: usize = rows.iter().map(RecordBatch::num_rows).sum();
        let added = self.write_files(rows).await?;
        if added.is_empty() && progress.is_empty() {
            return Ok(self.version());
        }
        let bytes: u64 = added.iter().map(|file| file.size).sum();
        let paths: Vec<String> = added.iter().map(|file| file.path.clone()).collect();
        match self.commit(&Change::Append { added, progress }).await {
            Ok(Outcome::Committed(version)) => {
                let name = self.table().name();
                metrics::counter!(EVENTS_IN_TOTAL, "table" => name).increment(count as u64);
                metrics::counter!(BYTES_WRITTEN_TOTAL, "table" => name).increment(bytes);
                Ok(version)
            }
            Ok(Outcome::Overtaken) => Err(LakeError::refused(self.table(), "an append was overtaken")),
            Err(error) => {
                if matches!(error, LakeError::Conflict { .. }) {
                    self.discard(&paths).await;
                }
                Err(error)
            }
        }
    }

    async fn write_files(&self, rows: Vec<RecordBatch>) -> Result<Vec<DataFile>, LakeError> {
        let table = self.table();
        let schema = table.schema();
        if let Some(other) = rows.iter().find(|batch| batch.schema() != schema) {
            return Err(LakeError::refused(table, format!("rows of other columns: {}", other.schema())));
        }
        let encoded = tokio::task::spawn_blocking(move || encode(&rows)).await;
        let failed = |source| LakeError::store(format!("encode rows of {table}"), source);
        let encoded = encoded.map_err(|source| failed(source.into()))?.map_err(failed)?;
        let store = self.log().files();
        let mut added = Vec::with_capacity(encoded.len());
        for (file, bytes) in encoded {
            let path = Path::from(file.path.as_str());
            let put = store.put(&path, bytes.into()).await;
            put.map_err(|source| self.log().failed(&format!("write {path} of"), source))?;
            self.log().sync(&file.path).await?;
            added.push(file);
        }
        Ok(added)
    }

    /// Deletes files that were written and never committed; what cannot be deleted is left to vacuum.
    pub(crate) async fn discard(&self, paths: &[String]) {
        let store = self.log().files();
        for path in paths {
            if let Err(error) = store.delete(&Path::from(path.as_str())).await {
                warn!(table = %self.table(), path, %error, "left an uncommitted file to vacuum");
            }
        }
    }

    /// The rows at this handle's version, for DataFusion. Files are skipped by their statistics.
    pub fn provider(&self) -> Arc<dyn TableProvider> {
        self.provider_of(self.state.files.values().cloned().collect())
    }

    pub(crate) fn provider_of(&self, files: Vec<Arc<DataFile>>) -> Arc<dyn TableProvider> {
        Arc::new(FilesProvider::new(self.table(), self.log(), files))
    }

    /// The files at this handle's version: absolute paths of a local lake, URLs of another.
    pub fn files(&self) -> Vec<String> {
        self.state.files.keys().map(|path| provider::absolute(self.log().location(), path)).collect()
    }

    async fn add_missing_columns(&mut self) -> Result<(), LakeError> {
        let table = self.table();
        loop {
            let Some(schema) = merged(table, &self.state)? else { return Ok(()) };
            let unknown = || LakeError::refused(table, "the log names no schema");
            let metadata = self.state.metadata.as_deref().cloned().ok_or_else(unknown)?;
            let metadata = metadata.with_schema(&delta_schema(table, &schema)?);
            let metadata = metadata.map_err(|error| LakeError::refused(table, error.to_string()))?;
            let change = Change::Reshape { actions: vec![Action::Metadata(metadata)] };
            if let Outcome::Committed(version) = self.commit(&change).await? {
                info!(%table, version, "added the columns that the table lacked");
                return Ok(());
            }
        }
    }
}

/// What happened between two states of a table.
fn passed(before: &TableState, after: &TableState) -> Passed {
    let gone = before.files.keys().filter(|path| !after.files.contains_key(*path));
    Passed {
        removed: gone.map(|path| path.to_string()).collect(),
        reshaped: before.metadata.as_deref().map(|m| m.schema_string())
            != after.metadata.as_deref().map(|m| m.schema_string()),
    }
}

/// Sorts, cuts apart by day and encodes.
fn encode(rows: &[RecordBatch]) -> Result<Vec<(DataFile, Vec<u8>)>, Source> {
    let Some(first) = rows.first() else { return Ok(Vec::new()) };
    let mut files = Vec::new();
    for part in sort::by_day(&first.schema(), rows)? {
        let (bytes, metadata) = writer::encode(&part.rows)?;
        let stats = stats::write(&part.rows.schema(), &metadata);
        files.push((DataFile::fresh(file::new_path(part.day), part.day, bytes.len() as u64, stats), bytes));
    }
    Ok(files)
}

/// The actions that make `table`.
fn creation(table: Table) -> Result<Vec<Action>, LakeError> {
    let refused = |error: String| LakeError::refused(table, error);
    let versions = serde_json::json!({"minReaderVersion": READER_VERSION, "minWriterVersion": WRITER_VERSION});
    let protocol: Protocol = serde_json::from_value(versions).map_err(|error| refused(error.to_string()))?;
    let metadata = new_metadata(&delta_schema(table, &table.schema())?, [PARTITION], PROPERTIES)
        .map_err(|error| refused(error.to_string()))?;
    Ok(vec![Action::Protocol(protocol), Action::Metadata(metadata)])
}

fn delta_schema(table: Table, schema: &Schema) -> Result<StructType, LakeError> {
    schema.try_into_kernel().map_err(|error| LakeError::refused(table, format!("the schema: {error}")))
}

/// The table's columns and those that it lacks; `None` when it lacks none.
fn merged(table: Table, state: &TableState) -> Result<Option<Schema>, LakeError> {
    let has = state.schema()?;
    let mut lacking = Vec::new();
    for field in table.schema().fields() {
        match has.field_with_name(field.name()) {
            Ok(known) if provider::same_type(known.data_type(), field.data_type()) => {}
            Ok(known) => {
                let reason = format!("{} is {} and should be {}", field.name(), known.data_type(), field.data_type());
                return Err(LakeError::refused(table, reason));
            }
            Err(_) => lacking.push(Arc::clone(field)),
        }
    }
    let fields = has.fields().iter().cloned().chain(lacking.iter().cloned());
    Ok((!lacking.is_empty()).then(|| Schema::new(fields.collect::<Vec<_>>())))
}

//! Appending: rows become files, then one commit adds them together with the progress of their source.

use std::sync::Arc;

use arrow::array::RecordBatch;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use tracing::warn;

use crate::commit::{Change, CommitOutcome};
use crate::error::{BoxError, LakeError};
use crate::file::{self, DataFile};
use crate::metrics::{BYTES_WRITTEN_TOTAL, EVENTS_IN_TOTAL};
use crate::progress::Progress;
use crate::table::LakeTable;
use crate::{sort, stats, writer};

impl LakeTable {
    /// Commits `rows` together with the `progress` of their sources, and moves this handle to that version.
    ///
    /// `rows`: flat, with the columns of [`Table::schema`](kerntrail_schemas::Table::schema), in any order; without rows
    /// only progress is recorded. `progress`: how far each source is taken, `rows` included. Memory: two copies of the
    /// rows while they are sorted. Returns the version, the current one when there is nothing to write.
    ///
    /// Errors: `Conflict` when another writer has recorded progress of a source; `NewerProgress` when a newer release
    /// records it; `Refused` when the columns differ; `Store`. After an error no row is visible, except that a `Store` error of the commit itself leaves it unknown:
    /// appending the same again then gives `Conflict` if the rows are there. Cancel-safe: at most, files are left that
    /// no commit names.
    pub async fn append(&mut self, rows: Vec<RecordBatch>, progress: &[Progress]) -> Result<i64, LakeError> {
        self.refresh().await?;
        // Checked before files are written, and again by the commit.
        self.state().progress_version()?;
        Progress::rising(self.table(), progress, &self.state().txns, self.now())?;
        let count: usize = rows.iter().map(RecordBatch::num_rows).sum();
        let added = self.write_files(rows).await?;
        if added.is_empty() && progress.is_empty() {
            return Ok(self.version());
        }
        let bytes: u64 = added.iter().map(|file| file.size).sum();
        let paths: Vec<Arc<str>> = added.iter().map(|file| file.path.clone()).collect();
        match self.commit(&Change::Append { added, progress }).await {
            Ok(CommitOutcome::Committed(version)) => {
                let name = self.table().name();
                metrics::counter!(EVENTS_IN_TOTAL, "table" => name).increment(count as u64);
                metrics::counter!(BYTES_WRITTEN_TOTAL, "table" => name).increment(bytes);
                Ok(version)
            }
            Ok(CommitOutcome::Overtaken) => Err(LakeError::refused(self.table(), "an append was overtaken")),
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
            return Err(LakeError::refused(table, format!("unexpected columns: {}", other.schema())));
        }
        let encoded = tokio::task::spawn_blocking(move || encode(&rows)).await;
        let failed = |source| LakeError::store(format!("encode rows of {table}"), source);
        let encoded = encoded.map_err(|source| failed(source.into()))?.map_err(failed)?;
        let store = self.log().files();
        let mut added = Vec::with_capacity(encoded.len());
        for (file, bytes) in encoded {
            let path = Path::from(&*file.path);
            let put = store.put(&path, bytes.into()).await;
            put.map_err(|source| self.log().failed(&format!("write {path} of"), source))?;
            self.log().sync(&file.path).await?;
            added.push(file);
        }
        Ok(added)
    }

    /// Deletes files that were written but not committed; vacuum removes what cannot be deleted now.
    pub(crate) async fn discard(&self, paths: &[Arc<str>]) {
        let store = self.log().files();
        for path in paths {
            if let Err(error) = store.delete(&Path::from(&**path)).await {
                warn!(table = %self.table(), %path, %error, "an uncommitted file stays until the next vacuum");
            }
        }
    }
}

/// Sorts the rows, splits them by day and encodes each part.
fn encode(rows: &[RecordBatch]) -> Result<Vec<(DataFile, Vec<u8>)>, BoxError> {
    let Some(first) = rows.first() else { return Ok(Vec::new()) };
    let mut files = Vec::new();
    for part in sort::by_day(&first.schema(), rows)? {
        let (bytes, metadata) = writer::encode(&part.rows)?;
        let stats = stats::write(&part.rows.schema(), &metadata);
        files.push((DataFile::fresh(file::new_path(part.day), part.day, bytes.len() as u64, stats), bytes));
    }
    Ok(files)
}

//! Removes what is no longer needed: replaced files, files of killed writers, old commits. Makes checkpoints.

use std::collections::HashSet;
use std::path::Path as LocalPath;
use std::time::{Duration, SystemTime};

use deltalake_core::checkpoints::cleanup_expired_logs_for;
use kerntrail_common::durable;
use object_store::ObjectStoreExt;
use tracing::{info, warn};

use crate::checkpoint::Removed;
use crate::error::LakeError;
use crate::file;
use crate::metrics::VACUUMED_FILES_TOTAL;
use crate::table::LakeTable;

/// Commits between two checkpoints.
const CHECKPOINT_COMMITS: i64 = 100;
/// How long the log remembers removed files, and so the longest that vacuum can keep them.
const REMEMBERED: Duration = Duration::from_secs(6 * 3600);

/// What a vacuum removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VacuumReport {
    /// Replaced files, and files that no commit names.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Commits and checkpoints older than a later checkpoint.
    pub log_files: usize,
    /// Partly written files of killed writers.
    pub leftovers: usize,
}

impl LakeTable {
    /// Makes a checkpoint when there are at least a hundred commits since the last one. Returns whether it did.
    ///
    /// Errors: `Store`.
    pub async fn checkpoint(&mut self) -> Result<bool, LakeError> {
        self.refresh().await?;
        // A checkpoint leaves out what may expire, and an older version of kerntrail recorded offsets so.
        self.complete_shape().await?;
        let since = self.version() - self.state().checkpoint.unwrap_or(0);
        if since < CHECKPOINT_COMMITS {
            return Ok(false);
        }
        self.checkpoint_now().await?;
        Ok(true)
    }

    async fn checkpoint_now(&mut self) -> Result<(), LakeError> {
        let version = self.version();
        self.log().make_checkpoint(version).await?;
        self.passed_checkpoint(Some(version));
        self.publish();
        Ok(())
    }

    /// Removes what has not been needed for `keep`: files replaced that long ago, files of that age that no commit
    /// names, and commits of that age that a checkpoint covers.
    ///
    /// `keep` must be longer than any query runs, any cursor pauses and any commit takes, on every machine that uses the
    /// lake; a handle that was idle for longer must refresh before it reads. An hour is a good value.
    ///
    /// Errors: `Refused` when `keep` is longer than six hours, since the log remembers removed files for that long;
    /// `Store`.
    pub async fn vacuum(&mut self, keep: Duration) -> Result<VacuumReport, LakeError> {
        if keep > REMEMBERED {
            let reason = format!("keeps removed files for {REMEMBERED:?}; {keep:?} is longer");
            return Err(LakeError::refused(self.table(), reason));
        }
        self.refresh().await?;
        let mut report = VacuumReport::default();
        let cutoff = file::now() - keep.as_millis() as i64;
        self.remove_files(cutoff, &mut report).await?;
        report.log_files = self.clean_log(cutoff).await?;
        report.leftovers = self.remove_leftovers(keep).await?;
        metrics::counter!(VACUUMED_FILES_TOTAL, "table" => self.table().name()).increment(report.files as u64);
        if report != VacuumReport::default() {
            info!(table = %self.table(), ?report, "vacuumed");
        }
        Ok(report)
    }

    async fn remove_files(&self, cutoff: i64, report: &mut VacuumReport) -> Result<(), LakeError> {
        // Listed before the log is read again: a listed file that a commit names by then is current or was removed just now.
        let listed = self.log().list_files().await?;
        let mut fresh = self.clone();
        fresh.refresh().await?;
        let removed_lately = self.removed_since(cutoff).await?;
        let store = self.log().files();
        for listed in listed {
            let path = listed.location.as_ref();
            let needed = fresh.state().files.contains_key(path)
                || removed_lately.contains(path)
                || listed.last_modified.timestamp_millis() > cutoff;
            if needed {
                continue;
            }
            match store.delete(&listed.location).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(source) => return Err(self.log().failed(&format!("delete {path} of"), source)),
            }
            report.files += 1;
            report.bytes += listed.size;
        }
        Ok(())
    }

    /// Paths that commits after `cutoff` removed.
    async fn removed_since(&self, cutoff: i64) -> Result<HashSet<String>, LakeError> {
        let lately = |removed: &Removed| removed.at.is_none_or(|at| at > cutoff);
        let removed = self.log().removals().await?.into_iter().filter(lately);
        Ok(removed.map(|removed| removed.path).collect())
    }

    async fn clean_log(&mut self, cutoff: i64) -> Result<usize, LakeError> {
        let Some(checkpoint) = self.state().checkpoint else { return Ok(0) };
        let store = self.log().store().clone();
        cleanup_expired_logs_for(checkpoint as u64, store.as_ref(), cutoff, None)
            .await
            .map_err(|source| self.log().failed("clean up the log of", source))
    }

    /// Removes staged files, which a process that was killed leaves behind; `object_store` does not list them.
    async fn remove_leftovers(&self, keep: Duration) -> Result<usize, LakeError> {
        if self.log().location().scheme() != "file" {
            return Ok(0);
        }
        let Ok(folder) = self.log().location().to_file_path() else { return Ok(0) };
        let failed = |source| self.log().failed("remove half-written files of", source);
        let removed = tokio::task::spawn_blocking(move || remove_staged(&folder, SystemTime::now() - keep)).await;
        removed.map_err(|source| self.log().failed("remove half-written files of", source))?.map_err(failed)
    }
}

/// Removes the staged files below `folder` that were last written before `cutoff`.
fn remove_staged(folder: &LocalPath, cutoff: SystemTime) -> std::io::Result<usize> {
    let mut removed = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            removed += remove_staged(&entry.path(), cutoff)?;
        } else if durable::is_staged(&entry.file_name().to_string_lossy()) && metadata.modified()? < cutoff {
            match std::fs::remove_file(entry.path()) {
                Ok(()) => removed += 1,
                Err(error) => warn!(path = %entry.path().display(), %error, "cannot remove a partly written file"),
            }
        }
    }
    Ok(removed)
}

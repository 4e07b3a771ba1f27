//! The commit loop: one version at a time, with a check of what was committed in between.

use std::sync::Arc;

use deltalake_core::kernel::{Action, CommitInfo, Transaction};
use serde_json::Value;
use tracing::debug;

use crate::error::LakeError;
use crate::file::{self, DataFile};
use crate::metrics::{COMMITS_TOTAL, CONFLICTS_TOTAL, RACES_TOTAL};
use crate::progress::Progress;
use crate::state::Passed;
use crate::table::LakeTable;

/// How many versions in a row may be lost to other writers before giving up.
const ATTEMPTS: usize = 100;

/// What to commit, and what would make it wrong.
pub(crate) enum Change<'a> {
    /// New files, with the progress of their source, which must still rise.
    Append { added: Vec<DataFile>, progress: &'a [Progress] },
    /// Files in place of others with the same rows, which must still be there.
    Replace { removed: Vec<Arc<DataFile>>, added: Vec<DataFile> },
    /// Anything about the table itself; nobody else may have changed that.
    Reshape { actions: Vec<Action> },
}

/// Whether a commit took place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is this version.
    Committed(i64),
    /// Another writer has made it pointless; nothing was written.
    Overtaken,
}

impl Change<'_> {
    fn operation(&self) -> &'static str {
        match self {
            Self::Append { .. } => "WRITE",
            Self::Replace { .. } => "OPTIMIZE",
            Self::Reshape { .. } => "SET TABLE PROPERTIES",
        }
    }

    /// The actions of a commit on top of `table`. Errors: `Conflict` when progress does not rise.
    fn actions(&self, table: &LakeTable) -> Result<Vec<Action>, LakeError> {
        let now = file::now();
        let mut actions = vec![self.commit_info(table, now)];
        match self {
            Self::Append { added, progress } => {
                let rising = Progress::rising(table.table(), progress, &table.state().txns)?;
                actions.extend(rising.into_iter().map(|(app_id, version)| {
                    Action::Txn(Transaction::new_with_last_update(app_id, version, Some(now)))
                }));
                actions.extend(added.iter().map(|file| Action::Add(file.add(true))));
            }
            Self::Replace { removed, added } => {
                actions.extend(removed.iter().map(|file| Action::Remove(file.remove(now))));
                actions.extend(added.iter().map(|file| Action::Add(file.add(false))));
            }
            Self::Reshape { actions: shape } => actions.extend(shape.iter().cloned()),
        }
        Ok(actions)
    }

    fn commit_info(&self, table: &LakeTable, now: i64) -> Action {
        let blind = matches!(self, Self::Append { .. });
        Action::CommitInfo(CommitInfo {
            timestamp: Some(now),
            operation: Some(self.operation().to_owned()),
            read_version: u64::try_from(table.version()).ok(),
            is_blind_append: Some(blind),
            engine_info: Some(concat!("kerntrail/", env!("CARGO_PKG_VERSION")).to_owned()),
            operation_parameters: blind.then(|| [("mode".to_owned(), Value::from("Append"))].into_iter().collect()),
            ..CommitInfo::default()
        })
    }

    /// Whether the commits that `passed` in between leave the change meaningful. Progress is checked by `actions`.
    fn survives(&self, passed: &Passed) -> bool {
        match self {
            Self::Append { .. } => true,
            Self::Replace { removed, .. } => {
                !passed.reshaped && !removed.iter().any(|file| passed.removed.contains(&file.path))
            }
            Self::Reshape { .. } => !passed.reshaped,
        }
    }
}

impl LakeTable {
    /// Commits `change` at the next free version and takes the table there.
    ///
    /// Errors: `Conflict` when the progress of an append does not rise any more; `Store`.
    pub(crate) async fn commit(&mut self, change: &Change<'_>) -> Result<Outcome, LakeError> {
        let labels = [("table", self.table().name())];
        for _ in 0..ATTEMPTS {
            let actions = change.actions(self).inspect_err(|_| {
                metrics::counter!(CONFLICTS_TOTAL, &labels).increment(1);
            })?;
            let version = self.version() + 1;
            if self.log().write_commit(version, &actions).await? {
                self.state_mut().apply(version, actions)?;
                self.publish();
                metrics::counter!(COMMITS_TOTAL, "table" => self.table().name(), "operation" => change.operation())
                    .increment(1);
                return Ok(Outcome::Committed(version));
            }
            debug!(table = %self.table(), version, "another writer took the version");
            metrics::counter!(RACES_TOTAL, &labels).increment(1);
            if !change.survives(&self.take_commits().await?) {
                return Ok(Outcome::Overtaken);
            }
        }
        Err(LakeError::store(
            format!("commit to {}", self.table()),
            format!("{ATTEMPTS} versions in a row went to other writers"),
        ))
    }
}

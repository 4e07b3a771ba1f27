//! The commit loop: one version at a time, with a check of what others committed meanwhile.

use std::sync::Arc;

use deltalake_core::kernel::{Action, CommitInfo};
use serde_json::Value;
use tracing::debug;

use crate::error::LakeError;
use crate::file::{self, DataFile};
use crate::metrics::{COMMITS_TOTAL, CONFLICTS_TOTAL, RACES_TOTAL};
use crate::progress::{self, Progress};
use crate::shape;
use crate::state::TableState;
use crate::table::LakeTable;

/// Consecutive conflicts with other writers before a commit gives up.
const ATTEMPTS: usize = 100;

/// What to commit, and which other commits would invalidate it.
pub(crate) enum Change<'a> {
    /// New files and the progress of their sources, which must still rise.
    Append { added: Vec<DataFile>, progress: &'a [Progress] },
    /// Files that replace others with the same rows, which must still be current.
    Replace { removed: Vec<Arc<DataFile>>, added: Vec<DataFile> },
    /// The columns and properties that the table lacks at the version that the commit follows.
    Shape,
}

/// Whether a commit took place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommitOutcome {
    /// It is this version.
    Committed(i64),
    /// There is nothing to do, or another writer has made it pointless; nothing was written.
    Overtaken,
}

impl Change<'_> {
    fn operation(&self) -> &'static str {
        match self {
            Self::Append { .. } => "WRITE",
            Self::Replace { .. } => "OPTIMIZE",
            Self::Shape => "SET TABLE PROPERTIES",
        }
    }

    /// The actions of a commit on top of `table`; `None` when there are none to commit.
    ///
    /// Errors: `Conflict` when progress does not rise; `NewerProgress`; `Refused` when the table's shape is not known.
    fn actions(&self, table: &LakeTable) -> Result<Option<Vec<Action>>, LakeError> {
        let now = file::now();
        let mut actions = vec![self.commit_info(table, now)];
        match self {
            Self::Append { added, progress } => {
                table.state().progress_version()?;
                let recorded_at = table.now();
                let rising = Progress::rising(table.table(), progress, &table.state().txns, recorded_at)?;
                let records = rising.iter().map(|(app_id, version)| progress::action(app_id, *version, recorded_at));
                actions.extend(records.map(Action::Txn));
                actions.extend(added.iter().map(|file| Action::Add(file.add(true))));
            }
            Self::Replace { removed, added } => {
                actions.extend(removed.iter().map(|file| Action::Remove(file.remove(now))));
                actions.extend(added.iter().map(|file| Action::Add(file.add(false))));
            }
            Self::Shape => {
                let missing = shape::missing(table.state())?;
                if missing.is_empty() {
                    return Ok(None);
                }
                actions.extend(missing);
            }
        }
        Ok(Some(actions))
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

    /// Whether the change is still meaningful on top of `after`, having been prepared on top of `before`. What an append
    /// or a shape needs is checked by `actions`.
    fn survives(&self, before: &TableState, after: &TableState) -> bool {
        match self {
            Self::Append { .. } | Self::Shape => true,
            Self::Replace { removed, .. } => {
                before.schema_string() == after.schema_string()
                    && removed.iter().all(|file| after.files.contains_key(&file.path))
            }
        }
    }
}

impl LakeTable {
    /// Commits `change` at the next free version and moves this handle there.
    ///
    /// Errors: `Conflict` when the progress of an append does not rise any more; `Store`.
    pub(crate) async fn commit(&mut self, change: &Change<'_>) -> Result<CommitOutcome, LakeError> {
        let labels = [("table", self.table().name())];
        for _ in 0..ATTEMPTS {
            let actions = change.actions(self).inspect_err(|_| {
                metrics::counter!(CONFLICTS_TOTAL, &labels).increment(1);
            })?;
            let Some(actions) = actions else { return Ok(CommitOutcome::Overtaken) };
            let version = self.version() + 1;
            if self.log().write_commit(version, &actions).await? {
                self.state_mut().apply(version, actions)?;
                self.publish();
                metrics::counter!(COMMITS_TOTAL, "table" => self.table().name(), "operation" => change.operation())
                    .increment(1);
                return Ok(CommitOutcome::Committed(version));
            }
            debug!(table = %self.table(), version, "another writer took the version");
            metrics::counter!(RACES_TOTAL, &labels).increment(1);
            let before = self.snapshot();
            self.refresh().await?;
            if !change.survives(&before, self.state()) {
                return Ok(CommitOutcome::Overtaken);
            }
        }
        Err(LakeError::store(
            format!("commit to {}", self.table()),
            format!("{ATTEMPTS} versions in a row went to other writers"),
        ))
    }
}

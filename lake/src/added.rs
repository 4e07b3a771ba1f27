//! Rows added between two versions: how a rule reads each row once, however late it arrives.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use deltalake_core::kernel::Action;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use crate::error::LakeError;
use crate::file::DataFile;
use crate::state::CommitAdds;
use crate::table::LakeTable;

/// The rows that a range of versions added.
#[derive(Clone, Debug)]
pub struct Added {
    /// The cursor to read on from.
    pub to_version: i64,
    /// The rows; `None` when there are none.
    pub rows: Option<Arc<dyn TableProvider>>,
}

impl LakeTable {
    /// The rows committed after `version`, up to the version of this handle; all rows for `None`.
    ///
    /// Compaction moves no row into or out of a range: its commits are skipped, and the files that it replaced are read
    /// as long as vacuum keeps them. So a cursor may be as old as that.
    ///
    /// Errors: `CursorTooOld` when a commit of the range was cleaned up or one of its files was vacuumed; `CursorAhead`
    /// when the table has not reached `version`; `Store`.
    pub async fn added_since(&self, version: Option<i64>) -> Result<Added, LakeError> {
        let to_version = self.version();
        let Some(cursor) = version else {
            let rows = (!self.state().files.is_empty()).then(|| self.provider());
            return Ok(Added { to_version, rows });
        };
        if cursor > to_version {
            return Err(LakeError::CursorAhead { table: self.table(), cursor, latest: to_version });
        }
        let mut files = Vec::new();
        let mut oldest = cursor;
        // Newest first: a gap then shows from which version reading can resume.
        for version in (cursor + 1..=to_version).rev() {
            match self.added_by(version).await? {
                Some(commit) => files.extend(commit.added.iter().cloned()),
                None => {
                    oldest = version;
                    break;
                }
            }
        }
        if oldest > cursor {
            return Err(LakeError::CursorTooOld { table: self.table(), cursor, oldest });
        }
        let rows = (!files.is_empty()).then(|| self.provider_of(files));
        Ok(Added { to_version, rows })
    }

    /// What the commit of `version` added; `None` when it can no longer be read.
    async fn added_by(&self, version: i64) -> Result<Option<Arc<CommitAdds>>, LakeError> {
        let commit = match self.state().recent.get(&version) {
            Some(known) => Arc::clone(known),
            None => match self.log().commit(version).await? {
                Some(actions) => Arc::new(CommitAdds { added: data_files(actions) }),
                None => return Ok(None),
            },
        };
        for file in &commit.added {
            if !self.is_there(file).await? {
                return Ok(None);
            }
        }
        Ok(Some(commit))
    }

    /// Whether `file` can be read: it is current, or replaced but not yet vacuumed.
    async fn is_there(&self, file: &DataFile) -> Result<bool, LakeError> {
        if self.state().files.contains_key(&file.path) {
            return Ok(true);
        }
        match self.log().files().head(&Path::from(&*file.path)).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(source) => Err(self.log().failed("look for a replaced file of", source)),
        }
    }
}

fn data_files(actions: Vec<Action>) -> Vec<Arc<DataFile>> {
    let added = actions.into_iter().filter_map(|action| match action {
        Action::Add(add) if add.data_change => Some(Arc::new(DataFile::new(add))),
        _ => None,
    });
    added.collect()
}

//! A table as of a version: what replaying its log gives. No IO.
//!
//! The collections are persistent: a copy shares its nodes with the original, and a change copies the few nodes on the
//! way to it. So a commit costs what it changes, however many files the table has, and a reader's snapshot stays as it is.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use deltalake_core::kernel::{Action, Metadata, Protocol};
use kerntrail_schemas::Table;
use rpds::RedBlackTreeMapSync;

use crate::checkpoint::Checkpoint;
use crate::error::LakeError;
use crate::file::DataFile;
use crate::progress::{VERSION, VERSION_PROPERTY};
use crate::txns::{Recorded, Txns};

/// Highest protocol that the log may ask for: plain tables, without features that readers must know.
pub(crate) const READER_VERSION: i32 = 1;
/// The same for writers.
pub(crate) const WRITER_VERSION: i32 = 2;
/// Commits whose added files are remembered; older ones are read from the log again.
const REMEMBERED: i64 = 512;

/// What one commit added.
#[derive(Debug)]
pub(crate) struct CommitAdds {
    /// Files with rows that were not in the table before; none of a compaction.
    pub(crate) added: Vec<Arc<DataFile>>,
}

/// A table as of a version. A clone costs the same for a table of any size.
#[derive(Clone, Debug)]
pub(crate) struct TableState {
    pub(crate) table: Table,
    pub(crate) version: i64,
    pub(crate) metadata: Option<Arc<Metadata>>,
    /// Current files, by path.
    pub(crate) files: RedBlackTreeMapSync<Arc<str>, Arc<DataFile>>,
    /// Progress of the table's sources.
    pub(crate) txns: Txns,
    /// The latest commits by version, without gaps.
    pub(crate) recent: RedBlackTreeMapSync<i64, Arc<CommitAdds>>,
    /// Version of the checkpoint that the log was read from, or that was made since.
    pub(crate) checkpoint: Option<i64>,
}

impl TableState {
    /// A table before its first commit.
    pub(crate) fn empty(table: Table) -> Self {
        Self {
            table,
            version: -1,
            metadata: None,
            files: RedBlackTreeMapSync::new_sync(),
            txns: Txns::default(),
            recent: RedBlackTreeMapSync::new_sync(),
            checkpoint: None,
        }
    }

    /// The table as of `checkpoint`. It does not say which commit added a file, so no commit is remembered.
    ///
    /// Errors: `Refused`, as [`TableState::apply`].
    pub(crate) fn restored(table: Table, checkpoint: Checkpoint) -> Result<Self, LakeError> {
        let mut state = Self::empty(table);
        if let Some(protocol) = &checkpoint.protocol {
            state.check_protocol(protocol)?;
        }
        if let Some(metadata) = checkpoint.metadata {
            state.set_metadata(metadata);
        }
        for file in checkpoint.files {
            state.files.insert_mut(Arc::clone(&file.path), Arc::new(file));
        }
        for (app_id, recorded) in checkpoint.txns {
            state.txns.record(app_id, recorded);
        }
        state.version = checkpoint.version;
        state.checkpoint = Some(checkpoint.version);
        Ok(state)
    }

    /// Applies the actions of the commit of `version`, the next one.
    ///
    /// Errors: `Refused` when the table has become one that this code does not understand.
    pub(crate) fn apply(&mut self, version: i64, actions: Vec<Action>) -> Result<(), LakeError> {
        let mut added = Vec::new();
        for action in actions {
            match action {
                Action::Add(add) => {
                    let data_change = add.data_change;
                    let file = Arc::new(DataFile::new(add));
                    self.files.insert_mut(Arc::clone(&file.path), Arc::clone(&file));
                    if data_change {
                        added.push(file);
                    }
                }
                Action::Remove(remove) => {
                    self.files.remove_mut(remove.path.as_str());
                }
                Action::Txn(txn) => {
                    let recorded = Recorded { version: txn.version, last_updated: txn.last_updated };
                    self.txns.record(Arc::from(txn.app_id), recorded);
                }
                Action::Metadata(metadata) => self.set_metadata(metadata),
                Action::Protocol(protocol) => self.check_protocol(&protocol)?,
                Action::Cdc(_) | Action::CommitInfo(_) | Action::DomainMetadata(_) => {}
            }
        }
        self.version = version;
        self.recent.insert_mut(version, Arc::new(CommitAdds { added }));
        // It may not be there: looking for it first copies nothing.
        let oldest = version - REMEMBERED;
        if self.recent.contains_key(&oldest) {
            self.recent.remove_mut(&oldest);
        }
        Ok(())
    }

    /// Forgets progress that has expired at `now`, in milliseconds since the Unix epoch.
    pub(crate) fn expire(&mut self, now: i64) {
        self.txns.expire(now);
    }

    fn set_metadata(&mut self, metadata: Metadata) {
        let properties = metadata.parse_table_properties();
        self.txns.set_retention(properties.set_transaction_retention_duration);
        self.metadata = Some(Arc::new(metadata));
    }

    fn check_protocol(&self, protocol: &Protocol) -> Result<(), LakeError> {
        let (reader, writer) = (protocol.min_reader_version(), protocol.min_writer_version());
        if reader > READER_VERSION || writer > WRITER_VERSION {
            let reason = format!(
                "the table asks for Delta protocol {reader}/{writer}, and this version of kerntrail knows \
                 {READER_VERSION}/{WRITER_VERSION}"
            );
            return Err(LakeError::refused(self.table, reason));
        }
        Ok(())
    }

    /// The columns that the log says the table has.
    pub(crate) fn schema(&self) -> Result<SchemaRef, LakeError> {
        use deltalake_core::kernel::engine::arrow_conversion::TryIntoArrow;
        let refused = |reason: String| LakeError::refused(self.table, reason);
        let metadata = self.metadata.as_ref().ok_or_else(|| refused("the log has no schema".into()))?;
        let schema = metadata.parse_schema().map_err(|error| refused(format!("the log's schema: {error}")))?;
        let schema = (&schema).try_into_arrow().map_err(|error| refused(format!("the log's schema: {error}")))?;
        Ok(Arc::new(schema))
    }

    /// Version of the form in which the table's progress is recorded.
    ///
    /// Errors: `NewerProgress`; `Refused` when the property is not a version number.
    pub(crate) fn progress_version(&self) -> Result<u32, LakeError> {
        let properties = self.metadata.as_deref().map(Metadata::configuration);
        let Some(text) = properties.and_then(|properties| properties.get(VERSION_PROPERTY)) else { return Ok(1) };
        match text.parse() {
            Ok(version) if version <= VERSION => Ok(version),
            Ok(found) => Err(LakeError::NewerProgress { table: self.table, found, known: VERSION }),
            Err(_) => Err(LakeError::refused(self.table, format!("{VERSION_PROPERTY} is {text:?}"))),
        }
    }

    /// Names of the columns that the log's schema has and this release does not know: a newer one added them.
    pub(crate) fn newer_columns(&self) -> Result<Vec<String>, LakeError> {
        let known = self.table.schema();
        let names = self.schema()?.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>();
        Ok(names.into_iter().filter(|name| known.field_with_name(name).is_err()).collect())
    }

    /// The log's own text for the schema.
    pub(crate) fn schema_string(&self) -> Option<&str> {
        self.metadata.as_deref().map(|metadata| metadata.schema_string().as_str())
    }
}

#[cfg(test)]
mod tests;

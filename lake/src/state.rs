//! A table as of a version: what replaying its log gives. No IO.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use deltalake_core::kernel::{Action, Metadata, Protocol};
use kerntrail_schemas::Table;

use crate::error::LakeError;
use crate::file::DataFile;

/// Highest protocol that the log may ask for: plain tables, without features that readers must know.
pub(crate) const READER_VERSION: i32 = 1;
/// Likewise of writers.
pub(crate) const WRITER_VERSION: i32 = 2;
/// Commits whose added files are remembered; older ones are read from the log again.
const REMEMBERED: usize = 512;

/// What one commit added.
#[derive(Debug)]
pub(crate) struct CommitAdds {
    /// Its version.
    pub(crate) version: i64,
    /// Files with rows that were not in the table before; none of a compaction.
    pub(crate) added: Vec<Arc<DataFile>>,
}

/// What another writer's commit means for one that was prepared before it.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    /// Paths removed.
    pub(crate) removed: HashSet<String>,
    /// Whether the schema or the protocol changed.
    pub(crate) reshaped: bool,
}

/// A table as of a version.
#[derive(Clone, Debug)]
pub(crate) struct TableState {
    pub(crate) table: Table,
    pub(crate) version: i64,
    pub(crate) metadata: Option<Arc<Metadata>>,
    /// Current files, by path.
    pub(crate) files: BTreeMap<Arc<str>, Arc<DataFile>>,
    /// Last version of each application id.
    pub(crate) txns: HashMap<Arc<str>, i64>,
    /// The latest commits, oldest first, without gaps.
    pub(crate) recent: VecDeque<Arc<CommitAdds>>,
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
            files: BTreeMap::new(),
            txns: HashMap::new(),
            recent: VecDeque::new(),
            checkpoint: None,
        }
    }

    /// Takes the actions of a checkpoint of `version` as the state before anything else.
    ///
    /// Errors: `Refused`, as [`TableState::apply`].
    pub(crate) fn restore(&mut self, version: i64, actions: Vec<Action>) -> Result<(), LakeError> {
        self.apply(version, actions)?;
        // A checkpoint does not tell which commit added a file.
        self.recent.clear();
        self.checkpoint = Some(version);
        Ok(())
    }

    /// Takes the actions of the commit of `version`, the next one.
    ///
    /// Errors: `Refused` when the table has become one that this code does not understand.
    pub(crate) fn apply(&mut self, version: i64, actions: Vec<Action>) -> Result<Passed, LakeError> {
        let mut passed = Passed::default();
        let mut added = Vec::new();
        for action in actions {
            match action {
                Action::Add(add) => {
                    let data_change = add.data_change;
                    let file = Arc::new(DataFile::new(add));
                    self.files.insert(Arc::from(file.path.as_str()), Arc::clone(&file));
                    if data_change {
                        added.push(file);
                    }
                }
                Action::Remove(remove) => {
                    self.files.remove(remove.path.as_str());
                    passed.removed.insert(remove.path);
                }
                Action::Txn(txn) => {
                    self.txns.insert(Arc::from(txn.app_id), txn.version);
                }
                Action::Metadata(metadata) => {
                    passed.reshaped = true;
                    self.metadata = Some(Arc::new(metadata));
                }
                Action::Protocol(protocol) => {
                    passed.reshaped = true;
                    self.check_protocol(&protocol)?;
                }
                Action::Cdc(_) | Action::CommitInfo(_) | Action::DomainMetadata(_) => {}
            }
        }
        self.version = version;
        self.recent.push_back(Arc::new(CommitAdds { version, added }));
        if self.recent.len() > REMEMBERED {
            self.recent.pop_front();
        }
        Ok(passed)
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
        let metadata = self.metadata.as_ref().ok_or_else(|| refused("the log names no schema".into()))?;
        let schema = metadata.parse_schema().map_err(|error| refused(format!("the log's schema: {error}")))?;
        let schema = (&schema).try_into_arrow().map_err(|error| refused(format!("the log's schema: {error}")))?;
        Ok(Arc::new(schema))
    }
}

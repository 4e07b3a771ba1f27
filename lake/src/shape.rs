//! What a table must be: its columns, protocol and properties.

use std::sync::Arc;

use arrow::datatypes::Schema;
use deltalake_core::kernel::engine::arrow_conversion::TryIntoKernel;
use deltalake_core::kernel::{Action, Metadata, MetadataExt, Protocol, StructType, Transaction, new_metadata};
use kerntrail_schemas::Table;
use tracing::info;

use crate::commit::{Change, CommitOutcome};
use crate::error::LakeError;
use crate::file::PARTITION;
use crate::progress::{self, RETENTION, RETENTION_PROPERTY, VERSION_PROPERTY};
use crate::provider;
use crate::state::{READER_VERSION, TableState, WRITER_VERSION};
use crate::table::LakeTable;

/// Properties of a new table: the log must remember removed files for as long as [`LakeTable::vacuum`] may keep them.
const PROPERTIES: [(&str, &str); 4] = [
    ("delta.deletedFileRetentionDuration", "interval 6 hours"),
    ("delta.logRetentionDuration", "interval 6 hours"),
    ("delta.checkpointInterval", "100"),
    (RETENTION_PROPERTY, RETENTION),
];

impl LakeTable {
    /// Adds the columns and properties that the table lacks, in one commit.
    ///
    /// Errors: `Refused` when its columns have other types; `NewerProgress`; `Store`.
    pub(crate) async fn complete_shape(&mut self) -> Result<(), LakeError> {
        if let CommitOutcome::Committed(version) = self.commit(&Change::Shape).await? {
            info!(table = %self.table(), version, "added columns or properties that the table lacked");
        }
        Ok(())
    }
}

/// The actions that make `table`.
pub(crate) fn creation(table: Table) -> Result<Vec<Action>, LakeError> {
    let refused = |error: String| LakeError::refused(table, error);
    let versions = serde_json::json!({"minReaderVersion": READER_VERSION, "minWriterVersion": WRITER_VERSION});
    let protocol: Protocol = serde_json::from_value(versions).map_err(|error| refused(error.to_string()))?;
    let version = progress::VERSION.to_string();
    let properties = PROPERTIES.into_iter().chain([(VERSION_PROPERTY, version.as_str())]);
    let metadata = new_metadata(&delta_schema(table, &table.schema())?, [PARTITION], properties)
        .map_err(|error| refused(error.to_string()))?;
    Ok(vec![Action::Protocol(protocol), Action::Metadata(metadata)])
}

/// The actions that give a table what it lacks: columns, the retention of progress, and progress in the present form.
///
/// They go into one commit, so that no version of the table has both a retention and offsets that it applies to.
pub(crate) fn missing(state: &TableState) -> Result<Vec<Action>, LakeError> {
    let mut actions = Vec::new();
    if let Some(metadata) = missing_metadata(state)? {
        actions.push(Action::Metadata(metadata));
    }
    let offsets = state.txns.perishable_offsets();
    actions.extend(offsets.map(|(app_id, version)| Action::Txn(Transaction::new(app_id, version))));
    Ok(actions)
}

/// The table's metadata with what it lacks; `None` when it lacks nothing.
fn missing_metadata(state: &TableState) -> Result<Option<Metadata>, LakeError> {
    let table = state.table;
    let refused = |error: String| LakeError::refused(table, error);
    let known = state.metadata.as_deref().ok_or_else(|| refused("the log has no schema".to_owned()))?;
    let mut properties = Vec::new();
    if state.progress_version()? < progress::VERSION {
        properties.push((VERSION_PROPERTY, progress::VERSION.to_string()));
    }
    if !known.configuration().contains_key(RETENTION_PROPERTY) {
        properties.push((RETENTION_PROPERTY, RETENTION.to_owned()));
    }
    let schema = merged(table, state)?;
    if schema.is_none() && properties.is_empty() {
        return Ok(None);
    }
    let mut metadata = known.clone();
    if let Some(schema) = schema {
        metadata = metadata.with_schema(&delta_schema(table, &schema)?).map_err(|error| refused(error.to_string()))?;
    }
    for (key, value) in properties {
        metadata = metadata.add_config_key(key.to_owned(), value).map_err(|error| refused(error.to_string()))?;
    }
    Ok(Some(metadata))
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

//! What a table must be: its columns, protocol and properties.

use std::sync::Arc;

use arrow::datatypes::Schema;
use deltalake_core::kernel::engine::arrow_conversion::TryIntoKernel;
use deltalake_core::kernel::{Action, MetadataExt, Protocol, StructType, new_metadata};
use kerntrail_schemas::Table;
use tracing::info;

use crate::commit::{Change, Outcome};
use crate::error::LakeError;
use crate::file::PARTITION;
use crate::provider;
use crate::state::{READER_VERSION, TableState, WRITER_VERSION};
use crate::table::LakeTable;

/// Table properties: the log must remember removed files for as long as [`LakeTable::vacuum`] may keep them.
const PROPERTIES: [(&str, &str); 3] = [
    ("delta.deletedFileRetentionDuration", "interval 6 hours"),
    ("delta.logRetentionDuration", "interval 6 hours"),
    ("delta.checkpointInterval", "100"),
];

impl LakeTable {
    pub(crate) async fn add_missing_columns(&mut self) -> Result<(), LakeError> {
        let table = self.table();
        loop {
            let Some(schema) = merged(table, self.state())? else { return Ok(()) };
            let unknown = || LakeError::refused(table, "the log names no schema");
            let metadata = self.state().metadata.as_deref().cloned().ok_or_else(unknown)?;
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

/// The actions that make `table`.
pub(crate) fn creation(table: Table) -> Result<Vec<Action>, LakeError> {
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

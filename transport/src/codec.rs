//! Rows to bytes and back.

use bytes::Bytes;
use kerntrail_schemas::{Table, TableBatch};

/// What is wrong with encoded rows.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The bytes are no rows of this table and version.
    #[error("cannot decode rows of {table}: {reason}")]
    Decode {
        /// The table expected.
        table: Table,
        /// What is wrong.
        reason: String,
    },
    /// The rows cannot be written.
    #[error("cannot encode rows of {table}: {reason}")]
    Encode {
        /// The table.
        table: Table,
        /// What is wrong.
        reason: String,
    },
}

/// Encodes `rows`.
pub fn encode(rows: &TableBatch) -> Result<Bytes, CodecError> {
    let _ = rows;
    Err(CodecError::Encode { table: rows.table, reason: "the codec is being built".into() })
}

/// Decodes rows of `table` written by `schema_version`.
pub fn decode(table: Table, schema_version: u16, payload: &[u8]) -> Result<TableBatch, CodecError> {
    let _ = (schema_version, payload);
    Err(CodecError::Decode { table, reason: "the codec is being built".into() })
}

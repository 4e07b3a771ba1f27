//! The format of the documents that are sent, independent of the protocol.

use chrono::{DateTime, SecondsFormat, Utc};
use kerntrail_schemas::Table;
use kerntrail_schemas::mapping::{Row, ecs, ocsf};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A format of documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// Open Cybersecurity Schema Framework 1.8.
    Ocsf,
    /// Elastic Common Schema 9.
    Ecs,
}

impl Profile {
    /// The document for `row` of `table`, sent at `now`. `namespace` is that of the data stream; only `ecs` writes it and
    /// the time down: Elastic's rules look for what arrived since they last ran.
    pub fn document(self, table: Table, row: &Row, namespace: &str, now: DateTime<Utc>) -> Value {
        match self {
            Self::Ocsf => ocsf::map(table, row),
            Self::Ecs => {
                let mut document = ecs::map(table, row, namespace);
                document["event"]["ingested"] = now.to_rfc3339_opts(SecondsFormat::Millis, true).into();
                document
            }
        }
    }
}

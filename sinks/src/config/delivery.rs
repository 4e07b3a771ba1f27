//! The keys that every sink has: what is sent, and how.

use std::num::NonZeroU32;
use std::time::Duration;

use kerntrail_common::backoff::Backoff;
use kerntrail_common::settings::positive;
use kerntrail_schemas::Table;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::KeyError;
use crate::encode::Profile;

/// What a sink sends, and how, whatever its kind.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct DeliveryConfig {
    /// Tables whose rows are sent; empty: all tables.
    #[schemars(schema_with = "names_of_tables")]
    pub tables: Vec<String>,
    /// SQL condition on the columns of the tables. A row is sent only where the condition is true. A column that the
    /// row's table lacks is NULL. Without a condition every row is sent.
    #[serde(rename = "where")]
    pub filter: Option<String>,
    /// Format of the documents: `ocsf` or `ecs`. Without it, the one that the kind below names.
    pub profile: Option<Profile>,
    /// Maximum events in a request.
    pub batch_events: NonZeroU32,
    /// Maximum size of a request in bytes, before compression; a larger event is sent alone.
    pub batch_bytes: NonZeroU32,
    /// Longest time that an event waits for others to fill its request, in milliseconds.
    pub batch_wait_ms: u32,
    /// Requests in flight at the same time, unless the kind below says otherwise.
    pub concurrency: NonZeroU32,
    /// Upper bound of the random wait after a first failure, in milliseconds; it doubles with each further failure.
    pub backoff_initial_ms: NonZeroU32,
    /// Longest wait between two attempts, in milliseconds.
    pub backoff_max_ms: NonZeroU32,
    /// How long a stopping sink keeps trying to deliver what it has read, in seconds.
    pub drain_seconds: u32,
    /// Maximum dead letters on disk; at the limit the sink pauses until some are replayed or purged.
    pub dead_letters: NonZeroU32,
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        Self {
            tables: Vec::new(),
            filter: None,
            profile: None,
            batch_events: positive::<1_000, _>(),
            batch_bytes: positive::<{ 1 << 20 }, _>(),
            batch_wait_ms: 1_000,
            concurrency: positive::<2, _>(),
            backoff_initial_ms: positive::<500, _>(),
            backoff_max_ms: positive::<60_000, _>(),
            drain_seconds: 10,
            dead_letters: positive::<10_000, _>(),
        }
    }
}

impl DeliveryConfig {
    /// Maximum events in a request.
    pub fn batch_events(&self) -> usize {
        self.batch_events.get() as usize
    }

    /// Maximum bytes in a request.
    pub fn batch_bytes(&self) -> usize {
        self.batch_bytes.get() as usize
    }

    /// Longest time that an event waits for others.
    pub fn batch_wait(&self) -> Duration {
        Duration::from_millis(self.batch_wait_ms.into())
    }

    /// The waits after failures.
    pub fn backoff(&self) -> Backoff {
        Backoff::new(Duration::from_millis(self.backoff_initial_ms.get().into()), self.backoff_max())
    }

    /// Longest wait between two attempts.
    pub fn backoff_max(&self) -> Duration {
        Duration::from_millis(self.backoff_max_ms.get().into())
    }

    /// How long a stopping sink keeps trying.
    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds.into())
    }

    /// Maximum dead letters.
    pub fn dead_letters(&self) -> usize {
        self.dead_letters.get() as usize
    }

    /// The tables, each once.
    ///
    /// Errors: a name is not that of a table.
    pub(super) fn tables(&self) -> Result<Vec<Table>, KeyError> {
        if self.tables.is_empty() {
            return Ok(Table::ALL.to_vec());
        }
        let mut tables = Vec::new();
        for name in &self.tables {
            let table = name.parse::<Table>().map_err(|error| KeyError::value("tables", error))?;
            if !tables.contains(&table) {
                tables.push(table);
            }
        }
        Ok(tables)
    }

    pub(super) fn check(&self) -> Result<(), KeyError> {
        if self.backoff_initial_ms > self.backoff_max_ms {
            return Err(KeyError::value("backoff_max_ms", "it is less than backoff_initial_ms"));
        }
        Ok(())
    }
}

fn names_of_tables(_: &mut SchemaGenerator) -> Schema {
    let names: Vec<&str> = Table::ALL.iter().map(|table| table.name()).collect();
    json_schema!({"type": "array", "items": {"type": "string", "enum": names}})
}

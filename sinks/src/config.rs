//! The configuration of a sink: the keys that every sink has, and those of its kind.
//!
//! A key's meaning, default and bounds are written once, where its field is; the reference page, the JSON Schema and
//! the names that [`SinkConfig::read`] accepts all come from there.

mod delivery;
mod error;
pub(crate) mod keys;

use std::fmt;

use kerntrail_common::error::chain;
use kerntrail_common::regular_file;
use kerntrail_common::size::Size;
use kerntrail_schemas::Table;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

pub use delivery::DeliveryConfig;
pub use error::{KeyError, Problem, SinkConfigError};

use crate::destination::Destination;
use crate::encode::Profile;
use crate::filter::RowFilter;
use crate::kinds::Kind;

/// Largest file that a key of a sink may name: a bundle of all public certificate authorities has 0.3 MiB.
pub(crate) const LARGEST_FILE: Size = Size(16 << 20);

/// A `[[sinks]]` table.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(extend("unevaluatedProperties" = false))]
pub struct SinkConfig {
    /// Name of the sink: 1 to 64 of `a-z`, `0-9`, `-` and `_`. Its offsets and dead letters are stored under it.
    #[schemars(regex(pattern = "^[a-z0-9_-]{1,64}$"))]
    pub name: String,
    /// Where its events go.
    #[serde(flatten)]
    pub kind: Kind,
    /// What is sent, and how.
    #[serde(flatten)]
    pub delivery: DeliveryConfig,
}

/// What a sink was made of: as long as it stays the same, a new one would do the same.
// No `Debug`: a file may hold a password.
#[derive(Clone, PartialEq)]
pub struct Fingerprint {
    config: SinkConfig,
    /// Content of the files that are read once; `None` of one that cannot be read.
    files: Vec<Option<Vec<u8>>>,
}

/// A sink's configuration, checked, and what follows from it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name of the sink.
    pub name: String,
    /// Tables whose rows are sent, each once.
    pub tables: Vec<Table>,
    /// The compiled `where`.
    pub filter: RowFilter,
    /// Format of the documents.
    pub profile: Profile,
    /// Requests in flight at most.
    pub concurrency: usize,
    /// The configuration of delivery.
    pub delivery: DeliveryConfig,
    /// The configuration of the destination.
    pub kind: Kind,
}

impl SinkConfig {
    /// The sink that `table`, a `[[sinks]]` table, configures.
    ///
    /// Errors: a key is unknown, missing, or has a value of the wrong type. [`SinkConfig::check`] looks at the rest.
    pub fn read(table: Map<String, Value>) -> Result<Self, SinkConfigError> {
        let sink = table.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        Self::read_parts(table).map_err(|error| SinkConfigError::new(&sink, error))
    }

    fn read_parts(mut table: Map<String, Value>) -> Result<Self, KeyError> {
        let kind = keys::text(&mut table, "kind")?;
        let own_keys = Kind::keys(&kind)?;
        let name = keys::text(&mut table, "name")?;
        let delivery = keys::part(&mut table)?;
        if let Some(unknown) = table.keys().find(|key| !own_keys.contains(key)) {
            return Err(Kind::refuse(&kind, unknown, &own_keys));
        }
        Ok(Self { name, kind: Kind::read(&kind, table)?, delivery })
    }

    /// Checks that a sink can be created from it; reads secrets and certificates, connects to nothing.
    ///
    /// Errors: the first thing that is wrong, by its key.
    pub fn check(&self) -> Result<(), SinkConfigError> {
        self.settings()?.connect().map(drop)
    }

    /// What a sink made from it now would be made of.
    pub fn fingerprint(&self) -> Fingerprint {
        let files = self
            .kind
            .settings()
            .read_at_start()
            .into_iter()
            .map(|path| regular_file::read(path, LARGEST_FILE).ok())
            .collect();
        Fingerprint { config: self.clone(), files }
    }

    /// The checked configuration.
    ///
    /// Errors: the first thing that is wrong, by its key.
    pub fn settings(&self) -> Result<Settings, SinkConfigError> {
        self.checked().map_err(|error| SinkConfigError::new(&self.name, error))
    }

    fn checked(&self) -> Result<Settings, KeyError> {
        self.check_name()?;
        self.delivery.check()?;
        let tables = self.delivery.tables()?;
        let filter = RowFilter::compile(self.delivery.filter.as_deref(), &tables);
        let kind = self.kind.settings();
        Ok(Settings {
            name: self.name.clone(),
            filter: filter.map_err(|error| KeyError::new("where", Problem::Where(error)))?,
            tables,
            profile: self.delivery.profile.unwrap_or_else(|| kind.profile()),
            concurrency: if kind.is_sequential() { 1 } else { self.delivery.concurrency.get() as usize },
            delivery: self.delivery.clone(),
            kind: self.kind.clone(),
        })
    }

    fn check_name(&self) -> Result<(), KeyError> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if (1..=64).contains(&self.name.len()) && self.name.chars().all(allowed) {
            return Ok(());
        }
        Err(KeyError::value("name", format!("{:?} is not 1 to 64 of a-z, 0-9, - and _", self.name)))
    }

    fn wrong(&self, key: &str, problem: impl fmt::Display) -> SinkConfigError {
        SinkConfigError::new(&self.name, KeyError::value(key, problem))
    }
}

impl Settings {
    /// The destination. Nothing is connected or opened yet.
    ///
    /// Errors: a secret or certificate cannot be read, or what the kind's keys say together cannot be used.
    pub fn connect(&self) -> Result<Box<dyn Destination>, SinkConfigError> {
        self.kind.settings().connect(self).map_err(|error| SinkConfigError::new(&self.name, error))
    }
}

impl<'de> Deserialize<'de> for SinkConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let table = Map::deserialize(deserializer)?;
        Self::read(table).map_err(|error| serde::de::Error::custom(chain(&error)))
    }
}

/// Checks that no two of the sinks have the same name or write to the same file.
///
/// Errors: the first pair that does, at the second of them.
pub fn check_distinct(sinks: &[SinkConfig]) -> Result<(), SinkConfigError> {
    for (index, sink) in sinks.iter().enumerate() {
        let file = sink.kind.settings().file();
        for other in &sinks[..index] {
            if other.name == sink.name {
                return Err(sink.wrong("name", "another sink has it"));
            }
            if file.is_some() && other.kind.settings().file() == file {
                return Err(sink.wrong("path", format!("sink {} writes there", other.name)));
            }
        }
    }
    Ok(())
}

/// Checks sinks that run side by side: each by itself, and all as [`check_distinct`] does.
///
/// Errors: the first thing that is wrong.
pub fn check_all(sinks: &[SinkConfig]) -> Result<(), SinkConfigError> {
    sinks.iter().try_for_each(SinkConfig::check)?;
    check_distinct(sinks)
}

#[cfg(test)]
mod tests;

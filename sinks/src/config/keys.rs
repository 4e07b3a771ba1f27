//! Parts of a `[[sinks]]` table.

use kerntrail_common::settings::{self, Wrong, keys};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::KeyError;

/// Removes the text `key` from `table`.
///
/// Errors: it is missing, or not text.
pub(super) fn text(table: &mut Map<String, Value>, key: &str) -> Result<String, KeyError> {
    match table.remove(key) {
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(KeyError::value(key, format!("{other} is not text"))),
        None => Err(KeyError::value(key, "is required")),
    }
}

/// Removes the keys of `T` from `table` and makes a `T` of them.
///
/// Errors: one is missing, or its value is refused.
pub(crate) fn part<T: DeserializeOwned + JsonSchema>(table: &mut Map<String, Value>) -> Result<T, KeyError> {
    read(keys::<T>().into_iter().filter_map(|key| table.remove_entry(&key)).collect())
}

/// A `T` from `table`, which has no other keys than those of `T`.
///
/// Errors: one is missing, or its value is refused.
pub(crate) fn read<T: DeserializeOwned + JsonSchema>(table: Map<String, Value>) -> Result<T, KeyError> {
    settings::read(table).map_err(|Wrong { path, reason }| KeyError::value(&path, reason))
}

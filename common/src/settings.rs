//! Settings as structs: their JSON Schema, and reading them so that an error names the key it is about.
//!
//! A field's doc comment is its documentation, the struct's `Default` its default, and `deserialize_with` its check.

use std::fmt::Display;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::path::Path;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// A value that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct Wrong {
    /// Its key, with those of the tables around it: `http.listen`.
    pub path: String,
    /// What is wrong with it.
    pub reason: String,
}

/// The JSON Schema (draft 2020-12) of a `T` in a configuration file, without references.
pub fn schema<T: JsonSchema>() -> Schema {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<T>()
}

/// The keys of a `T`.
pub fn keys<T: JsonSchema>() -> Vec<String> {
    let schema = schema::<T>();
    let properties = schema.get("properties").and_then(Value::as_object);
    properties.into_iter().flat_map(|properties| properties.keys().cloned()).collect()
}

/// A `T` from `table`.
///
/// Errors: a key is missing, or its value is refused.
pub fn read<T: DeserializeOwned + JsonSchema>(table: Map<String, Value>) -> Result<T, Wrong> {
    let schema = schema::<T>();
    let mut required = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    if let Some(key) = required.find(|key| !table.contains_key(*key)) {
        return Err(Wrong { path: key.to_owned(), reason: "is required".to_owned() });
    }
    serde_path_to_error::deserialize(Value::Object(table))
        .map_err(|error| Wrong { path: error.path().to_string(), reason: error.inner().to_string() })
}

/// The default of a number that must be more than 0, for `#[serde(default)]`.
pub fn positive<const N: u32, T: From<NonZeroU32>>() -> T {
    const {
        match NonZeroU32::new(N) {
            Some(number) => number,
            None => panic!("the default is 0"),
        }
    }
    .into()
}

/// A value that `check` accepts, for functions of `#[serde(deserialize_with)]`.
///
/// Errors: what `check` says of it.
pub fn checked<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
    check: impl FnOnce(&T) -> Result<(), String>,
) -> Result<T, D::Error> {
    let value = T::deserialize(deserializer)?;
    check(&value).map_err(D::Error::custom)?;
    Ok(value)
}

/// Whether `number` is in `range`, for [`checked`].
///
/// Errors: it is not.
pub fn within<T: PartialOrd + Display>(number: &T, range: RangeInclusive<T>) -> Result<(), String> {
    match range.contains(number) {
        true => Ok(()),
        false => Err(format!("it must be {} to {}", range.start(), range.end())),
    }
}

/// A number of 1 or more.
pub fn more_than_zero<'de, D: Deserializer<'de>, T>(deserializer: D) -> Result<T, D::Error>
where
    T: Deserialize<'de> + Default + PartialOrd + Display,
{
    checked(deserializer, |number: &T| match *number > T::default() {
        true => Ok(()),
        false => Err("it must be more than 0".to_owned()),
    })
}

/// A text or path that is not empty or blank.
pub fn not_empty<'de, D: Deserializer<'de>, T>(deserializer: D) -> Result<T, D::Error>
where
    T: Deserialize<'de> + AsRef<Path>,
{
    checked(deserializer, |text: &T| match text.as_ref().to_string_lossy().trim().is_empty() {
        true => Err("it must not be empty".to_owned()),
        false => Ok(()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::period::Period;
    use crate::size::Size;

    /// A pump.
    #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
    struct Pump {
        /// What it is called.
        #[serde(deserialize_with = "not_empty")]
        name: String,
        #[serde(default = "positive::<3, NonZeroU32>")]
        strokes: NonZeroU32,
        #[serde(default)]
        valve: Valve,
    }

    #[derive(Debug, PartialEq, Deserialize, serde::Serialize, JsonSchema)]
    #[serde(default)]
    struct Valve {
        #[serde(deserialize_with = "more_than_zero")]
        turns: i32,
        pause: Period,
        bore: Size,
    }

    impl Default for Valve {
        fn default() -> Self {
            Self { turns: 2, pause: Period::seconds(1), bore: Size(64) }
        }
    }

    fn pump(table: Value) -> Result<Pump, String> {
        let Value::Object(table) = table else { panic!("no table") };
        read(table).map_err(|wrong| wrong.to_string())
    }

    #[test]
    fn errors_name_the_key() {
        use serde_json::json;
        let whole = Pump { name: "p".into(), strokes: positive::<3, _>(), valve: Valve::default() };
        assert_eq!(pump(json!({"name": "p"})), Ok(whole));
        for (table, error) in [
            (json!({}), "name: is required"),
            (json!({"name": " "}), "name: it must not be empty"),
            (json!({"name": 7}), "name: invalid type"),
            (json!({"name": "p", "strokes": 0}), "strokes: "),
            (json!({"name": "p", "valve": {"turns": 0}}), "valve.turns: it must be more than 0"),
            (json!({"name": "p", "valve": {"pause": "soon"}}), "valve.pause: \"soon\" is not a duration"),
            (json!({"name": "p", "valve": {"bore": "0"}}), "valve.bore: "),
        ] {
            assert!(
                pump(table.clone()).is_err_and(|wrong| wrong.starts_with(error)),
                "{table}: {:?}",
                pump(table.clone())
            );
        }
    }

    #[test]
    fn a_schema_has_documentation_defaults_and_nested_keys() {
        assert_eq!(keys::<Pump>(), ["name", "strokes", "valve"]);
        let schema = schema::<Pump>();
        assert_eq!(schema.pointer("/properties/name/description"), Some(&"What it is called.".into()));
        assert_eq!(schema.pointer("/properties/strokes/default"), Some(&3.into()));
        assert_eq!(schema.pointer("/properties/valve/properties/pause/default"), Some(&"1s".into()));
        assert_eq!(schema.pointer("/required"), Some(&serde_json::json!(["name"])));
    }
}

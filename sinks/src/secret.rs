//! A secret in the configuration: its value, or the variable or file that holds it.

use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use crate::config::{KeyError, Problem};

/// A secret as configured: `"text"`, `{ env = "NAME" }` or `{ file = "/path" }`. Neither `Debug` nor `Serialize` shows
/// its text.
#[derive(Clone, Deserialize, JsonSchema, PartialEq)]
#[serde(untagged, expecting = "expected text, { env = \"NAME\" } or { file = \"/path\" }")]
pub enum Secret {
    /// The secret itself.
    Text(String),
    /// The environment variable that holds it.
    Env(FromEnv),
    /// The file that holds it; white space at its end is ignored.
    File(FromFile),
}

/// A secret in the environment.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct FromEnv {
    env: String,
}

/// A secret in a file.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct FromFile {
    file: PathBuf,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("\"***\""),
            Self::Env(from) => from.fmt(f),
            Self::File(from) => from.fmt(f),
        }
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(_) => serializer.serialize_str("***"),
            Self::Env(from) => from.serialize(serializer),
            Self::File(from) => from.serialize(serializer),
        }
    }
}

/// Why a secret cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The environment variable is not set, or is not text.
    #[error("the environment variable {name} is not set, or is not UTF-8")]
    Env {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: std::env::VarError,
    },
    /// The file cannot be read.
    #[error("cannot read {path}")]
    File {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is empty.
    #[error("the secret is empty")]
    Empty,
}

impl Secret {
    /// The secret's text. `key` is where it is configured.
    ///
    /// Errors: as [`Secret::reveal`].
    pub(crate) fn of_key(&self, key: &str) -> Result<String, KeyError> {
        self.reveal().map_err(|error| KeyError::new(key, Problem::Secret(error)))
    }

    /// The secret's text.
    ///
    /// Errors: it cannot be read, or is empty.
    pub fn reveal(&self) -> Result<String, SecretError> {
        let text = match self {
            Self::Text(text) => text.clone(),
            Self::Env(FromEnv { env }) => {
                std::env::var(env).map_err(|source| SecretError::Env { name: env.clone(), source })?
            }
            Self::File(FromFile { file }) => std::fs::read_to_string(file)
                .map_err(|source| SecretError::File { path: file.clone(), source })?
                .trim_end()
                .to_owned(),
        };
        if text.is_empty() { Err(SecretError::Empty) } else { Ok(text) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Holder {
        token: Secret,
    }

    #[test]
    fn secrets_are_read_from_all_sources_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, "from-file\n").unwrap();
        let path = file.display().to_string();
        for (written, expected) in [
            (serde_json::json!({"token": "in-place"}), Some("in-place")),
            (serde_json::json!({"token": {"file": path}}), Some("from-file")),
            (serde_json::json!({"token": {"env": "KERNTRAIL_TEST_NOT_SET"}}), None),
            (serde_json::json!({"token": ""}), None),
        ] {
            let holder: Holder = serde_json::from_value(written).unwrap();
            assert_eq!(holder.token.reveal().ok().as_deref(), expected);
            assert!(!format!("{holder:?}").contains("in-place"));
        }
        assert!(serde_json::from_value::<Holder>(serde_json::json!({"token": {"env": "A", "fiel": "B"}})).is_err());
    }
}

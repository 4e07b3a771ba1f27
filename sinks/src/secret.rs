//! A secret in the configuration: its value, or the variable or file that holds it.

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use kerntrail_common::error::chain;
use kerntrail_common::regular_file;
use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, Expected, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::{KeyError, LARGEST_FILE, Problem};

/// A secret as configured: `"text"`, `{ env = "NAME" }` or `{ file = "/path" }`.
// Neither `Debug` nor `Serialize` shows its text. The doc comment is part of the schema for editors.
#[derive(Clone, JsonSchema, PartialEq)]
#[schemars(untagged)]
pub enum Secret {
    /// The secret itself.
    Text(String),
    /// The environment variable that holds it.
    Env(FromEnv),
    /// The file that holds it; white space at its end is ignored.
    File(FromFile),
}

/// A secret in the environment.
#[derive(Clone, Debug, Serialize, JsonSchema, PartialEq)]
#[schemars(deny_unknown_fields)]
pub struct FromEnv {
    env: String,
}

/// A secret in a file.
#[derive(Clone, Debug, Serialize, JsonSchema, PartialEq)]
#[schemars(deny_unknown_fields)]
pub struct FromFile {
    file: PathBuf,
}

impl<'de> Deserialize<'de> for Secret {
    /// By hand, since a derived struct also reads a list, and would take a secret in one for the name of a variable.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SecretVisitor;
        impl<'de> Visitor<'de> for SecretVisitor {
            type Value = Secret;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text, { env = \"NAME\" } or { file = \"/path\" }")
            }
            fn visit_str<E>(self, text: &str) -> Result<Secret, E> {
                Ok(Secret::Text(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Secret, A::Error> {
                let places = BTreeMap::<String, String>::deserialize(MapAccessDeserializer::new(map))?;
                let mut places = places.into_iter();
                match (places.next(), places.next()) {
                    (Some((place, env)), None) if place == "env" => Ok(Secret::Env(FromEnv { env })),
                    (Some((place, file)), None) if place == "file" => Ok(Secret::File(FromFile { file: file.into() })),
                    _ => Err(A::Error::custom(format_args!("expected {}", &self as &dyn Expected))),
                }
            }
        }
        deserializer.deserialize_any(SecretVisitor)
    }
}

impl Secret {
    /// The file that holds it.
    pub(crate) fn file(&self) -> Option<&Path> {
        match self {
            Self::File(FromFile { file }) => Some(file),
            Self::Text(_) | Self::Env(_) => None,
        }
    }
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
    /// The secret, now and later. `key` is where it is configured.
    ///
    /// Errors: as [`Secret::reveal`].
    pub(crate) fn of_key(&self, key: &str) -> Result<CurrentSecret, KeyError> {
        CurrentSecret::of(self.clone()).map_err(|error| KeyError::new(key, Problem::Secret(error)))
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
            Self::File(FromFile { file }) => regular_file::read_text(file, LARGEST_FILE)
                .map_err(|source| SecretError::File { path: file.clone(), source })?
                .trim_end()
                .to_owned(),
        };
        if text.is_empty() { Err(SecretError::Empty) } else { Ok(text) }
    }
}

/// A secret as it is at present: that of a file is read again when the file has changed.
#[derive(Clone)]
pub(crate) struct CurrentSecret {
    secret: Secret,
    read: Arc<Mutex<Read>>,
}

/// What was read, and of which state of the file.
struct Read {
    text: String,
    stamp: Option<Stamp>,
}

/// Inode, length and time of modification: a mounted secret of Kubernetes is replaced, others are written over.
type Stamp = (u64, u64, SystemTime);

impl CurrentSecret {
    fn of(secret: Secret) -> Result<Self, SecretError> {
        let stamp = secret.stamp();
        let read = Read { text: secret.reveal()?, stamp };
        Ok(Self { secret, read: Arc::new(Mutex::new(read)) })
    }

    /// Its text. While a file that has changed cannot be read, the text of before.
    pub(crate) fn text(&self) -> String {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = self.secret.stamp();
        if stamp.is_some() && stamp != read.stamp {
            match self.secret.reveal() {
                Ok(text) => *read = Read { text, stamp },
                Err(error) => tracing::warn!(error = chain(&error), "a secret's file has changed and cannot be read"),
            }
        }
        read.text.clone()
    }
}

impl Secret {
    /// The state of its file; `None` for any other secret, and while there is no file.
    fn stamp(&self) -> Option<Stamp> {
        let Self::File(FromFile { file }) = self else { return None };
        let metadata = std::fs::metadata(file).ok()?;
        Some((metadata.ino(), metadata.len(), metadata.modified().ok()?))
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
    fn a_file_that_changes_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let (file, other) = (dir.path().join("token"), dir.path().join("other"));
        std::fs::write(&file, "one\n").unwrap();
        let secret = Secret::File(FromFile { file: file.clone() }).of_key("token").unwrap();
        assert_eq!(secret.text(), "one");
        std::fs::write(&other, "two").unwrap();
        std::fs::rename(&other, &file).unwrap();
        assert_eq!(secret.text(), "two");
        std::fs::write(&file, "").unwrap();
        assert_eq!(secret.text(), "two", "an empty file is about to be written");
        std::fs::remove_file(&file).unwrap();
        assert_eq!(secret.text(), "two");
        std::fs::write(&file, "three").unwrap();
        assert_eq!(secret.text(), "three");
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
        for written in [r#"{"env": "hidden", "fiel": "B"}"#, r#"{"env": "hidden", "file": "B"}"#, r#"["hidden"]"#, "{}"]
        {
            let error = serde_json::from_str::<Holder>(&format!(r#"{{"token": {written}}}"#)).unwrap_err().to_string();
            assert!(error.contains("{ env = \"NAME\" }") && !error.contains("hidden"), "{written}: {error}");
        }
    }
}

//! What is wrong with a sink's configuration, and in which key.

use std::fmt;
use std::path::PathBuf;

use crate::filter::RowFilterError;
use crate::secret::SecretError;

/// A sink cannot be used as it is configured.
#[derive(Debug, thiserror::Error)]
#[error("{}", if sink.is_empty() { "a sink without a name".to_owned() } else { format!("sink {sink}") })]
pub struct SinkConfigError {
    sink: String,
    #[source]
    error: KeyError,
}

impl SinkConfigError {
    /// `error` in the configuration of `sink`; its name is empty where it has none.
    pub(crate) fn new(sink: &str, error: KeyError) -> Self {
        Self { sink: sink.to_owned(), error }
    }

    /// The sink's name; empty where it has none.
    pub fn sink(&self) -> &str {
        &self.sink
    }

    /// The key that is wrong.
    pub fn key(&self) -> &str {
        &self.error.key
    }
}

/// The value of a key cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{key}")]
pub struct KeyError {
    key: String,
    #[source]
    problem: Problem,
}

impl KeyError {
    pub(crate) fn new(key: &str, problem: Problem) -> Self {
        Self { key: key.to_owned(), problem }
    }

    /// `problem` in words.
    pub(crate) fn value(key: &str, problem: impl fmt::Display) -> Self {
        Self::new(key, Problem::Value(problem.to_string()))
    }
}

/// What is wrong with a value.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// It is missing, of the wrong type, or not one of those allowed.
    #[error("{0}")]
    Value(String),
    /// It names a secret that cannot be read.
    #[error("cannot read the secret")]
    Secret(#[source] SecretError),
    /// It is not a condition on a row.
    #[error(transparent)]
    Where(RowFilterError),
    /// It names a file that cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The HTTP client does not accept it.
    #[error("cannot prepare the HTTP client")]
    Http(#[source] reqwest::Error),
}

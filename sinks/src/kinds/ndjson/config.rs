//! The keys of an NDJSON sink.

use std::num::{NonZeroU32, NonZeroU64};
use std::path::{Path, PathBuf};

use kerntrail_common::settings::positive;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Ndjson;
use crate::config::keys;
use crate::config::{KeyError, Settings};
use crate::destination::Destination;
use crate::kinds::SinkKind;

/// Files with one JSON object per line, rotated by size.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct NdjsonConfig {
    /// File to append to; older ones are `<path>.1`, `<path>.2`, ...
    pub path: PathBuf,
    /// Size at which a new file is started, in bytes.
    #[serde(default = "positive::<{ 100 << 20 }, NonZeroU64>")]
    pub file_bytes: NonZeroU64,
    /// Maximum files kept, including the current one; the oldest is deleted.
    #[serde(default = "positive::<10, NonZeroU32>")]
    pub files: NonZeroU32,
}

impl SinkKind for NdjsonConfig {
    fn read(table: Map<String, Value>) -> Result<Self, KeyError> {
        keys::read(table)
    }

    fn connect(&self, settings: &Settings) -> Result<Box<dyn Destination>, KeyError> {
        if self.path.file_name().is_none() {
            return Err(KeyError::value("path", format!("{} names no file", self.path.display())));
        }
        Ok(Box::new(Ndjson::new(settings, self)))
    }

    fn is_sequential(&self) -> bool {
        true
    }

    fn file(&self) -> Option<&Path> {
        Some(&self.path)
    }
}

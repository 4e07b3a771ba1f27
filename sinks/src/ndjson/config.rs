//! The keys of an NDJSON sink, checked.

use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;

use crate::config::{ConfigError, SinkConfig};

/// Where an NDJSON sink writes to.
#[derive(Clone, Debug)]
pub struct NdjsonTarget {
    /// The current file.
    pub path: PathBuf,
    /// Size at which a new one is begun, in bytes.
    pub file_bytes: u64,
    /// Most files, the current one included.
    pub files: u32,
}

impl NdjsonTarget {
    pub(crate) fn of(config: &SinkConfig) -> Result<Self, ConfigError> {
        let Some(path) = config.path.clone() else { return Err(config.wrong("path", "is required")) };
        if path.file_name().is_none() {
            return Err(config.wrong("path", format!("{} names no file", path.display())));
        }
        Ok(Self {
            path,
            file_bytes: config.file_bytes.map_or(100 << 20, NonZeroU64::get),
            files: config.files.map_or(10, NonZeroU32::get),
        })
    }
}

//! How to import an input.

use std::path::PathBuf;
use std::sync::Arc;

use kerntrail_common::mask::Mask;

use super::format::ImportFormat;
use super::formats::FORMATS;

/// Longest record in bytes, unless the options set another limit.
pub const MAX_RECORD_BYTES: usize = 16 * 1024 * 1024;

/// How to import an input.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// Name of the input: its path, or `-`. Rejected records are kept under this name.
    pub name: String,
    /// Length of the input in bytes before decompression, when known; only for showing progress.
    pub bytes_total: Option<u64>,
    /// Node to use instead of the one that records name.
    pub node: Option<String>,
    /// Node of records that name none.
    pub missing_node: Option<String>,
    /// Cluster to use instead of the one that records name.
    pub cluster: Option<String>,
    /// What masks secrets in command lines; without it, nothing is masked.
    pub mask: Option<Arc<Mask>>,
    /// Folder for rejected records.
    pub rejects_dir: PathBuf,
    /// Threads that parse.
    pub parsers: usize,
    /// Longest record in bytes; a longer one is rejected. It bounds the memory used.
    pub max_record_bytes: usize,
    /// Formats that records are recognized by, in this order.
    pub formats: &'static [&'static dyn ImportFormat],
}

impl ImportOptions {
    /// The defaults for the input named `name`.
    pub fn new(name: impl Into<String>, rejects_dir: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            bytes_total: None,
            node: None,
            missing_node: None,
            cluster: None,
            mask: None,
            rejects_dir: rejects_dir.into(),
            parsers: default_parsers(),
            max_record_bytes: MAX_RECORD_BYTES,
            formats: FORMATS,
        }
    }
}

/// One core is left to what follows parsing: on two cores one parser is faster than two (measured: by a tenth).
fn default_parsers() -> usize {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    (cores - 1).clamp(1, 4)
}

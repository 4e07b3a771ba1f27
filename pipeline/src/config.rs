//! Settings of the pipeline.

use std::path::PathBuf;
use std::time::Duration;

/// Settings of the pipeline.
#[derive(Clone, Debug)]
pub struct PipelineConfig {
    /// Whose topics are read and whose tables are written.
    pub tenant: String,
    /// A row waits at most about this long for others before it is committed. Default 1 s.
    pub flush_interval: Duration,
    /// Rows of one table that are committed without waiting for more. Default 100,000.
    pub flush_rows: usize,
    /// Bytes of rows, of all tables, held before the largest buffer is committed; nothing is read while twice as much
    /// is held or being committed. Sorting holds up to two copies. Default 64 MiB.
    pub flush_bytes: usize,
    /// Time between two looks for files to compact, replaced files to vacuum and logs to checkpoint. Default 60 s.
    pub compact_interval: Duration,
    /// How long replaced files and old commits are kept: longer than any query runs or any rule's cursor rests. Default 1 h.
    pub vacuum_keep: Duration,
    /// Folder for rejected messages, made when needed; at most 10,000 of them and 1 GiB are kept.
    pub rejected_dir: PathBuf,
}

impl Default for PipelineConfig {
    fn default() -> Self {
        Self {
            tenant: "default".to_owned(),
            flush_interval: Duration::from_secs(1),
            flush_rows: 100_000,
            flush_bytes: 64 * 1024 * 1024,
            compact_interval: Duration::from_secs(60),
            vacuum_keep: Duration::from_secs(3600),
            rejected_dir: PathBuf::from("rejected"),
        }
    }
}

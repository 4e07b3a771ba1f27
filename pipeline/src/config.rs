//! The settings of the lake and of the pipeline that writes it.

use std::path::PathBuf;

use kerntrail_common::period::Period;
use kerntrail_common::settings::{checked, more_than_zero};
use kerntrail_common::size::Size;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// `[lake]`: where the lake is, how rows are committed to it, and how its files are maintained. Skipped fields are not
/// settings; the program that starts a pipeline fills them in.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PipelineConfig {
    /// Folder of the lake; empty: `lake` in the data folder.
    #[serde(deserialize_with = "folder")]
    pub uri: String,
    /// Longest time that a row waits for others before it is committed.
    pub flush_interval: Period,
    /// Rows of one table that are committed without waiting for more.
    #[serde(deserialize_with = "more_than_zero")]
    #[schemars(range(min = 1))]
    pub flush_rows: usize,
    /// Total size of buffered rows at which the largest table's buffer is committed. Reading pauses while twice as much
    /// is buffered or being committed; sorting takes up to two copies.
    pub flush_size: Size,
    /// Interval of maintenance: compacting small files, deleting replaced files, writing checkpoints.
    pub compact_interval: Period,
    /// How long replaced files and old commits are kept for readers of older versions; must be longer than any query
    /// runs.
    pub vacuum_keep: Period,
    /// Tenant whose topics are read and whose tables are written.
    #[serde(skip)]
    pub tenant: String,
    /// Id of the lake, by which others who read the same log know it; empty where the log is this machine's own.
    #[serde(skip)]
    pub lake_id: String,
    /// Folder for rejected messages, created when needed; at most 10,000 of them and 1 GiB are kept.
    #[serde(skip)]
    pub rejected_dir: PathBuf,
}

impl Default for PipelineConfig {
    fn default() -> Self {
        Self {
            uri: String::new(),
            flush_interval: Period::seconds(1),
            flush_rows: 100_000,
            flush_size: Size(64 << 20),
            compact_interval: Period::seconds(60),
            vacuum_keep: Period::seconds(3600),
            tenant: kerntrail_schemas::DEFAULT_TENANT.to_owned(),
            lake_id: String::new(),
            rejected_dir: PathBuf::from("rejected"),
        }
    }
}

/// A folder's path or `file://` address: object stores are not built in.
fn folder<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    checked(deserializer, |uri: &String| match uri.split_once("://") {
        Some((scheme, _)) if scheme != "file" => Err(format!("{scheme}:// cannot be used yet: give a folder")),
        _ => Ok(()),
    })
}

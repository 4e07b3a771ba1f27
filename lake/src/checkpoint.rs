//! Checkpoints: the newest that can be read, and a new one.

use arrow::json::LineDelimitedWriter;
use bytes::Bytes;
use deltalake_core::checkpoints::create_checkpoint_from_table_url_and_cleanup;
use deltalake_core::kernel::Action;
use deltalake_core::logstore::get_actions;
use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Deserialize;
use tracing::warn;

use crate::error::{LakeError, Source};
use crate::log::{DeltaLog, FOLDER};

/// What a checkpoint holds that a state is made of.
const CHECKPOINT_COLUMNS: [&str; 5] = ["add", "remove", "txn", "metaData", "protocol"];

/// What `_last_checkpoint` says.
#[derive(Deserialize)]
struct LastCheckpoint {
    version: i64,
    #[serde(default)]
    parts: Option<u64>,
}

impl DeltaLog {
    /// The newest checkpoint that can be read, with its version. Its name comes from `_last_checkpoint`, or from a look
    /// at the folder when that, or what it names, is missing or damaged.
    pub(crate) async fn newest_checkpoint(&self) -> Result<Option<(i64, Vec<Action>)>, LakeError> {
        let failure = match self.last_checkpoint().await {
            Ok(None) => None,
            Ok(Some(hint)) => match self.checkpoint(&hint).await {
                Ok(actions) => return Ok(Some((hint.version, actions))),
                Err(error) => Some(error),
            },
            Err(error) => Some(error),
        };
        if failure.is_none() && self.commit(0).await?.is_some() {
            return Ok(None);
        }
        for version in self.checkpoint_versions().await?.into_iter().rev() {
            if let Ok(actions) = self.checkpoint(&LastCheckpoint { version, parts: None }).await {
                warn!(table = %self.table, version, "the last checkpoint cannot be read; this one can");
                return Ok(Some((version, actions)));
            }
        }
        match failure {
            Some(failure) if self.commit(0).await?.is_none() => Err(failure),
            _ => Ok(None),
        }
    }

    /// Versions of the checkpoints in the folder, ascending.
    async fn checkpoint_versions(&self) -> Result<Vec<i64>, LakeError> {
        let listed = self.files().list(Some(&Path::from(FOLDER))).try_collect::<Vec<_>>().await;
        let listed = listed.map_err(|source| self.failed("list the log of", source))?;
        let version = |file: &object_store::ObjectMeta| {
            file.location.filename()?.strip_suffix(".checkpoint.parquet")?.parse::<i64>().ok()
        };
        let mut versions: Vec<i64> = listed.iter().filter_map(version).collect();
        versions.sort_unstable();
        Ok(versions)
    }

    /// Makes a checkpoint of `version`, on disk before anything that it stands for is removed.
    pub(crate) async fn make_checkpoint(&self, version: i64) -> Result<(), LakeError> {
        let location = self.location().clone();
        create_checkpoint_from_table_url_and_cleanup(location, version as u64, Some(false), None)
            .await
            .map_err(|source| self.failed(&format!("make checkpoint {version} of"), source))?;
        self.sync(&format!("{FOLDER}/{version:020}.checkpoint.parquet")).await?;
        self.sync(&format!("{FOLDER}/_last_checkpoint")).await
    }

    /// Version of the latest checkpoint.
    pub(crate) async fn checkpoint_version(&self) -> Result<Option<i64>, LakeError> {
        Ok(self.last_checkpoint().await?.map(|hint| hint.version))
    }

    async fn last_checkpoint(&self) -> Result<Option<LastCheckpoint>, LakeError> {
        let failed = |source: Source| self.failed("read _last_checkpoint of", source);
        let path = Path::from_iter([FOLDER, "_last_checkpoint"]);
        let bytes = match self.files().get(&path).await {
            Ok(found) => found.bytes().await.map_err(|source| failed(source.into()))?,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(source) => return Err(failed(source.into())),
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|source| failed(source.into()))
    }

    async fn checkpoint(&self, hint: &LastCheckpoint) -> Result<Vec<Action>, LakeError> {
        let version = hint.version;
        let failed = |source: Source| self.failed(&format!("read checkpoint {version} of"), source);
        let mut actions = Vec::new();
        for part in 1..=hint.parts.unwrap_or(1) {
            let name = match hint.parts {
                None => format!("{version:020}.checkpoint.parquet"),
                Some(parts) => format!("{version:020}.checkpoint.{part:010}.{parts:010}.parquet"),
            };
            let path = Path::from_iter([FOLDER, name.as_str()]);
            let found = self.files().get(&path).await.map_err(|source| failed(source.into()))?;
            let bytes = found.bytes().await.map_err(|source| failed(source.into()))?;
            let lines = checkpoint_lines(bytes).map_err(failed)?;
            actions.extend(get_actions(version as u64, &lines).map_err(|source| failed(source.into()))?);
        }
        Ok(actions)
    }
}

/// The actions in the bytes of a checkpoint, one JSON object a line, as in a commit.
fn checkpoint_lines(bytes: Bytes) -> Result<Bytes, Source> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)?;
    let schema = reader.parquet_schema();
    let leaves = (0..schema.num_columns()).filter(|&leaf| {
        let path = schema.column(leaf).path().clone();
        let parts = path.parts();
        CHECKPOINT_COLUMNS.contains(&parts[0].as_str()) && !parts.iter().any(|part| part.ends_with("_parsed"))
    });
    let mask = ProjectionMask::leaves(schema, leaves.collect::<Vec<_>>());
    let mut lines = Vec::new();
    for batch in reader.with_projection(mask).build()? {
        let mut writer = LineDelimitedWriter::new(&mut lines);
        writer.write(&batch?)?;
        writer.finish()?;
    }
    // A row of a kind of action that no state is made of leaves an empty object.
    let kept: Vec<&[u8]> =
        lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty() && *line != b"{}").collect();
    Ok(kept.join(&b'\n').into())
}

//! Checkpoints: the newest that can be read, and a new one.

use deltalake_core::checkpoints::create_checkpoint_from_table_url_and_cleanup;
use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use serde::Deserialize;
use tracing::warn;

use crate::error::{BoxError, LakeError};
use crate::log::{DeltaLog, FOLDER};

mod rows;

pub(crate) use rows::{Checkpoint, Removed, Wanted};

/// What `_last_checkpoint` says.
#[derive(Deserialize)]
struct LastCheckpoint {
    version: i64,
    #[serde(default)]
    parts: Option<u64>,
}

impl LastCheckpoint {
    /// Paths of the files that the checkpoint consists of.
    fn paths(&self) -> impl Iterator<Item = Path> {
        let Self { version, parts } = *self;
        (1..=parts.unwrap_or(1)).map(move |part| {
            let name = match parts {
                None => format!("{version:020}.checkpoint.parquet"),
                Some(parts) => format!("{version:020}.checkpoint.{part:010}.{parts:010}.parquet"),
            };
            Path::from_iter([FOLDER, name.as_str()])
        })
    }
}

impl DeltaLog {
    /// What is `wanted` of the newest checkpoint that can be read. Its name comes from `_last_checkpoint`, or from a look
    /// at the folder when that, or what it names, is missing or damaged.
    pub(crate) async fn newest_checkpoint(&self, wanted: Wanted) -> Result<Option<Checkpoint>, LakeError> {
        let failure = match self.last_checkpoint().await {
            Ok(None) => None,
            Ok(Some(hint)) => match self.checkpoint(&hint, wanted).await {
                Ok(checkpoint) => return Ok(Some(checkpoint)),
                Err(error) => Some(error),
            },
            Err(error) => Some(error),
        };
        if failure.is_none() && self.commit(0).await?.is_some() {
            return Ok(None);
        }
        for version in self.checkpoint_versions().await?.into_iter().rev() {
            if let Ok(checkpoint) = self.checkpoint(&LastCheckpoint { version, parts: None }, wanted).await {
                warn!(table = %self.table, version, "the last checkpoint cannot be read; this one can");
                return Ok(Some(checkpoint));
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

    async fn checkpoint(&self, hint: &LastCheckpoint, wanted: Wanted) -> Result<Checkpoint, LakeError> {
        let version = hint.version;
        let failed = |source: BoxError| self.failed(&format!("read checkpoint {version} of"), source);
        let mut checkpoint = Checkpoint::empty(version);
        for path in hint.paths() {
            let found = self.files().get(&path).await.map_err(|source| failed(source.into()))?;
            let bytes = found.bytes().await.map_err(|source| failed(source.into()))?;
            // Thousands of files take a while to decode.
            let decoded = tokio::task::spawn_blocking(move || {
                checkpoint.read(bytes, wanted)?;
                Ok::<_, BoxError>(checkpoint)
            });
            checkpoint = decoded.await.map_err(|source| failed(source.into()))?.map_err(failed)?;
        }
        Ok(checkpoint)
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
        let failed = |source: BoxError| self.failed("read _last_checkpoint of", source);
        let path = Path::from_iter([FOLDER, "_last_checkpoint"]);
        let bytes = match self.files().get(&path).await {
            Ok(found) => found.bytes().await.map_err(|source| failed(source.into()))?,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(source) => return Err(failed(source.into())),
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|source| failed(source.into()))
    }
}

//! Rejected messages as files: `<id>.bin` holds the payload, `<id>.json` describes it. The description is written last
//! and removed first, so a message is there once its description is.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use chrono::{DateTime, SecondsFormat, Utc};
use kerntrail_common::durable;
use kerntrail_schemas::identity::StreamId;
use kerntrail_transport::{Headers, Newer};
use serde::{Deserialize, Serialize};

use super::{RejectedError, RejectedMessage};

/// Version of the description.
const VERSION: u32 = 1;
const DESCRIPTION: &str = "json";
const PAYLOAD: &str = "bin";

/// The description on disk. Those written before there was a version have none, and no time.
#[derive(Debug, Deserialize, Serialize)]
struct Stored {
    #[serde(default = "first")]
    version: u32,
    topic: String,
    partition: i32,
    offset: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rejected: Option<String>,
    reason: String,
    headers: Option<StoredHeaders>,
}

/// Of a description that may be of a newer version.
#[derive(Deserialize)]
struct Versioned {
    #[serde(default = "first")]
    version: u32,
}

fn first() -> u32 {
    1
}

#[derive(Debug, Deserialize, Serialize)]
struct StoredHeaders {
    schema_version: u16,
    node: String,
    stream: String,
    batch: i64,
    rows: u32,
    seq_range: (i64, i64),
}

/// The folder of rejected messages. It also contains the rejected records of imports, in files of other kinds.
#[derive(Clone, Debug)]
pub(crate) struct Folder(PathBuf);

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RejectedError {
    let path = path.to_owned();
    move |source| RejectedError::File { operation, path, source }
}

/// `None` where the file does not exist.
fn existing<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

impl Folder {
    pub(crate) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    fn path(&self, id: &str, ending: &str) -> PathBuf {
        self.0.join(format!("{id}.{ending}"))
    }

    /// The ids of the messages in the folder, sorted; none where it does not exist.
    pub(crate) fn ids(&self) -> Result<Vec<String>, RejectedError> {
        let Some(entries) = existing(fs::read_dir(&self.0)).map_err(failed("list", &self.0))? else {
            return Ok(Vec::new());
        };
        let mut ids = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed("list", &self.0))?.path();
            if path.extension().is_some_and(|ending| ending == DESCRIPTION) {
                ids.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
            }
        }
        ids.sort();
        Ok(ids)
    }

    /// How many messages there are, and the bytes of their payloads.
    pub(crate) fn size(&self) -> Result<(usize, u64), RejectedError> {
        let ids = self.ids()?;
        let bytes = ids.iter().map(|id| self.payload_bytes(id)).sum::<Result<u64, _>>()?;
        Ok((ids.len(), bytes))
    }

    fn payload_bytes(&self, id: &str) -> Result<u64, RejectedError> {
        let path = self.path(id, PAYLOAD);
        Ok(existing(fs::metadata(&path)).map_err(failed("read", &path))?.map_or(0, |file| file.len()))
    }

    /// Whether the message is in the folder.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.path(id, DESCRIPTION).exists()
    }

    /// What is known of the message; `None` where its file is gone.
    pub(crate) fn read(&self, id: &str) -> Result<Option<RejectedMessage>, RejectedError> {
        let path = self.path(id, DESCRIPTION);
        let Some(text) = existing(fs::read(&path)).map_err(failed("read", &path))? else { return Ok(None) };
        let no_description = |source| RejectedError::Description { path: path.clone(), source };
        let Versioned { version } = serde_json::from_slice(&text).map_err(no_description)?;
        Newer::check("description", version, VERSION)
            .map_err(|newer| RejectedError::Newer { path: path.clone(), newer })?;
        let stored: Stored = serde_json::from_slice(&text).map_err(no_description)?;
        let rejected = match stored.rejected {
            Some(time) => time,
            None => fs::metadata(&path).and_then(|file| file.modified()).map(text_of).map_err(failed("read", &path))?,
        };
        let headers = stored.headers.map(|stored| Headers {
            schema_version: stored.schema_version,
            node: stored.node,
            stream: StreamId::new(stored.stream),
            batch: stored.batch,
            rows: stored.rows,
            seq_range: stored.seq_range,
        });
        Ok(Some(RejectedMessage {
            id: id.to_owned(),
            topic: stored.topic,
            partition: stored.partition,
            offset: stored.offset,
            rejected,
            reason: stored.reason,
            headers,
            bytes: self.payload_bytes(id)?,
        }))
    }

    /// The payload of the message; `None` where its file is gone.
    pub(crate) fn payload(&self, id: &str) -> Result<Option<Vec<u8>>, RejectedError> {
        let path = self.path(id, PAYLOAD);
        existing(fs::read(&path)).map_err(failed("read", &path))
    }

    /// Writes the message; when this returns, it is on disk. Only the folder's owner can read it: rows hold command lines.
    pub(crate) fn write(&self, message: &RejectedMessage, payload: &[u8]) -> Result<(), RejectedError> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0).map_err(failed("make", &self.0))?;
        let headers = message.headers.as_ref().map(|headers| StoredHeaders {
            schema_version: headers.schema_version,
            node: headers.node.clone(),
            stream: headers.stream.to_string(),
            batch: headers.batch,
            rows: headers.rows,
            seq_range: headers.seq_range,
        });
        let stored = Stored {
            version: VERSION,
            topic: message.topic.clone(),
            partition: message.partition,
            offset: message.offset,
            rejected: Some(message.rejected.clone()),
            reason: message.reason.clone(),
            headers,
        };
        let path = self.path(&message.id, DESCRIPTION);
        let no_description = |source| RejectedError::Description { path: path.clone(), source };
        let description = serde_json::to_vec_pretty(&stored).map_err(no_description)?;
        replace(&self.path(&message.id, PAYLOAD), payload)?;
        replace(&path, &description)
    }

    /// Removes the message; a missing one is not an error.
    pub(crate) fn remove(&self, id: &str) -> Result<(), RejectedError> {
        for ending in [DESCRIPTION, PAYLOAD] {
            let path = self.path(id, ending);
            existing(fs::remove_file(&path)).map_err(failed("remove", &path))?;
        }
        Ok(())
    }
}

/// Now, as it is in descriptions.
pub(crate) fn now() -> String {
    text_of(Utc::now())
}

fn text_of(time: impl Into<DateTime<Utc>>) -> String {
    time.into().to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn replace(path: &Path, bytes: &[u8]) -> Result<(), RejectedError> {
    durable::replace_private(path, bytes).map_err(failed("write", path))
}

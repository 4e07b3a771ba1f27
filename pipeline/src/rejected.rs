//! Rejected messages: bytes that are not a message, set aside as files for inspection and replay.
//!
//! A message that a newer release wrote is never rejected: its partition waits (see [`crate::progress`]). Here are those
//! whose bytes are damaged, or were never ours; a release that was fixed may read some of them.
//!
//! Invariant: a message is removed only once a replay has appended it, durably.
//! Bounds: [`MOST_KEPT`] messages and [`MOST_BYTES`] of payload; beyond that, only the row of `event_loss` remains.

mod files;
mod replay;

use std::path::{Path, PathBuf};

use kerntrail_common::ids;
use kerntrail_transport::{Codec, Headers, Newer};

pub use replay::{ReplayReport, replay};

pub(crate) use files::{Folder, now};
pub(crate) use replay::is_replayed;

/// Most messages kept.
pub const MOST_KEPT: usize = 10_000;
/// Most bytes of their payloads.
pub const MOST_BYTES: u64 = 1 << 30;

/// A message that was rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedMessage {
    /// `<topic>-<partition>-<offset>`.
    pub id: String,
    /// Name of the topic that it came by.
    pub topic: String,
    /// Number of the partition.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// When it was rejected, RFC 3339 in UTC.
    pub rejected: String,
    /// Why.
    pub reason: String,
    /// Its headers; `None` where not even those could be read.
    pub headers: Option<Headers>,
    /// Bytes of its payload.
    pub bytes: u64,
}

/// A rejected message with its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// What is known of it.
    pub message: RejectedMessage,
    /// The payload; empty where there was none.
    pub payload: Vec<u8>,
    /// Why this release cannot read it either; `None`: it can.
    pub reason_now: Option<String>,
}

/// The rejected messages that were found.
#[derive(Debug, Default)]
pub struct Listing {
    /// Oldest first.
    pub messages: Vec<RejectedMessage>,
    /// Files that do not describe a message.
    pub unreadable: Vec<RejectedError>,
}

/// What failed with rejected messages.
#[derive(Debug, thiserror::Error)]
pub enum RejectedError {
    /// The file system refused.
    #[error("cannot {operation} {}", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file does not describe a rejected message.
    #[error("{} does not describe a rejected message", path.display())]
    Description {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A newer release wrote the file.
    #[error("cannot read {}: {newer}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Which version is newer.
        newer: Newer,
    },
    /// No message, or more than one, has an id that starts with it.
    #[error("not one rejected message, but {matching}, have an id that starts with {id:?}")]
    NotOne {
        /// The id, or its beginning.
        id: String,
        /// How many there are.
        matching: usize,
    },
}

/// The ids of the rejected messages in `folder`, also of those whose description cannot be read.
///
/// Errors: the folder cannot be read.
pub fn ids(folder: &Path) -> Result<Vec<String>, RejectedError> {
    Folder::new(folder).ids()
}

/// The rejected messages in `folder`; none where it does not exist.
///
/// Errors: the folder cannot be read. A single bad file is named in the listing.
pub fn list(folder: &Path) -> Result<Listing, RejectedError> {
    let folder = Folder::new(folder);
    let mut listing = Listing::default();
    for id in folder.ids()? {
        match folder.read(&id) {
            Ok(message) => listing.messages.extend(message),
            Err(error) => listing.unreadable.push(error),
        }
    }
    listing.messages.sort_by(|a, b| (&a.rejected, &a.topic, a.offset).cmp(&(&b.rejected, &b.topic, b.offset)));
    Ok(listing)
}

/// The message whose id is `id` or starts with it, decoded again by `codec`.
///
/// Errors: no message or several match, or a file cannot be read.
pub fn show(folder: &Path, id: &str, codec: &Codec) -> Result<Shown, RejectedError> {
    let folder = Folder::new(folder);
    let not_one = |matching| RejectedError::NotOne { id: id.to_owned(), matching };
    let found = ids::only(folder.ids()?, id, String::clone).map_err(not_one)?;
    // Another process may replay it at this moment.
    let message = folder.read(&found)?.ok_or_else(|| not_one(0))?;
    let payload = folder.payload(&found)?.unwrap_or_default();
    let reason_now = replay::check(&message, &payload, codec).err();
    Ok(Shown { message, payload, reason_now })
}

//! Dead letters: records that a destination refused, one JSON file each, in `<dlq_dir>/<sink>/`.
//!
//! A letter is named by a hash of table and event id, so one that is written again after a crash is the same file. It
//! is written atomically, so the command line reads, purges and replays while the server runs.
//!
//! Invariant: a sink has at most the number that [`Letters::open`] allows; at the limit it waits.
//! Invariant: only `replay` and `purge` remove a letter, and `replay` only when its event was delivered.

mod files;
pub mod replay;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use chrono::{SecondsFormat, Utc};
use kerntrail_common::ids::{self, IdSelection};
use kerntrail_schemas::Table;
use kerntrail_schemas::mapping::Row;
use kerntrail_transport::Newer;
use serde::{Deserialize, Serialize};

pub use replay::{ReplayReport, replay};

use crate::config::SinkConfigError;
use crate::metrics;
use crate::outcome::Reason;

/// A dead letter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Letter {
    /// The sink.
    pub sink: String,
    /// The row's table.
    pub table: String,
    /// The row's `event_id`; of a damaged message, its partition and offset.
    pub event_id: String,
    /// Why, as a code.
    pub reason: Reason,
    /// Why, as reported by the server or the failed operation.
    pub words: String,
    /// When, RFC 3339 in UTC.
    pub written: String,
    /// How often it was replayed and refused again.
    pub replays: u32,
    /// What was to be sent.
    #[serde(flatten)]
    pub content: Content,
}

impl Letter {
    /// A letter of now, not replayed yet.
    pub(crate) fn new(
        sink: &str,
        table: Table,
        event_id: String,
        reason: Reason,
        words: String,
        content: Content,
    ) -> Self {
        let written = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
        Self {
            sink: sink.to_owned(),
            table: table.name().to_owned(),
            event_id,
            reason,
            words,
            written,
            replays: 0,
            content,
        }
    }
}

/// What was to be sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// A row.
    Row(Row),
    /// A message that cannot be decoded.
    Message {
        /// Version of the schema that wrote it.
        schema_version: u16,
        /// Its bytes, base64.
        payload: String,
    },
}

impl Letter {
    /// Its name: 32 hexadecimal digits.
    pub fn id(&self) -> String {
        format!("{:032x}", xxhash_rust::xxh3::xxh3_128(format!("{}/{}", self.table, self.event_id).as_bytes()))
    }
}

/// Why dead letters cannot be handled.
#[derive(Debug, thiserror::Error)]
pub enum DlqError {
    /// A file operation failed.
    #[error("cannot {operation} {path}")]
    File {
        /// What was tried.
        operation: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file is not a dead letter.
    #[error("{path} is not a dead letter")]
    NotALetter {
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
    /// No letter, or more than one, begins with an id.
    #[error("{matching} dead letters have an id that starts with {id:?}")]
    NotOne {
        /// The id, or its beginning.
        id: String,
        /// How many there are.
        matching: usize,
    },
    /// Another replay of the same sink is running.
    #[error("another replay of sink {sink} is running")]
    Busy {
        /// The sink.
        sink: String,
    },
    /// The sink cannot be used.
    #[error("cannot use the sink")]
    Config(#[source] Box<SinkConfigError>),
}

/// The letters that were found.
#[derive(Debug, Default)]
pub struct Listing {
    /// Oldest first.
    pub letters: Vec<Letter>,
    /// Files that are not dead letters.
    pub unreadable: Vec<DlqError>,
}

/// The ids of the letters of `sink` below `dlq_dir`, also of those that cannot be read.
///
/// Errors: the folder cannot be read.
pub fn ids(dlq_dir: &Path, sink: &str) -> Result<Vec<String>, DlqError> {
    Ok(files::letters(&dlq_dir.join(sink))?.iter().map(|path| files::id(path)).collect())
}

/// The letters below `dlq_dir`, of `sink` or of all.
///
/// Errors: a folder cannot be read. A single bad file is named in the listing.
pub fn list(dlq_dir: &Path, sink: Option<&str>) -> Result<Listing, DlqError> {
    let mut listing = Listing::default();
    let folders = match sink {
        Some(sink) => vec![dlq_dir.join(sink)],
        None => files::folders(dlq_dir)?,
    };
    for path in folders.iter().map(|folder| files::letters(folder)).collect::<Result<Vec<_>, _>>()?.concat() {
        match files::read(&path) {
            Ok(Some(letter)) => listing.letters.push(letter),
            // Purged or delivered in the meantime.
            Ok(None) => {}
            Err(error) => listing.unreadable.push(error),
        }
    }
    listing.letters.sort_by(|a, b| (&a.written, &a.event_id).cmp(&(&b.written, &b.event_id)));
    Ok(listing)
}

/// The one letter below `dlq_dir` whose id is, or begins with, `id`.
///
/// Errors: no letter or several match; it cannot be read.
pub fn show(dlq_dir: &Path, id: &str) -> Result<Letter, DlqError> {
    let letters =
        files::folders(dlq_dir)?.iter().map(|folder| files::letters(folder)).collect::<Result<Vec<_>, _>>()?;
    let not_one = |matching| DlqError::NotOne { id: id.to_owned(), matching };
    let path = ids::only(letters.concat(), id, |path| files::id(path)).map_err(not_one)?;
    files::read(&path)?.ok_or_else(|| not_one(0))
}

/// Removes letters of `sink` without sending them, also those that cannot be read; returns how many.
///
/// Errors: the folder cannot be read, or a file cannot be removed.
pub fn purge(dlq_dir: &Path, sink: &str, selection: &IdSelection) -> Result<usize, DlqError> {
    let mut removed = 0;
    for path in selection.select(files::letters(&dlq_dir.join(sink))?, |path| files::id(path)) {
        removed += usize::from(files::remove(&path)?);
    }
    Ok(removed)
}

/// Removes partly written files that killed processes left below `dlq_dir`; returns their number. Sinks whose letters
/// are being replayed are left out. A server calls this before its sinks run.
///
/// Errors: a folder cannot be read, or a file cannot be removed.
pub fn remove_staged(dlq_dir: &Path) -> Result<usize, DlqError> {
    let mut removed = 0;
    for folder in files::folders(dlq_dir)? {
        if let Some(_lock) = files::lock(&folder)? {
            removed += files::remove_staged(&folder)?;
        }
    }
    Ok(removed)
}

/// The letters of one sink, for writing.
#[derive(Debug)]
pub struct Letters {
    sink: String,
    folder: PathBuf,
    max: usize,
    /// As last counted; other processes remove letters, only this one adds them.
    count: AtomicUsize,
}

impl Letters {
    /// The letters of `sink` below `dlq_dir`, at most `max`.
    ///
    /// Errors: the folder cannot be created or read.
    pub fn open(dlq_dir: &Path, sink: &str, max: usize) -> Result<Self, DlqError> {
        let folder = dlq_dir.join(sink);
        files::make(&folder)?;
        let count = files::letters(&folder)?.len();
        let letters = Self { sink: sink.to_owned(), folder, max, count: AtomicUsize::new(count) };
        letters.show_count();
        Ok(letters)
    }

    /// Writes `letter`; `false` at the limit.
    ///
    /// Errors: the file operation failed; the letter is not written.
    pub fn write(&self, letter: &Letter) -> Result<bool, DlqError> {
        let path = files::path(&self.folder, &letter.id());
        let is_new = !path.exists();
        if is_new && self.count.load(Ordering::Relaxed) >= self.max {
            self.count.store(files::letters(&self.folder)?.len(), Ordering::Relaxed);
            self.show_count();
            if self.count.load(Ordering::Relaxed) >= self.max {
                return Ok(false);
            }
        }
        files::write(&path, letter)?;
        if is_new {
            self.count.fetch_add(1, Ordering::Relaxed);
            self.show_count();
        }
        Ok(true)
    }

    fn show_count(&self) {
        let count = self.count.load(Ordering::Relaxed) as f64;
        ::metrics::gauge!(metrics::DEAD_LETTERS, "sink" => self.sink.clone()).set(count);
    }
}

#[cfg(test)]
mod tests;

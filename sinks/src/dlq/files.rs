//! Letters as files.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use kerntrail_common::durable;
use kerntrail_common::lock::FileLock;
use kerntrail_transport::Newer;
use serde::{Deserialize, Serialize};

use super::{DlqError, Letter};

/// Extension of a letter's file name.
const SUFFIX: &str = "json";

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DlqError {
    let path = path.to_owned();
    move |source| DlqError::File { operation, path, source }
}

/// Creates a folder that only its owner can read: rows hold command lines.
pub(super) fn make(folder: &Path) -> Result<(), DlqError> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed("make", folder))
}

/// The folders in `folder`; none where it does not exist.
pub(super) fn folders(folder: &Path) -> Result<Vec<PathBuf>, DlqError> {
    Ok(entries(folder)?.into_iter().filter(|path| path.is_dir()).collect())
}

/// The letters in `folder`, by id; none where it does not exist.
pub(super) fn letters(folder: &Path) -> Result<Vec<PathBuf>, DlqError> {
    let mut letters = entries(folder)?;
    letters.retain(|path| path.extension().is_some_and(|suffix| suffix == SUFFIX));
    letters.sort();
    Ok(letters)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, DlqError> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed("list", folder))?,
    };
    entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>().map_err(failed("list", folder))
}

/// The file of the letter `id` in `folder`.
pub(super) fn path(folder: &Path, id: &str) -> PathBuf {
    folder.join(format!("{id}.{SUFFIX}"))
}

/// The id of the letter in `path`.
pub(super) fn id(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Version of a letter's file; one without was written before there was a version.
const VERSION: u32 = 1;

fn first() -> u32 {
    1
}

#[derive(Serialize)]
struct Stored<'a> {
    version: u32,
    #[serde(flatten)]
    letter: &'a Letter,
}

/// Of a letter that may be of a newer version.
#[derive(Deserialize)]
struct Versioned {
    #[serde(default = "first")]
    version: u32,
}

/// The letter in `path`; `None` where the file is gone.
pub(super) fn read(path: &Path) -> Result<Option<Letter>, DlqError> {
    let text = match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed("read", path))?,
    };
    let not_a_letter = |source| DlqError::NotALetter { path: path.to_owned(), source };
    let Versioned { version } = serde_json::from_slice(&text).map_err(not_a_letter)?;
    Newer::check("letter", version, VERSION).map_err(|newer| DlqError::Newer { path: path.to_owned(), newer })?;
    serde_json::from_slice(&text).map(Some).map_err(not_a_letter)
}

/// Writes `letter` to `path`: it is there whole, also after a power failure, or not at all.
pub(super) fn write(path: &Path, letter: &Letter) -> Result<(), DlqError> {
    let text = serde_json::to_vec_pretty(&Stored { version: VERSION, letter }).map_err(io::Error::from);
    text.and_then(|text| durable::replace_private(path, &text)).map_err(failed("write", path))
}

/// Removes the letter in `path`; `false` where it is gone already.
pub(super) fn remove(path: &Path) -> Result<bool, DlqError> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed("remove", path)(error)),
    }
}

/// Removes the staged files in `folder`; returns how many.
pub(super) fn remove_staged(folder: &Path) -> Result<usize, DlqError> {
    durable::remove_staged(folder).map_err(failed("remove a staged file in", folder))
}

/// Locks the letters in `folder` for a replay, until dropped; `None` where another process has locked them.
pub(super) fn lock(folder: &Path) -> Result<Option<FileLock>, DlqError> {
    make(folder)?;
    let path = folder.join("replay.lock");
    FileLock::try_take(&path).map_err(failed("lock", &path))
}

//! The version of the log's folder, in a separate file, so that it is known before anything is opened.

use std::fs;
use std::io;
use std::path::Path;

use kerntrail_common::durable;

use super::OpenError;
use crate::newer::Newer;

/// Keys and values as [`super::store`] describes them. Records have a version each.
const VERSION: u32 = 1;
const FILE: &str = "format";

/// Checks that this release knows the format of `dir`, and marks a folder without a version: a new one, or one that was
/// written before folders had one, which is version 1.
///
/// Errors: `Newer`, and the folder is left unchanged; or the file cannot be read or written.
pub(super) fn check(dir: &Path) -> Result<(), OpenError> {
    let path = dir.join(FILE);
    let folder = |source| OpenError::Folder { dir: dir.to_owned(), source };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return durable::replace(&path, format!("{VERSION}\n").as_bytes()).map_err(folder);
        }
        Err(error) => return Err(folder(error)),
    };
    let damaged =
        || folder(io::Error::new(io::ErrorKind::InvalidData, format!("{FILE} contains no version: {text:?}")));
    let version: u32 = text.trim().parse().map_err(|_| damaged())?;
    Newer::check("log", version, VERSION).map_err(|newer| OpenError::Newer { dir: dir.to_owned(), newer })
}

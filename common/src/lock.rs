//! Locks among processes: `flock` of a file, through the standard library.
//!
//! The system releases a lock when its process ends, however it ends. The file stays, since removing it would let two
//! processes lock two files of the same name. It holds the id of the process that has the lock, for error messages.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

/// A lock that is held until it is dropped, or its process ends.
#[derive(Debug)]
pub struct FileLock {
    _file: File,
}

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process, or another handle of this one, holds it.
    #[error("in use by another process{}", process.map(|id| format!(" ({id})")).unwrap_or_default())]
    Held {
        /// Id of the process, where it is known.
        process: Option<u32>,
    },
    /// The file cannot be created or locked.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl FileLock {
    /// Takes the lock of the file at `path` without waiting. File and folder are created when missing.
    pub fn take(path: &Path) -> Result<Self, LockError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        #[expect(clippy::disallowed_methods, reason = "this is their home")]
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LockError::Held { process: holder(&mut file) }),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        // Only for the messages of others: on a full disk the lock is as good without it.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self { _file: file })
    }

    /// As [`FileLock::take`]; `None` while another holder has the lock.
    pub fn try_take(path: &Path) -> io::Result<Option<Self>> {
        match Self::take(path) {
            Ok(lock) => Ok(Some(lock)),
            Err(LockError::Held { .. }) => Ok(None),
            Err(LockError::Io(error)) => Err(error),
        }
    }
}

/// The process that wrote `file`; `None` when it has not done so yet.
fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_holder_at_a_time_and_errors_name_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/lock");
        let held = FileLock::take(&path).unwrap();
        let error = FileLock::take(&path).unwrap_err();
        let expected = format!("in use by another process ({})", std::process::id());
        assert_eq!(error.to_string(), expected);
        assert!(FileLock::try_take(&path).unwrap().is_none());
        assert!(FileLock::try_take(&path.with_extension("other")).unwrap().is_some(), "another file is another lock");
        drop(held);
        assert!(FileLock::try_take(&path).unwrap().is_some());
    }

    #[test]
    fn a_file_that_cannot_be_locked_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(FileLock::take(folder.path()), Err(LockError::Io(_))), "it is a folder");
    }
}

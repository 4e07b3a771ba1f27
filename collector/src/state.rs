//! The file that says until when the last run saw everything, so that the next one can say what nobody saw.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use kerntrail_common::durable;
use kerntrail_schemas::cell::Micros;
use serde::{Deserialize, Serialize};

const FILE: &str = "collector.json";
const VERSION: u32 = 1;

/// A run that has ended, or is still going on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LastRun {
    /// Boot that it ran in.
    pub(crate) boot_id: String,
    /// Its stream.
    pub(crate) stream: String,
    /// Everything up to here is in the event log; CLOCK_BOOTTIME ns.
    pub(crate) boot_ns: u64,
    /// The same as UTC.
    pub(crate) time: Micros,
}

/// The form on disk.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u32,
    boot_id: String,
    stream: String,
    boot_ns: u64,
    time_us: i64,
}

/// A state file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its content is not what this program writes.
    #[error("{} holds no collector state: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// Reads the last run's state from `dir`; `None` when there was none.
pub(crate) fn read(dir: &Path) -> Result<Option<LastRun>, StateError> {
    let path = dir.join(FILE);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StateError::Read { path, source }),
    };
    let damaged = |reason: String| StateError::Damaged { path: path.clone(), reason };
    let stored: Stored = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
    if stored.version != VERSION {
        return Err(damaged(format!("version {} instead of {VERSION}", stored.version)));
    }
    let Stored { boot_id, stream, boot_ns, time_us, .. } = stored;
    Ok(Some(LastRun { boot_id, stream, boot_ns, time: Micros(time_us) }))
}

/// Replaces the state in `dir`, which is made when it is missing.
pub(crate) fn write(dir: &Path, run: &LastRun) -> Result<(), StateError> {
    let path = dir.join(FILE);
    let LastRun { boot_id, stream, boot_ns, time } = run.clone();
    let stored = Stored { version: VERSION, boot_id, stream, boot_ns, time_us: time.0 };
    let replace = || {
        fs::create_dir_all(dir)?;
        // No fsync: after a crash of the machine the boot id differs and the time is all that counts.
        durable::replace_without_sync(&path, &serde_json::to_vec(&stored)?)
    };
    replace().map_err(|source| StateError::Write { path: path.clone(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_and_read() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("a/b");
        assert_eq!(read(&dir).unwrap(), None);
        let run = LastRun { boot_id: "b".into(), stream: "b+1".into(), boot_ns: 5, time: Micros(6) };
        write(&dir, &run).unwrap();
        assert_eq!(read(&dir).unwrap(), Some(run));
    }

    #[test]
    fn a_damaged_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let newer = r#"{"version": 2, "boot_id": "", "stream": "", "boot_ns": 0, "time_us": 0}"#;
        for text in ["", "{}", newer] {
            fs::write(dir.path().join(FILE), text).unwrap();
            let error = read(dir.path()).unwrap_err();
            assert!(matches!(error, StateError::Damaged { .. }) && error.to_string().contains(FILE), "{error}");
        }
    }
}

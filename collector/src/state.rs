//! The file that records until when the last run collected, so that the next run can report the gap.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use kerntrail_common::durable;
use kerntrail_schemas::cell::Micros;
use kerntrail_transport::Newer;
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
    /// A newer release wrote it; it is left unchanged.
    #[error("cannot use {}: {newer}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Which version is newer.
        newer: Newer,
    },
    /// Its content is not what this program writes.
    #[error("{} is not a collector state file: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// Of a state that may be of a newer version.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// The content of the file in `dir`; `None` if the file does not exist.
///
/// Errors: it cannot be read, or a newer release wrote it.
fn stored(dir: &Path) -> Result<Option<Vec<u8>>, StateError> {
    let path = dir.join(FILE);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StateError::Read { path, source }),
    };
    // A file without a version is damaged; the reader reports that.
    let version = serde_json::from_slice(&text).map_or(VERSION, |Versioned { version }| version);
    Newer::check("state", version, VERSION).map_err(|newer| StateError::Newer { path, newer })?;
    Ok(Some(text))
}

/// Reads the last run's state from `dir`; `None` when there was none.
pub(crate) fn read(dir: &Path) -> Result<Option<LastRun>, StateError> {
    let Some(text) = stored(dir)? else { return Ok(None) };
    let damaged = |reason: String| StateError::Damaged { path: dir.join(FILE), reason };
    let stored: Stored = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
    if stored.version != VERSION {
        return Err(damaged(format!("version {} instead of {VERSION}", stored.version)));
    }
    let Stored { boot_id, stream, boot_ns, time_us, .. } = stored;
    Ok(Some(LastRun { boot_id, stream, boot_ns, time: Micros(time_us) }))
}

/// Replaces the state in `dir`, creating `dir` when it is missing. That of a newer release is kept: when that release
/// runs again, the gap that it reports is too long, but no gap is missing.
pub(crate) fn write(dir: &Path, run: &LastRun) -> Result<(), StateError> {
    let path = dir.join(FILE);
    stored(dir)?;
    let LastRun { boot_id, stream, boot_ns, time } = run.clone();
    let content = Stored { version: VERSION, boot_id, stream, boot_ns, time_us: time.0 };
    let replace = || {
        fs::create_dir_all(dir)?;
        // No fsync: after a crash of the machine the boot id differs and the time is all that counts.
        durable::replace_without_sync(&path, &serde_json::to_vec(&content)?)
    };
    replace().map_err(|source| StateError::Write { path: path.clone(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_state_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("a/b");
        assert_eq!(read(&dir).unwrap(), None);
        let run = LastRun { boot_id: "b".into(), stream: "b+1".into(), boot_ns: 5, time: Micros(6) };
        write(&dir, &run).unwrap();
        assert_eq!(read(&dir).unwrap(), Some(run));
    }

    #[test]
    fn a_damaged_file_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let unknown = r#"{"version": 0, "boot_id": "", "stream": "", "boot_ns": 0, "time_us": 0}"#;
        for text in ["", "{}", unknown] {
            fs::write(dir.path().join(FILE), text).unwrap();
            let error = read(dir.path()).unwrap_err();
            assert!(matches!(error, StateError::Damaged { .. }) && error.to_string().contains(FILE), "{error}");
        }
    }

    #[test]
    fn version_1_is_read_and_written_unchanged() {
        let golden = include_bytes!("state/golden/v1.json");
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), golden).unwrap();
        let boot = "8d4d0a1e-6f5c-4c56-9f1b-0f6f3a3e7d11";
        let time = Micros(1_795_521_600_000_001);
        let run = LastRun { boot_id: boot.to_owned(), stream: format!("{boot}+5"), boot_ns: 5_000_000_007, time };
        assert_eq!(read(dir.path()).unwrap(), Some(run.clone()));
        write(dir.path(), &run).unwrap();
        assert_eq!(fs::read(dir.path().join(FILE)).unwrap(), golden);
    }

    #[test]
    fn a_newer_file_is_reported_and_left_unchanged() {
        let dir = tempfile::tempdir().unwrap();
        let newer = include_bytes!("state/golden/v2.json");
        fs::write(dir.path().join(FILE), newer).unwrap();
        let run = LastRun { boot_id: "b".into(), stream: "b+1".into(), boot_ns: 5, time: Micros(6) };
        for outcome in [read(dir.path()).map(drop), write(dir.path(), &run)] {
            let error = outcome.unwrap_err();
            assert!(matches!(error, StateError::Newer { .. }), "{error:?}");
            assert!(error.to_string().contains("state version 2 is newer than 1"), "{error}");
        }
        assert_eq!(fs::read(dir.path().join(FILE)).unwrap(), newer);
    }
}

//! Rejected records, stored in a file: `<rejects_dir>/<input>-<hash>.ndjson`, one object per line with `file`, `line`,
//! `reason` and `raw`.
//!
//! Invariant: the file holds the rejected records of the latest import of that input only. The file of standard input,
//! which is another input each time, holds those of all imports.
//! Invariant: the files of all inputs together hold at most [`MOST_BYTES`]; beyond that, records are only counted.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64;

/// Name of standard input.
const STANDARD_INPUT: &str = "-";
/// Bytes of a record that are kept; a longer one is truncated.
pub(super) const MAX_RAW: usize = 64 * 1024;
/// Bytes of the files of all inputs together.
const MOST_BYTES: u64 = 1 << 30;
/// Rejected records in the report; the file has all of them.
const MAX_REPORTED: usize = 20;

/// A rejected record, or a stretch of garbage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedRecord {
    /// Line on which it starts, from 1.
    pub line: u64,
    /// Why it was rejected.
    pub reason: String,
}

#[derive(Serialize)]
struct RejectLine<'a> {
    file: &'a str,
    line: u64,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<&'a str>,
    /// Instead of `raw` where the bytes are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    raw_base64: Option<String>,
    /// Length of the whole record where it was truncated.
    #[serde(skip_serializing_if = "Option::is_none")]
    raw_bytes: Option<u64>,
}

/// The file of one input's rejected records; it exists once there are any.
#[derive(Debug)]
pub(super) struct RejectFile {
    input: String,
    path: PathBuf,
    file: Option<BufWriter<File>>,
    /// Bytes that it may still take.
    room: u64,
    reported: Vec<RejectedRecord>,
    count: u64,
    not_kept: u64,
}

/// What an import keeps of its rejected records.
#[derive(Debug)]
pub(super) struct KeptRejects {
    /// The file, where records were kept.
    pub(super) file: Option<PathBuf>,
    /// The first ones.
    pub(super) first: Vec<RejectedRecord>,
    /// How many are only counted.
    pub(super) not_kept: u64,
}

impl RejectFile {
    /// The file in `folder` of the input named `input`; removes the one of an earlier import.
    pub(super) fn new(folder: &Path, input: &str) -> io::Result<Self> {
        let path = folder.join(file_name(input));
        if input != STANDARD_INPUT {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        let room = MOST_BYTES.saturating_sub(bytes_in(folder)?);
        Ok(Self { input: input.to_owned(), path, file: None, room, reported: Vec::new(), count: 0, not_kept: 0 })
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// How many records were rejected.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Adds a record; `raw` are its first bytes, of `bytes` in all.
    pub(super) fn add(&mut self, line: u64, reason: &str, raw: &[u8], bytes: usize) -> io::Result<()> {
        let text = str::from_utf8(raw).ok();
        let kept = RejectLine {
            file: &self.input,
            line,
            reason,
            raw: text,
            raw_base64: text.is_none().then(|| STANDARD.encode(raw)),
            raw_bytes: (bytes > raw.len()).then_some(bytes as u64),
        };
        self.count += 1;
        if self.reported.len() < MAX_REPORTED {
            self.reported.push(RejectedRecord { line, reason: reason.to_owned() });
        }
        let mut line = serde_json::to_vec(&kept)?;
        line.push(b'\n');
        let Some(room) = self.room.checked_sub(line.len() as u64) else {
            self.not_kept += 1;
            return Ok(());
        };
        self.room = room;
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                if let Some(folder) = self.path.parent() {
                    std::fs::create_dir_all(folder)?;
                }
                let file = File::options().create(true).append(true).open(&self.path)?;
                self.file.insert(BufWriter::new(file))
            }
        };
        file.write_all(&line)
    }

    /// Writes what is buffered.
    pub(super) fn finish(self) -> io::Result<KeptRejects> {
        let Self { path, file, reported: first, not_kept, .. } = self;
        let Some(mut file) = file else { return Ok(KeptRejects { file: None, first, not_kept }) };
        file.flush()?;
        Ok(KeptRejects { file: Some(path), first, not_kept })
    }
}

/// Bytes of the files of rejected records in `folder`.
fn bytes_in(folder: &Path) -> io::Result<u64> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut bytes = 0;
    for entry in entries {
        let entry = entry?;
        if entry.path().extension().is_some_and(|ending| ending == "ndjson") {
            bytes += entry.metadata()?.len();
        }
    }
    Ok(bytes)
}

/// `<last part of the name>-<hash of the name>.ndjson`, in characters that any file system takes.
fn file_name(input: &str) -> String {
    let last = input.rsplit(['/', '\\']).next().unwrap_or_default();
    let safe = |character: char| if character.is_alphanumeric() || "._-".contains(character) { character } else { '_' };
    let shown: String = last.chars().map(safe).take(80).collect();
    format!("{}-{:016x}.ndjson", shown.trim_start_matches('.'), xxh3_64(input.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_only_the_latest_import() {
        let folder = tempfile::tempdir().unwrap();
        for reasons in [&["one", "two"][..], &["three"], &[]] {
            let mut rejects = RejectFile::new(folder.path(), "/var/log/a b.json").unwrap();
            for (line, reason) in reasons.iter().enumerate() {
                rejects.add(line as u64 + 1, reason, b"{\xff", 9).unwrap();
            }
            let KeptRejects { file: path, first, not_kept } = rejects.finish().unwrap();
            assert_eq!((first.len(), not_kept), (reasons.len(), 0));
            assert_eq!(path.is_some(), !reasons.is_empty());
            let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
            assert_eq!(files.len(), usize::from(!reasons.is_empty()), "{files:?}");
            if let Some(path) = path {
                let lines = std::fs::read_to_string(&path).unwrap();
                assert_eq!(lines.lines().count(), reasons.len());
                let line: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
                let expected = serde_json::json!({"file": "/var/log/a b.json", "line": 1, "reason": reasons[0],
                    "raw_base64": "e/8=", "raw_bytes": 9});
                assert_eq!(line, expected);
            }
        }
    }

    #[test]
    fn the_file_of_standard_input_has_all_imports() {
        let folder = tempfile::tempdir().unwrap();
        for count in 1..4 {
            let mut rejects = RejectFile::new(folder.path(), STANDARD_INPUT).unwrap();
            rejects.add(1, "bad", b"x", 1).unwrap();
            let kept = rejects.finish().unwrap();
            let lines = std::fs::read_to_string(kept.file.unwrap()).unwrap();
            assert_eq!((lines.lines().count(), kept.first.len()), (count, 1));
        }
    }

    #[test]
    fn records_without_room_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let other = File::create(folder.path().join("other.ndjson")).unwrap();
        other.set_len(MOST_BYTES - 150).unwrap();
        let mut rejects = RejectFile::new(folder.path(), "junk.json").unwrap();
        for line in 1..=5 {
            rejects.add(line, "bad", b"0123456789", 10).unwrap();
        }
        assert_eq!(rejects.count(), 5);
        let kept = rejects.finish().unwrap();
        assert_eq!((kept.first.len(), kept.not_kept), (5, 3));
        assert_eq!(std::fs::read_to_string(kept.file.unwrap()).unwrap().lines().count(), 2);
    }

    #[test]
    fn every_input_has_a_valid_file_name_of_its_own() {
        let names = ["-", "a/b.json", "c/b.json", "..", "x/ü?*.gz", "", "C:\\logs\\t.json"].map(file_name);
        assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>().len(), names.len());
        assert!(names.iter().all(|name| !name.contains(['/', '\\', '*', ':']) && !name.starts_with('.')), "{names:?}");
    }
}

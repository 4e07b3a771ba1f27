//! What was not taken, kept aside: `<rejects_dir>/<file>-<hash>.ndjson`, an object a line with `file`, `line`,
//! `reason` and `raw`.
//!
//! Invariant: the file holds the rejects of the latest import of that input, never those of two. Only that of standard
//! input, which is something else each time, keeps them all.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64;

/// Name of the input that is not a file.
const STANDARD_INPUT: &str = "-";
/// Bytes of a record that are kept; a longer one is cut.
pub(crate) const MOST_RAW: usize = 64 * 1024;
/// Rejects named in the report; all of them are in the file.
const MOST_NAMED: usize = 20;

/// A stretch of an input that was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// Line on which it starts, from 1.
    pub line: u64,
    /// Why.
    pub reason: String,
}

#[derive(Serialize)]
struct Kept<'a> {
    file: &'a str,
    line: u64,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<&'a str>,
    /// Instead of `raw` where the bytes are no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    raw_base64: Option<String>,
    /// Length of the whole where it was cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    raw_bytes: Option<u64>,
}

/// Collects the rejects of one input.
#[derive(Debug)]
pub(crate) struct Rejects {
    input: String,
    path: PathBuf,
    file: Option<BufWriter<File>>,
    named: Vec<Reject>,
    count: u64,
}

impl Rejects {
    /// Of the input called `input`; removes what an earlier import of it left in `folder`.
    pub(crate) fn new(folder: &Path, input: &str) -> io::Result<Self> {
        let path = folder.join(file_name(input));
        if input != STANDARD_INPUT {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(Self { input: input.to_owned(), path, file: None, named: Vec::new(), count: 0 })
    }

    /// Where they go.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Keeps one; `raw` are its first bytes, of `bytes` in all.
    pub(crate) fn add(&mut self, line: u64, reason: &str, raw: &[u8], bytes: usize) -> io::Result<()> {
        let text = str::from_utf8(raw).ok();
        let kept = Kept {
            file: &self.input,
            line,
            reason,
            raw: text,
            raw_base64: text.is_none().then(|| STANDARD.encode(raw)),
            raw_bytes: (bytes > raw.len()).then_some(bytes as u64),
        };
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
        serde_json::to_writer(&mut *file, &kept)?;
        file.write_all(b"\n")?;
        self.count += 1;
        if self.named.len() < MOST_NAMED {
            self.named.push(Reject { line, reason: reason.to_owned() });
        }
        Ok(())
    }

    /// Writes out what is buffered; gives the path when there are any, and the first ones.
    pub(crate) fn finish(mut self) -> io::Result<(Option<PathBuf>, Vec<Reject>)> {
        if let Some(mut file) = self.file.take() {
            file.flush()?;
            return Ok((Some(self.path), self.named));
        }
        Ok((None, self.named))
    }
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
    fn kept_by_input_and_only_of_the_latest_import() {
        let folder = tempfile::tempdir().unwrap();
        for reasons in [&["one", "two"][..], &["three"], &[]] {
            let mut rejects = Rejects::new(folder.path(), "/var/log/a b.json").unwrap();
            for (line, reason) in reasons.iter().enumerate() {
                rejects.add(line as u64 + 1, reason, b"{\xff", 9).unwrap();
            }
            let (path, named) = rejects.finish().unwrap();
            assert_eq!(named.len(), reasons.len());
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
    fn those_of_standard_input_are_all_kept() {
        let folder = tempfile::tempdir().unwrap();
        for count in 1..4 {
            let mut rejects = Rejects::new(folder.path(), STANDARD_INPUT).unwrap();
            rejects.add(1, "bad", b"x", 1).unwrap();
            let (path, named) = rejects.finish().unwrap();
            let lines = std::fs::read_to_string(path.unwrap()).unwrap();
            assert_eq!((lines.lines().count(), named.len()), (count, 1));
        }
    }

    #[test]
    fn names_for_any_input() {
        let names = ["-", "a/b.json", "c/b.json", "..", "x/ü?*.gz", "", "C:\\logs\\t.json"].map(file_name);
        assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>().len(), names.len());
        assert!(names.iter().all(|name| !name.contains(['/', '\\', '*', ':']) && !name.starts_with('.')), "{names:?}");
    }
}

//! A file that is rotated by size: `<path>` is the current one, `<path>.1` the one before, and so on.
//!
//! Other programs may move, remove or truncate the file (logrotate): a new one is started at once.
//!
//! Invariant: after `append` returns, its lines are on disk, in a file that has a name. A line that a crash left
//! incomplete is removed at the next open; the event log still has its row.
//! Invariant: one process writes; `<path>.lock` is held for as long as the file is open.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use kerntrail_common::durable;
use kerntrail_common::lock::FileLock;

/// The current file and those before it.
#[derive(Debug)]
pub struct Rotated {
    path: PathBuf,
    file: File,
    bytes: u64,
    most_bytes: u64,
    most_files: u32,
    _lock: FileLock,
}

/// Result of an append.
#[derive(Debug, Default)]
pub struct Appended {
    /// Number of lines, from the first, that are on disk.
    pub lines: usize,
    /// Number of older lines that were deleted with their file.
    pub deleted: u64,
    /// Why the other lines are not.
    pub error: Option<io::Error>,
}

impl Rotated {
    /// Opens `path` to append to, and creates its folder.
    ///
    /// Errors: a file operation failed; `AddrInUse` where another process writes the file.
    pub fn open(path: &Path, most_bytes: u64, most_files: u32) -> io::Result<Self> {
        create_folder_of(path)?;
        let in_use = || io::Error::new(io::ErrorKind::AddrInUse, "another process is writing to it");
        let lock = FileLock::try_take(&with_suffix(path, "lock"))?.ok_or_else(in_use)?;
        let (file, bytes) = open_complete(path)?;
        Ok(Self { path: path.to_owned(), file, bytes, most_bytes, most_files, _lock: lock })
    }

    /// Appends `lines`, each with its line feed, and starts a new file where the current one is full.
    pub fn append(&mut self, lines: &[Bytes]) -> Appended {
        let mut appended = Appended::default();
        while appended.lines < lines.len() {
            if let Err(error) = self.follow().and_then(|_| self.append_some(lines, &mut appended)) {
                appended.error = Some(error);
                break;
            }
        }
        appended
    }

    /// Goes on in a new file where another program has moved or removed the current one; whether it did.
    fn follow(&mut self) -> io::Result<bool> {
        let own = self.file.metadata()?;
        match std::fs::metadata(&self.path) {
            Ok(there) if (there.dev(), there.ino()) == (own.dev(), own.ino()) => {
                // It may have been truncated.
                self.bytes = self.bytes.min(own.len());
                return Ok(false);
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        tracing::info!(path = %self.path.display(), "the file was moved or removed; a new one is started");
        create_folder_of(&self.path)?;
        (self.file, self.bytes) = open_complete(&self.path)?;
        Ok(true)
    }

    /// Appends what fits into one file.
    fn append_some(&mut self, lines: &[Bytes], appended: &mut Appended) -> io::Result<()> {
        let rest = &lines[appended.lines..];
        if self.fitting(rest) == 0 && self.bytes > 0 {
            appended.deleted += self.rotate()?;
        }
        // A line that is larger than a file gets a file of its own.
        let fitting = self.fitting(rest).max(1);
        self.write(&rest[..fitting])?;
        appended.lines += fitting;
        Ok(())
    }

    /// Number of `lines` that still fit into the current file.
    fn fitting(&self, lines: &[Bytes]) -> usize {
        let mut size = self.bytes;
        let fitting = lines.iter().take_while(|line| {
            size += line.len() as u64;
            size <= self.most_bytes
        });
        fitting.count()
    }

    /// Writes `lines`; again, where the file is removed meanwhile.
    fn write(&mut self, lines: &[Bytes]) -> io::Result<()> {
        let text: Vec<u8> = lines.concat();
        self.write_once(&text)?;
        while self.file.metadata()?.nlink() == 0 && self.follow()? {
            self.write_once(&text)?;
        }
        Ok(())
    }

    fn write_once(&mut self, text: &[u8]) -> io::Result<()> {
        let written = self.file.write_all(text).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // So that a retry does not write the beginning of the line twice.
            self.file.set_len(self.bytes)?;
            return Err(error);
        }
        self.bytes += text.len() as u64;
        Ok(())
    }

    /// Renames every file to the next number and starts a new one. Returns how many lines were deleted.
    fn rotate(&mut self) -> io::Result<u64> {
        let name = |number: u32| match number {
            0 => self.path.clone(),
            number => with_suffix(&self.path, &number.to_string()),
        };
        let oldest = name(self.most_files - 1);
        let deleted = count_lines(&oldest)?;
        remove(&oldest)?;
        for number in (1..self.most_files).rev() {
            match std::fs::rename(name(number - 1), name(number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.file = open(&self.path)?;
        self.bytes = 0;
        durable::sync_folder_of(&self.path)?;
        Ok(deleted)
    }
}

fn create_folder_of(path: &Path) -> io::Result<()> {
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => std::fs::create_dir_all(folder),
        None => Ok(()),
    }
}

fn open(path: &Path) -> io::Result<File> {
    // They hold command lines: readable by the owner only, unless the owner changes that.
    OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(path)
}

/// The file at `path`, which has complete lines only, and its length.
fn open_complete(path: &Path) -> io::Result<(File, u64)> {
    let mut file = open(path)?;
    let bytes = cut_torn_line(&mut file)?;
    durable::sync_folder_of(path)?;
    Ok((file, bytes))
}

/// Truncates the file after its last line feed; returns the length.
fn cut_torn_line(file: &mut File) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let mut end = length;
    let mut block = vec![0; 64 << 10];
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let part = &mut block[..(end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(part)?;
        if let Some(place) = part.iter().rposition(|byte| *byte == b'\n') {
            end = start + place as u64 + 1;
            break;
        }
        end = start;
    }
    if end < length {
        tracing::warn!(bytes = length - end, "removed an incomplete line that a crash had left");
        file.set_len(end)?;
    }
    Ok(end)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn count_lines(path: &Path) -> io::Result<u64> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        other => other?,
    };
    let mut block = vec![0; 64 << 10];
    let mut lines = 0;
    loop {
        match file.read(&mut block)? {
            0 => return Ok(lines),
            read => lines += block[..read].iter().filter(|byte| **byte == b'\n').count() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(texts: &[&str]) -> Vec<Bytes> {
        texts.iter().map(|text| Bytes::from(format!("{text}\n"))).collect()
    }

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap_or_default().replace('\n', " ")
    }

    #[test]
    fn a_file_that_is_moved_removed_or_truncated_is_followed_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("folder/events.ndjson");
        let mut file = Rotated::open(&path, 100, 3).unwrap();
        file.append(&lines(&["before"]));
        let moved = dir.path().join("moved");
        std::fs::rename(&path, &moved).unwrap();
        file.append(&lines(&["after a move"]));
        assert_eq!((read(&moved), read(&path)), ("before ".into(), "after a move ".into()));
        std::fs::remove_file(&path).unwrap();
        file.append(&lines(&["after a removal"]));
        assert_eq!(read(&path), "after a removal ");
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
        file.append(&lines(&["after the folder went"]));
        assert_eq!(read(&path), "after the folder went ");
        std::fs::write(&path, "").unwrap();
        // As many bytes as fit into an empty file: the old length no longer counts.
        let long = "x".repeat(99);
        file.append(&lines(&[&long]));
        assert_eq!(read(&path), format!("{long} "));
        assert!(!with_suffix(&path, "1").exists());
    }

    #[test]
    fn full_files_are_rotated_and_the_oldest_is_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/events.ndjson");
        let mut file = Rotated::open(&path, 8, 3).unwrap();
        // Four bytes a line: two lines a file.
        assert_eq!(file.append(&lines(&["aaa", "bbb", "ccc"])).deleted, 0);
        assert_eq!((read(&path), read(&with_suffix(&path, "1"))), ("ccc ".into(), "aaa bbb ".into()));
        let appended = file.append(&lines(&["ddd", "eee", "fff", "ggg"]));
        assert_eq!((appended.lines, appended.deleted), (4, 2));
        assert_eq!(read(&path), "ggg ");
        assert_eq!(read(&with_suffix(&path, "1")), "eee fff ");
        assert_eq!(read(&with_suffix(&path, "2")), "ccc ddd ");
        assert!(!with_suffix(&path, "3").exists());
        // A line larger than a file has one for itself.
        file.append(&lines(&["a long line"]));
        assert_eq!(read(&path), "a long line ");
    }

    #[test]
    fn files_are_for_their_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events");
        Rotated::open(&path, 4, 2).unwrap().append(&lines(&["aaa", "bbb"]));
        for file in [path.clone(), with_suffix(&path, "1")] {
            assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{}", file.display());
        }
    }

    #[test]
    fn a_single_file_is_started_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events");
        let mut file = Rotated::open(&path, 4, 1).unwrap();
        assert_eq!(file.append(&lines(&["aaa", "bbb"])).deleted, 1);
        assert_eq!(read(&path), "bbb ");
    }

    #[test]
    fn an_incomplete_line_is_removed_and_the_rest_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events");
        let long = "x".repeat(100_000);
        for (before, after) in
            [("", ""), ("torn", ""), ("a\nb\n", "a b "), ("a\nb\ntorn", "a b "), (&format!("a\n{long}"), "a ")]
        {
            std::fs::write(&path, before).unwrap();
            let mut file = Rotated::open(&path, 1 << 20, 2).unwrap();
            assert_eq!(read(&path), after);
            assert_eq!(file.append(&lines(&["new"])).lines, 1);
            assert_eq!(read(&path), format!("{after}new "));
        }
    }

    #[test]
    fn a_file_has_one_writer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events");
        let first = Rotated::open(&path, 8, 2).unwrap();
        assert_eq!(Rotated::open(&path, 8, 2).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        Rotated::open(&path, 8, 2).unwrap();
    }
}

//! Files that exist completely or not at all, even after a power failure.
//!
//! New content is first written to a staged file next to its final name, `<name>#<number>`, which [`is_staged`]
//! recognizes; `object_store` names its own in the same way and does not list either. The staged file is removed when
//! writing fails; only a process that is killed leaves one behind, for [`remove_staged`].
//!
//! `tempfile` creates, removes and renames; `atomicwrites` would leave a staging folder per write instead of one file,
//! which readers that list a folder recursively would descend into.

#![expect(clippy::disallowed_methods, reason = "this is their home")]

use std::ffi::OsString;
use std::fs::{File, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::{Builder, NamedTempFile};

/// Permissions of a file that anyone may read, before the umask.
const PUBLIC: u32 = 0o666;
/// Permissions of a file for its owner only.
const PRIVATE: u32 = 0o600;

/// Replaces the file at `path` with `bytes`, or creates it. When it returns, content and name are on disk.
///
/// On error the previous content is untouched.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    put(path, bytes, PUBLIC)
}

/// As [`replace`]; only its owner may read the file.
pub fn replace_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    put(path, bytes, PRIVATE)
}

/// Like [`replace`], but does not wait for the disk: a reader sees the old or the new content, even if this process is
/// killed. After a power failure the file may be the old one, or empty.
pub fn replace_without_sync(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let staged = stage(path, bytes, PUBLIC)?;
    staged.persist(path).map(drop).map_err(|error| error.error)
}

/// Creates the file at `path` with `bytes`; `false` when there is one already. When it returns `true`, content and name
/// are on disk.
pub fn create(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let staged = stage(path, bytes, PUBLIC)?;
    staged.as_file().sync_all()?;
    match staged.persist_noclobber(path) {
        Ok(_) => sync_folder_of(path).map(|()| true),
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error.error),
    }
}

/// Waits until the content of the file at `path` and its name are on disk.
pub fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()?;
    sync_folder_of(path)
}

/// Waits until the names in the folder of `path` are on disk: which files there are, and how they are called.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

/// Whether `name` is that of a staged file: it ends with `#` and a number.
pub fn is_staged(name: &str) -> bool {
    name.rsplit_once('#').is_some_and(|(_, number)| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

/// Removes the staged files in `folder`, not in those below it; returns how many. For the only process that writes
/// there, before it does: what another one is writing would be lost.
///
/// Errors: the folder cannot be read, or a file cannot be removed. A folder that does not exist has no files.
pub fn remove_staged(folder: &Path) -> io::Result<usize> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut removed = 0;
    for entry in entries {
        let entry = entry?;
        if is_staged(&entry.file_name().to_string_lossy()) && entry.file_type()?.is_file() {
            std::fs::remove_file(entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

fn put(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let staged = stage(path, bytes, mode)?;
    staged.as_file().sync_all()?;
    staged.persist(path).map_err(|error| error.error)?;
    sync_folder_of(path)
}

/// A staged file with `bytes`; dropping it removes it.
fn stage(path: &Path, bytes: &[u8], mode: u32) -> io::Result<NamedTempFile> {
    let mut name = OsString::from(path.file_name().ok_or_else(|| io::Error::from(ErrorKind::InvalidInput))?);
    name.push(format!("#{}", fastrand::u64(..)));
    let mut builder = Builder::new();
    builder.prefix(&name).rand_bytes(0).permissions(Permissions::from_mode(mode));
    let mut staged = builder.tempfile_in(folder_of(path))?;
    staged.write_all(bytes)?;
    Ok(staged)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_is_created_once_and_no_staged_file_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("7.json");
        assert!(create(&path, b"first").unwrap());
        assert!(!create(&path, b"second").unwrap());
        sync(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"first");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(create(&folder.path().join("absent/8.json"), b"").is_err());
    }

    #[test]
    fn a_file_is_replaced_atomically_with_the_requested_permissions() {
        type Replace = fn(&Path, &[u8]) -> io::Result<()>;
        let cases: [(&str, Replace); 3] =
            [("synced", replace), ("not synced", replace_without_sync), ("private", replace_private)];
        for (name, replace) in cases {
            let folder = tempfile::tempdir().unwrap();
            let (path, plain) = (folder.path().join("state"), folder.path().join("plain"));
            for content in ["first", "second"] {
                replace(&path, content.as_bytes()).unwrap();
                assert_eq!(std::fs::read_to_string(&path).unwrap(), content, "{name}");
            }
            assert_eq!(names(folder.path()), ["state"], "{name}");
            // What the standard library makes of the umask.
            std::fs::write(&plain, "").unwrap();
            let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
            let expected = if name == "private" { PRIVATE } else { mode(&plain) };
            assert_eq!(mode(&path), expected, "{name}");
        }
    }

    #[test]
    fn a_failure_leaves_the_previous_content_and_no_staged_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("inside"), "kept").unwrap();
        assert!(replace(&path, b"new").is_err(), "a folder is not replaced");
        assert_eq!(names(folder.path()), ["taken"]);
        assert_eq!(std::fs::read(path.join("inside")).unwrap(), b"kept");
    }

    #[test]
    fn only_staged_files_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        replace(&path, b"kept").unwrap();
        // As a process leaves it that is killed while it writes.
        stage(&path, b"half", PUBLIC).unwrap().keep().unwrap();
        std::fs::create_dir(folder.path().join("folder#1")).unwrap();
        assert_eq!(remove_staged(folder.path()).unwrap(), 1);
        let mut left = names(folder.path());
        left.sort();
        assert_eq!(left, ["folder#1", "state"]);
        assert_eq!(std::fs::read(&path).unwrap(), b"kept");
        assert_eq!(remove_staged(&folder.path().join("absent")).unwrap(), 0);
        assert!(remove_staged(&path).is_err(), "a file is no folder");
    }

    #[test]
    fn staged_names() {
        let folder = tempfile::tempdir().unwrap();
        let staged = stage(&folder.path().join("9.json"), b"half", PUBLIC).unwrap();
        let name = names(folder.path()).remove(0);
        assert!(name.starts_with("9.json#") && is_staged(&name), "{name}");
        drop(staged);
        for (name, expected) in [("a#1", true), ("a", false), ("a#", false), ("a#1x", false), ("#12", true)] {
            assert_eq!(is_staged(name), expected, "{name}");
        }
    }
}

//! Writes to a local disk that survive a power cut; `object_store` alone leaves them to the file system's write-back.
//!
//! Order: a data file and its folder are on disk before the commit that names it, a commit's bytes before its name.
//! So after a power cut the log ends with a whole commit, and every file that it names is whole.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

/// Waits until the file at `path` and its name are on disk.
pub(crate) fn sync(path: &Path) -> std::io::Result<()> {
    File::open(path)?.sync_all()?;
    sync_folder(path)
}

/// Creates the file at `path` with `bytes`, whole and on disk, or not at all. `false` when there is one.
pub(crate) fn create(path: &Path, bytes: &[u8]) -> std::io::Result<bool> {
    let staged = staged(path);
    let mut file = File::options().write(true).create_new(true).open(&staged)?;
    let linked = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| std::fs::hard_link(&staged, path));
    std::fs::remove_file(&staged)?;
    match linked {
        Ok(()) => sync_folder(path).map(|()| true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// A name beside `path` that readers of the log pass over, and vacuum removes when its writer was killed.
fn staged(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!("#{}", uuid::Uuid::new_v4().as_u128()));
    name.into()
}

fn sync_folder(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_created_once_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("7.json");
        assert!(create(&path, b"first").unwrap());
        assert!(!create(&path, b"second").unwrap());
        sync(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"first");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(create(&folder.path().join("absent/8.json"), b"").is_err());
    }
}

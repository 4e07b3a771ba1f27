//! Files that a configuration names, read with a bound.

use std::fs::OpenOptions;
use std::io::{Error, Read, Result};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

use crate::size::Size;

/// The content of the file `path`.
///
/// Errors: besides those of reading, it is no regular file (a pipe or a device may have no end, or keep its reader
/// waiting), or larger than `most`.
pub fn read(path: &Path, most: Size) -> Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(Error::other("it is not a regular file"));
    }
    // Files below /proc count as regular, and may wait for something to happen.
    let file = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    let mut content = Vec::new();
    file.take(most.0.saturating_add(1)).read_to_end(&mut content)?;
    match content.len() as u64 > most.0 {
        true => Err(Error::other(format!("it is larger than {most}"))),
        false => Ok(content),
    }
}

/// The text of the file `path`. Errors: as [`read`], or it is not UTF-8.
pub fn read_text(path: &Path, most: Size) -> Result<String> {
    String::from_utf8(read(path, most)?).map_err(Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_of_some_size_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let (small, large, link) = (dir.path().join("small"), dir.path().join("large"), dir.path().join("link"));
        std::fs::write(&small, "text").unwrap();
        std::fs::write(&large, "more text").unwrap();
        std::os::unix::fs::symlink(&small, &link).unwrap();
        let most = Size(4);
        assert_eq!(read_text(&small, most).unwrap(), "text");
        assert_eq!(read_text(&link, most).unwrap(), "text");
        let not_regular = "not a regular file";
        for (path, reason) in [
            (large.as_path(), "larger than 4B"),
            (Path::new("/dev/zero"), not_regular),
            (dir.path(), not_regular),
            // It says 0 bytes and has more.
            (Path::new("/proc/self/maps"), "larger than 4B"),
        ] {
            assert!(read(path, most).unwrap_err().to_string().contains(reason), "{}", path.display());
        }
    }
}

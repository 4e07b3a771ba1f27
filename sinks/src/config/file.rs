//! Files that the keys of a sink name.

use std::fs::File;
use std::io::{Error, Read, Result};
use std::path::Path;

/// Largest such file: a bundle of all public certificate authorities has 0.3 MiB.
const MOST_BYTES: u64 = 16 << 20;

/// The content of the file `path`. A pipe or a device is refused, since it may have no end, or keep its reader waiting.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(Error::other("it is not a regular file"));
    }
    let mut content = Vec::new();
    File::open(path)?.take(MOST_BYTES + 1).read_to_end(&mut content)?;
    match content.len() as u64 > MOST_BYTES {
        true => Err(Error::other(format!("it is larger than {} MiB", MOST_BYTES >> 20))),
        false => Ok(content),
    }
}

/// The text of the file `path`. Errors: as [`read`], or it is not UTF-8.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    String::from_utf8(read(path)?).map_err(Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_of_some_size_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let (small, large, link) = (dir.path().join("small"), dir.path().join("large"), dir.path().join("link"));
        std::fs::write(&small, "text").unwrap();
        File::create(&large).unwrap().set_len(MOST_BYTES + 1).unwrap();
        std::os::unix::fs::symlink(&small, &link).unwrap();
        assert_eq!(read_text(&small).unwrap(), "text");
        assert_eq!(read_text(&link).unwrap(), "text");
        for (path, reason) in [(large.as_path(), "larger than 16 MiB"), (Path::new("/dev/zero"), "not a regular file")]
        {
            assert!(read(path).unwrap_err().to_string().contains(reason), "{}", path.display());
        }
    }
}

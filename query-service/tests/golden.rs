//! Expected texts in files. `KERNTRAIL_WRITE_GOLDEN=1` writes them again; then read the difference.

use std::path::PathBuf;

/// The folder of the files.
pub(crate) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Compares `actual` with the file `name`.
pub(crate) fn check(name: &str, actual: &str) {
    let path = folder().join(name);
    if std::env::var_os("KERNTRAIL_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, actual).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        actual == expected,
        "{name} differs; KERNTRAIL_WRITE_GOLDEN=1 writes it again\n--- expected\n{expected}\n--- actual\n{actual}"
    );
}

//! Expected texts in files. `UPDATE_EXPECT=1` writes them again; then read the difference.

use std::path::PathBuf;

use expect_test::expect_file;

/// The folder of the files.
pub(crate) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Compares `actual` with the file `name`.
pub(crate) fn check(name: &str, actual: &str) {
    expect_file![folder().join(name)].assert_eq(actual);
}

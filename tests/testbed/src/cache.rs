//! The folder of downloaded and built servers: `$KERNTRAIL_TEST_CACHE`, else `kerntrail-test` in the user's cache.
//!
//! The shell script `fetch.sh` fills it, so that `install.sh` and the tests share one recipe per server.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// This package's folder, which holds the recipes.
pub(crate) fn testbed() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the cache folder, which is created when missing.
pub fn root() -> Result<PathBuf> {
    let path = match (std::env::var_os("KERNTRAIL_TEST_CACHE"), std::env::var_os("XDG_CACHE_HOME")) {
        (Some(own), _) => PathBuf::from(own),
        (None, Some(cache)) => PathBuf::from(cache).join("kerntrail-test"),
        (None, None) => {
            PathBuf::from(std::env::var_os("HOME").context("neither KERNTRAIL_TEST_CACHE nor HOME is set")?)
                .join(".cache/kerntrail-test")
        }
    };
    std::fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
    Ok(path)
}

/// Returns the cached folder of `name` (a folder with a recipe in this package); downloads or builds it first when it
/// is missing.
///
/// Takes milliseconds when it is cached. The first time takes seconds to minutes and shows its progress.
pub fn fetch(name: &str) -> Result<PathBuf> {
    let output = Command::new(testbed().join("fetch.sh"))
        .arg(name)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("run fetch.sh")?;
    if !output.status.success() {
        bail!("getting {name} failed ({}): see its messages above", output.status);
    }
    let printed = String::from_utf8(output.stdout).context("fetch.sh printed a path that is not UTF-8")?;
    Ok(PathBuf::from(printed.trim_end()))
}

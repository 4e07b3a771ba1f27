//! Versions of the files that a sink keeps of its progress.

use kerntrail_transport::Newer;
use serde::Deserialize;

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error(transparent)]
    Newer(Newer),
    #[error(transparent)]
    Damaged(#[from] serde_json::Error),
}

/// Whether `text`, a file of `what`, has a version.
///
/// Errors: it is later than `known`, or the file is damaged.
pub(super) fn check(what: &'static str, text: &[u8], known: u32) -> Result<bool, Unreadable> {
    #[derive(Deserialize)]
    struct Versioned {
        version: Option<u32>,
    }
    let Versioned { version } = serde_json::from_slice(text)?;
    let Some(version) = version else { return Ok(false) };
    Newer::check(what, version, known).map_err(Unreadable::Newer)?;
    Ok(true)
}

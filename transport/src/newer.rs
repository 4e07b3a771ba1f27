//! Data that a newer release wrote, which this one must neither read nor remove.

/// The version of something stored is above the newest that this release knows.
///
/// It is not damaged: a newer release reads it. A reader that meets it leaves it where it is, reports it, and waits for the
/// upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{of} version {version} is newer than {known}, the newest that this release knows; upgrade kerntrail")]
pub struct Newer {
    /// What has the version, in one word: `schema`, `layout`, `record`, ...
    pub of: &'static str,
    /// Its version.
    pub version: u32,
    /// The newest version that is known.
    pub known: u32,
}

impl Newer {
    /// Whether `version` of something is at most the newest that is `known`.
    ///
    /// Errors: it is newer.
    pub fn check(of: &'static str, version: u32, known: u32) -> Result<(), Self> {
        if version > known { Err(Self { of, version, known }) } else { Ok(()) }
    }
}

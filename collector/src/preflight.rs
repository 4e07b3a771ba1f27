//! Whether this machine lets a collector see its kernel.

pub use kerntrail_ebpf::Missing;

/// The first thing that live collection lacks here, in a few words, and how to allow it.
///
/// Loads nothing. Errors: [`Missing`], whose text is one line.
pub fn preflight() -> Result<(), Missing> {
    kerntrail_ebpf::preflight()
}

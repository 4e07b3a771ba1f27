//! Whether this machine lets a collector see its kernel.

pub use kerntrail_ebpf::Missing;

/// Checks what live collection needs: the first thing that is missing is the error, with how to allow it.
///
/// Loads nothing; [`Missing`] is one line of text.
pub fn preflight() -> Result<(), Missing> {
    kerntrail_ebpf::preflight()
}

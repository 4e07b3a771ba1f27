//! The import formats: one module each, and the list of them.

mod tetragon;

use super::format::ImportFormat;

/// Every format, in the order in which a record is tried: recognition, help and documentation read this list.
pub const FORMATS: &[&dyn ImportFormat] = &[&tetragon::Tetragon];

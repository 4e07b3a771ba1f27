//! One module for each format that is imported.

pub(crate) mod tetragon;

//! Adapters of imported formats.

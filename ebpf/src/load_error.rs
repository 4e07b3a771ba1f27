//! Why loading fails.

use std::io;

use aya::maps::MapError;
use aya::{BtfError, EbpfError};

use crate::preflight::Missing;
use crate::refusal::Refusal;

/// Why the programs are not in the kernel, or a part of them can't be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The machine does not allow it.
    #[error("live collection is not possible here")]
    Missing(#[from] Missing),
    /// The kernel's type information can't be parsed.
    #[error("cannot read the kernel's BTF")]
    Btf(#[source] BtfError),
    /// The number of CPUs is unknown.
    #[error("cannot read {path}")]
    Cpus {
        /// File that has it.
        path: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Maps could not be made, or the object does not fit this kernel.
    #[error("cannot prepare the kernel programs")]
    Prepare(#[source] Box<EbpfError>),
    /// The kernel refused a program of a required probe.
    #[error("the kernel refused program {program}, which collection needs")]
    Refused {
        /// Which.
        program: &'static str,
        /// Why.
        source: Box<Refusal>,
    },
    /// The kernel could not take a program now, which says nothing about the program: a signal came in between, or memory
    /// or descriptors ran out.
    #[error("the kernel could not load program {program} this time: start again, with more memory or file descriptors")]
    TryAgain {
        /// Which.
        program: &'static str,
        /// Why.
        source: Box<Refusal>,
    },
    /// The programs were loaded without a filter.
    #[error("there is no filter: the programs were loaded with room for 0 cgroups")]
    NoFilter,
    /// The object lacks a program or map that this crate knows.
    #[error("the embedded object has no {0}, or it is of another type")]
    Object(&'static str),
    /// A map can't be used.
    #[error("cannot use map {map}")]
    Map {
        /// Which.
        map: &'static str,
        /// Why.
        source: Box<MapError>,
    },
    /// The counters or the ring can't be mapped or polled.
    #[error("cannot open {what}")]
    Open {
        /// Which.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

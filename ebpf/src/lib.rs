//! Kernel programs in C with CO-RE, the records they emit, and their loader.
//!
//! [`Programs::load`] puts the programs of `bpf/` into the kernel; [`Reader`] gives their records as bytes in the
//! layouts of [`records`]; [`Programs::existing`] gives the same for what already ran; [`Counters`] and
//! [`GapTracker`] say what was lost.
//!
//! Needs Linux 5.15 with BTF, and root or CAP_BPF and CAP_PERFMON (and CAP_SYS_ADMIN where tracefs is not mounted).
//! Uses BTF tracepoints, the tracepoints of single system calls and a task iterator, no kprobe, fentry or LSM program,
//! so it also loads under `lockdown=integrity`.
//!
//! Invariant: records are not interpreted here; that is the collector's `decode`.
//! Invariant: no event is dropped on this side; a record is handed out, or its number shows as missing.

mod batch;
pub mod loader;
pub mod loss;
pub mod preflight;
pub mod records;
pub mod ring;
mod tasks;
mod tracefs;

pub use batch::Batch;
pub use loader::{LoadError, LoadOptions, Programs};
pub use loss::{Counters, CpuCounters, Gap, GapTracker};
pub use preflight::{Missing, preflight};
pub use ring::Reader;

/// The compiled kernel programs: an ELF object for the BPF machine, with BTF.
pub fn object() -> &'static [u8] {
    /// The loader reads ELF structures in place.
    #[repr(C, align(8))]
    struct Aligned<T: ?Sized>(T);
    static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/kerntrail.bpf.o")));
    &OBJECT.0
}

//! Kernel programs in C with CO-RE, the records they emit, and their loader.
//!
//! [`probes`] declares what is collected; [`Programs::load`] puts the programs of `bpf/` into the kernel; [`Reader`]
//! gives their records as bytes in the declared layouts; [`Programs::existing`] gives the same for processes that
//! already ran; [`Filter`] decides which records are sent; [`Counters`] and [`GapTracker`] say what was lost.
//!
//! Needs Linux 5.15 with BTF, and root or CAP_BPF and CAP_PERFMON (and CAP_SYS_ADMIN where tracefs is not mounted).
//! Uses BTF tracepoints, the tracepoints of single system calls and a task iterator, no kprobe, fentry or LSM program,
//! so it also loads under `lockdown=integrity`. A kernel that refuses an optional probe runs the others.
//!
//! Invariant: records are not interpreted here; the collector's `decode` does that.
//! Invariant: no event is dropped on this side; a record is handed out, or its number shows as missing.

mod batch;
pub mod filter;
mod hook;
mod load_error;
mod loader;
pub mod loss;
pub mod preflight;
pub mod probes;
pub mod records;
mod refusal;
pub mod ring;
mod stats;
mod tasks;
mod tracefs;

pub use batch::Batch;
pub use filter::{Filter, FilterError, Verdict};
pub use hook::Hook;
pub use load_error::LoadError;
pub use loader::{LoadOptions, Programs};
pub use loss::{Counters, CpuCounters, Gap, GapTracker};
pub use preflight::{Missing, preflight};
pub use refusal::{Refusal, RefusedProbe};
pub use ring::Reader;
pub use stats::ProgramStats;
pub use tasks::TasksError;

/// The compiled kernel programs: an ELF object for the BPF machine, with BTF.
pub fn object() -> &'static [u8] {
    /// The loader reads ELF structures in place.
    #[repr(C, align(8))]
    struct Aligned<T: ?Sized>(T);
    static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/kerntrail.bpf.o")));
    &OBJECT.0
}

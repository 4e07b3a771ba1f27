//! Where kernel events come from: the kernel, or a script in tests.

use async_trait::async_trait;
use kerntrail_ebpf::CpuCounters;

use crate::decode::Context;
use crate::event::KernelEvent;

/// One record of the kernel side.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceRecord {
    /// Its number; `None` when it has none (see [`KernelEvent::is_filtered`]) or it could not be read.
    pub number: Option<Number>,
    /// The event, or why the record cannot be read.
    pub event: Result<KernelEvent, String>,
}

/// The number of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    /// Processor that numbered it.
    pub cpu: u32,
    /// Number on that processor.
    pub seq: u64,
    /// CLOCK_BOOTTIME, ns.
    pub boot_ns: u64,
}

impl From<KernelEvent> for SourceRecord {
    fn from(event: KernelEvent) -> Self {
        let number = Number { cpu: event.cpu, seq: event.seq, boot_ns: event.boot_ns };
        Self { number: Some(number), event: Ok(event) }
    }
}

/// A probe of the kernel side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeStatus {
    /// Its name.
    pub name: &'static str,
    /// Activities that are incomplete without it.
    pub activities: &'static [&'static str],
    /// The kernel's reason to refuse it; `None` when it runs.
    pub refused: Option<String>,
}

/// A source of kernel events.
///
/// Events are numbered from when the source was made; what is not taken waits in the kernel's ring, and what finds no
/// room there shows as a gap in the numbers.
#[async_trait]
pub trait EventSource: Send {
    /// The processes that are already running, in any order. Called once, before any other method.
    ///
    /// `context`: its node need not be complete yet.
    fn existing(&mut self, context: Context<'_>) -> Result<Vec<SourceRecord>, SourceError>;

    /// Waits for records and appends them to `into`: at least one.
    ///
    /// Cancel-safe: a record is taken only when it is handed out. Returns without a record when none will ever come.
    async fn next(&mut self, context: Context<'_>, into: &mut Vec<SourceRecord>) -> Result<(), SourceError>;

    /// Appends the records that wait, at most some thousands. Returns how many.
    fn take(&mut self, context: Context<'_>, into: &mut Vec<SourceRecord>) -> usize;

    /// The probes that run, and those that the kernel refused; this does not change while the source exists.
    fn probes(&self) -> Vec<ProbeStatus>;

    /// The kernel's own counts of numbers, losses and filtered events.
    fn counters(&mut self) -> Vec<CpuCounters>;

    /// Events that were not even numbered, since the source was made; those until [`Self::stop`], once it was called.
    fn missed(&mut self) -> u64;

    /// Stops the programs; what waits can still be taken.
    fn stop(&mut self);
}

/// What failed at a source.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation}")]
pub struct SourceError {
    /// What was tried.
    pub operation: &'static str,
    /// Why it failed.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

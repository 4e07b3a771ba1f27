//! The kernel as a source of events.

use std::path::PathBuf;

use async_trait::async_trait;
use kerntrail_common::error::chain;
use kerntrail_ebpf::{Batch, Counters, CpuCounters, LoadError, LoadOptions, Programs, Reader, records};

use crate::decode::{Context, decode};
use crate::source::{EventSource, Number, ProbeStatus, SourceError, SourceRecord};

/// The loaded kernel programs.
pub struct EbpfSource {
    programs: Programs,
    reader: Reader,
    counters: Counters,
    procfs: PathBuf,
    batch: Batch,
    missed: Missed,
}

/// The programs' count of runs that the kernel skipped.
#[derive(Default)]
struct Missed {
    /// As it was when it could last be read.
    count: u64,
    /// Whether the last attempt to read it failed.
    failed: bool,
    /// Whether the programs are no longer in the kernel, and their counts with them.
    stopped: bool,
}

impl Missed {
    /// Reads the count, unless the programs were stopped. When that fails, the value stays, and the log says so once.
    fn read(&mut self, programs: &Programs) -> u64 {
        if self.stopped {
            return self.count;
        }
        match programs.missed() {
            Ok(count) => (self.count, self.failed) = (count, false),
            Err(error) => {
                if !std::mem::replace(&mut self.failed, true) {
                    let error = chain(&error);
                    tracing::warn!(error, "cannot read how many runs of the programs the kernel skipped");
                }
            }
        }
        self.count
    }
}

impl EbpfSource {
    /// Loads and attaches the programs; `procfs` shows processes by their ids in the root pid namespace.
    ///
    /// Blocks for some tenths of a second; needs a tokio runtime. Errors: see [`LoadError`].
    pub fn load(ring_bytes: u32, procfs: PathBuf) -> Result<Self, LoadError> {
        Self::new(Programs::load(&LoadOptions { ring_bytes, ..LoadOptions::default() })?, procfs)
    }

    /// The source of programs that are already loaded. Needs a tokio runtime.
    pub fn new(mut programs: Programs, procfs: PathBuf) -> Result<Self, LoadError> {
        let counters = programs.counters()?;
        let reader = programs.reader()?;
        Ok(Self { programs, reader, counters, procfs, batch: Batch::new(), missed: Missed::default() })
    }
}

#[async_trait]
impl EventSource for EbpfSource {
    fn existing(&mut self, context: Context<'_>) -> Result<Vec<SourceRecord>, SourceError> {
        let batch = self.programs.existing(&self.procfs).map_err(|source| failed("list running processes", source))?;
        Ok(batch.iter().map(|record| read(record, context)).collect())
    }

    async fn next(&mut self, context: Context<'_>, into: &mut Vec<SourceRecord>) -> Result<(), SourceError> {
        self.reader.read(&mut self.batch).await.map_err(|source| failed("read the kernel's ring", source))?;
        into.extend(self.batch.iter().map(|record| read(record, context)));
        Ok(())
    }

    fn take(&mut self, context: Context<'_>, into: &mut Vec<SourceRecord>) -> usize {
        let taken = self.reader.take(&mut self.batch);
        into.extend(self.batch.iter().map(|record| read(record, context)));
        taken
    }

    fn probes(&self) -> Vec<ProbeStatus> {
        let running = self.programs.probes().iter().map(|probe| (*probe, None));
        let refused = self.programs.not_supported().iter().map(|it| (it.probe, Some(it.reason.clone())));
        running
            .chain(refused)
            .map(|(probe, refused)| ProbeStatus { name: probe.name, activities: probe.activities, refused })
            .collect()
    }

    fn counters(&mut self) -> Vec<CpuCounters> {
        self.counters.read()
    }

    fn missed(&mut self) -> u64 {
        self.missed.read(&self.programs)
    }

    fn stop(&mut self) {
        // The counts leave the kernel with the programs.
        self.missed.read(&self.programs);
        self.missed.stopped = true;
        self.programs.detach();
    }
}

fn read(record: &[u8], context: Context<'_>) -> SourceRecord {
    let header = records::read::<records::Header>(record).map(|(header, _)| header);
    let numbered = header.filter(|header| header.flags & records::flags::FILTERED == 0);
    let number = numbered.map(|header| Number { cpu: header.cpu, seq: header.seq, boot_ns: header.boot_ns });
    SourceRecord { number, event: decode(record, context).map_err(|error| error.to_string()) }
}

fn failed(operation: &'static str, source: impl std::error::Error + Send + Sync + 'static) -> SourceError {
    SourceError { operation, source: Box::new(source) }
}

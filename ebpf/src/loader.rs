//! Loads and attaches the programs.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use aya::maps::{Map, RingBuf};
use aya::programs::{Iter, ProgramError};
use aya::{Btf, Ebpf, EbpfLoader};

use crate::filter::Filter;
use crate::hook::{self, Hook};
use crate::load_error::LoadError;
use crate::loss::Counters;
use crate::preflight::preflight;
use crate::probes::{BpfProgram, CONCERNS, Concern, Need, Probe};
use crate::refusal::{Refusal, RefusedProbe};
use crate::stats::ProgramStats;
use crate::tasks::{self, TasksError};
use crate::{Batch, Reader, tracefs};

/// Sizes that are fixed at load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadOptions {
    /// Bytes of the ring; raised to a power of two of at least one page. Kernel memory.
    pub ring_bytes: u32,
    /// Live TCP sockets whose process is remembered, about 256 bytes of kernel memory each; the least recently used
    /// go first, and their close shows no process.
    pub sockets: u32,
    /// Cgroups that can have a filter of their own, about 80 bytes of kernel memory each; 0: no filter at all.
    pub filter_cgroups: u32,
}

impl Default for LoadOptions {
    /// 16 MiB: half a second of 20,000 execs a second. 32,768 sockets. 4,096 cgroups.
    fn default() -> Self {
        Self { ring_bytes: 16 << 20, sockets: 1 << 15, filter_cgroups: 1 << 12 }
    }
}

/// The programs, loaded and attached; dropping it takes them out of the kernel.
pub struct Programs {
    ebpf: Ebpf,
    cpus: usize,
    options: LoadOptions,
    /// Those that are in the kernel.
    probes: Vec<&'static Probe>,
    not_supported: Vec<RefusedProbe>,
}

impl Programs {
    /// Loads all programs and attaches them: events are numbered and put into the ring from now on.
    ///
    /// An optional probe that the kernel refuses is left out: see [`Self::not_supported`]. It is not refused when memory
    /// or descriptors ran out; that is [`LoadError::TryAgain`]. Blocks for some tenths of a
    /// second (the verifier). Errors: see [`LoadError`]; nothing stays in the kernel.
    pub fn load(options: &LoadOptions) -> Result<Self, LoadError> {
        preflight()?;
        Self::load_concerns(options, CONCERNS)
    }

    /// As [`Self::load`], but of `concerns` only. Tests declare hooks that the kernel lacks.
    pub fn load_concerns(options: &LoadOptions, concerns: &[Concern]) -> Result<Self, LoadError> {
        let btf = Btf::from_sys_fs().map_err(LoadError::Btf)?;
        Self::load_with_btf(options, &btf, concerns)
    }

    /// As [`Self::load_concerns`], but fitted to the types of `btf` instead of the kernel's own. Tests imitate kernels that
    /// lack a field.
    pub fn load_with_btf(options: &LoadOptions, btf: &Btf, concerns: &[Concern]) -> Result<Self, LoadError> {
        let cpus = aya::util::nr_cpus().map_err(|(path, source)| LoadError::Cpus { path, source })?;
        let ebpf = prepare(options, btf, cpus, concerns)?;
        let probes = concerns.iter().flat_map(|concern| concern.probes).collect();
        let mut programs = Self { ebpf, cpus, options: *options, probes, not_supported: Vec::new() };
        programs.with_each(|ebpf, program| load(ebpf, program, btf))?;
        tracefs::with_tracefs(|tracefs| programs.with_each(|ebpf, program| attach(ebpf, program, &tracefs)))?;
        Ok(programs)
    }

    /// Takes `step` with each program. A probe with a refused program is taken out; a required one fails the load, and so does an
    /// error that a further attempt may not meet.
    fn with_each(
        &mut self,
        step: impl Fn(&mut Ebpf, &'static BpfProgram) -> Result<(), StepError>,
    ) -> Result<(), LoadError> {
        for probe in std::mem::take(&mut self.probes) {
            let missing = probe.depends_on.filter(|name| !self.probes.iter().any(|probe| probe.name == *name));
            let mut programs = probe.programs.iter();
            let refused = programs.find_map(|program| {
                let done = match missing {
                    Some(name) => Err(StepError::Refused(Refusal::DependsOn(name))),
                    None => step(&mut self.ebpf, program),
                };
                done.err().map(|error| (program.name, error))
            });
            match refused {
                None => self.probes.push(probe),
                Some((_, StepError::Object(program))) => return Err(LoadError::Object(program)),
                Some((program, StepError::Refused(source))) if source.is_transient() => {
                    return Err(LoadError::TryAgain { program, source: Box::new(source) });
                }
                Some((program, StepError::Refused(source))) if probe.need == Need::Required => {
                    return Err(LoadError::Refused { program, source: Box::new(source) });
                }
                Some((program, StepError::Refused(refusal))) => {
                    unload(&mut self.ebpf, probe);
                    self.not_supported.push(RefusedProbe::new(probe, program, &refusal));
                }
            }
        }
        Ok(())
    }

    /// The probes that are in the kernel.
    pub fn probes(&self) -> &[&'static Probe] {
        &self.probes
    }

    /// The optional probes that this kernel refused, and why; they are not tried again.
    pub fn not_supported(&self) -> &[RefusedProbe] {
        &self.not_supported
    }

    fn programs(&self) -> impl Iterator<Item = &'static BpfProgram> {
        self.probes.iter().flat_map(|probe| probe.programs)
    }

    /// The filter; there is only one, so a second call fails. Everything passes until it is changed.
    pub fn filter(&mut self) -> Result<Filter, LoadError> {
        if self.options.filter_cgroups == 0 {
            return Err(LoadError::NoFilter);
        }
        let mut take = |name| self.ebpf.take_map(name).ok_or(LoadError::Object(name));
        let (cgroups, defaults) = (take("filters")?, take("filter_default")?);
        let unusable = |map| move |source| LoadError::Map { map, source: Box::new(source) };
        Ok(Filter::new(
            cgroups.try_into().map_err(unusable("filters"))?,
            defaults.try_into().map_err(unusable("filter_default"))?,
            self.options.filter_cgroups,
        ))
    }

    /// The reader of the ring; there is only one, so a second call fails. Needs a tokio runtime.
    pub fn reader(&mut self) -> Result<Reader, LoadError> {
        let map = self.ebpf.take_map("events").ok_or(LoadError::Object("events"))?;
        let ring =
            RingBuf::try_from(map).map_err(|source| LoadError::Map { map: "events", source: Box::new(source) })?;
        Reader::new(ring).map_err(|source| LoadError::Open { what: "the ring", source })
    }

    /// The kernel's account of numbers and losses; it stays readable after [`Self::detach`].
    pub fn counters(&self) -> Result<Counters, LoadError> {
        let Some(Map::Array(map)) = self.ebpf.map("cpus") else { return Err(LoadError::Object("cpus")) };
        Counters::map(map.fd().as_fd(), self.cpus).map_err(|source| LoadError::Open { what: "the counters", source })
    }

    /// A record of kind `existing` for each process, kernel threads too. Blocks for about 40 µs a process.
    ///
    /// Arguments come from `procfs`, which must be of the root pid namespace; those that it does not have are flagged
    /// as unread. Call it right after [`Self::load`]: what starts in between is both in here and in the ring.
    pub fn existing(&mut self, procfs: &Path) -> Result<Batch, TasksError> {
        let iterator = self.programs().find(|program| program.hook == Hook::TaskIterator);
        let program = iterator.and_then(|program| self.ebpf.program_mut(program.name));
        match program.map(TryInto::<&mut Iter>::try_into) {
            Some(Ok(program)) => tasks::run(program, procfs),
            Some(Err(source)) => Err(TasksError::Attach(source)),
            None => Err(TasksError::Attach(ProgramError::NotLoaded)),
        }
    }

    /// How often the kernel skipped a program because another BPF program or a bpf(2) call was running on the same
    /// CPU. Such events have no number: this count is the only trace of them (kernel 6.7; 0 before).
    pub fn missed(&self) -> io::Result<u64> {
        let counted: Vec<_> = self.programs().filter(|program| program.skipped_is_lost).collect();
        let stats = counted.into_iter().map(|program| self.stats_of(program));
        stats.map(|stats| stats.map(|stats| stats.skipped)).sum()
    }

    /// What the kernel counts of each program that is loaded.
    pub fn stats(&self) -> io::Result<Vec<ProgramStats>> {
        self.programs().map(|program| self.stats_of(program)).collect()
    }

    fn stats_of(&self, program: &'static BpfProgram) -> io::Result<ProgramStats> {
        let fd = self.ebpf.program(program.name).and_then(|program| program.fd().ok());
        fd.map_or(Ok(ProgramStats::none(program.name)), |fd| ProgramStats::read(program.name, fd.as_fd()))
    }

    /// Takes the programs out of the kernel. What is in the ring can still be read, and then nothing more comes.
    pub fn detach(&mut self) {
        for probe in &self.probes {
            unload(&mut self.ebpf, probe);
        }
    }
}

/// Why a step failed.
enum StepError {
    /// The object has no such program.
    Object(&'static str),
    /// The kernel does not want it.
    Refused(Refusal),
}

/// The verifier gives up with EAGAIN when a signal comes in between.
const LOAD_RETRIES: usize = 10;

fn was_interrupted(loaded: &Result<(), ProgramError>) -> bool {
    matches!(loaded, Err(ProgramError::LoadError { io_error, .. }) if io_error.raw_os_error() == Some(libc::EAGAIN))
}

fn prepare(options: &LoadOptions, btf: &Btf, cpus: usize, concerns: &[Concern]) -> Result<Ebpf, LoadError> {
    let ring_bytes = options.ring_bytes.max(4096).checked_next_power_of_two().unwrap_or(1 << 31);
    let wake_bytes = u64::from(ring_bytes) / 8;
    let with_filter = u8::from(options.filter_cgroups > 0);
    let mut loader = EbpfLoader::new();
    loader
        .btf(Some(btf))
        .map_max_entries("events", ring_bytes)
        .map_max_entries("cpus", u32::try_from(cpus).unwrap_or(u32::MAX))
        .map_max_entries("filters", options.filter_cgroups.max(1))
        .override_global("wake_bytes", &wake_bytes, true)
        .override_global("with_filter", &with_filter, true);
    for size in concerns.iter().flat_map(|concern| concern.maps) {
        loader.map_max_entries(size.map, (size.entries)(options).max(1));
    }
    loader.load(crate::object()).map_err(|source| LoadError::Prepare(Box::new(source)))
}

fn load(ebpf: &mut Ebpf, program: &'static BpfProgram, btf: &Btf) -> Result<(), StepError> {
    let loadable = ebpf.program_mut(program.name).ok_or(StepError::Object(program.name))?;
    let mut loaded = program.hook.load(loadable, btf);
    for _ in 0..LOAD_RETRIES {
        if !was_interrupted(&loaded) {
            break;
        }
        loaded = program.hook.load(loadable, btf);
    }
    loaded.map_err(|error| StepError::Refused(Refusal::of_load(error)))
}

fn attach(ebpf: &mut Ebpf, program: &'static BpfProgram, tracefs: &io::Result<()>) -> Result<(), StepError> {
    if let Err(error) = tracefs
        && program.hook.needs_tracefs()
    {
        let error = error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error);
        return Err(StepError::Refused(Refusal::Tracefs(error)));
    }
    let loaded = ebpf.program_mut(program.name).ok_or(StepError::Object(program.name))?;
    program
        .hook
        .attach(loaded)
        .map_err(|source| StepError::Refused(Refusal::Attach { hook: program.hook.section(), source }))
}

fn unload(ebpf: &mut Ebpf, probe: &Probe) {
    for program in probe.programs {
        if let Some(program) = ebpf.program_mut(program.name) {
            hook::unload(program);
        }
    }
}

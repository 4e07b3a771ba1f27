//! What was lost or filtered: the kernel's counters, and the gaps in the numbers of the records that came.
//!
//! [`GapTracker`] sees every record and knows which numbers are missing; [`Counters`] has the kernel's own counts, by
//! kind, and what was lost after the last record. A test checks that both agree.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::probes;
use crate::records::{self, CpuSlot, Header, MAX_KINDS};

/// The kernel's counters, mapped: reading them takes no system call, so it keeps no program from running.
///
/// (While a process is inside bpf(2), the tracepoint programs of its CPU are skipped; see [`crate::Programs::missed`].)
#[derive(Debug)]
pub struct Counters {
    slots: NonNull<CpuSlot>,
    cpus: usize,
}

// SAFETY: the mapping belongs to this value alone and is only read, by atomic loads.
unsafe impl Send for Counters {}
// SAFETY: as above.
unsafe impl Sync for Counters {}

/// Counters of one CPU since the programs were loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuCounters {
    /// The CPU.
    pub cpu: u32,
    /// Number that its next record will take.
    pub next_seq: u64,
    /// Records lost, by kind.
    pub lost: [u64; MAX_KINDS],
    /// Events that the filter dropped, by kind.
    pub filtered: [u64; MAX_KINDS],
    /// Records for the process table alone that were lost: filtered, so not missing, but of use to it.
    pub context_lost: u64,
}

impl Default for CpuCounters {
    fn default() -> Self {
        Self { cpu: 0, next_seq: 0, lost: [0; MAX_KINDS], filtered: [0; MAX_KINDS], context_lost: 0 }
    }
}

impl CpuCounters {
    /// Records lost, of all kinds.
    pub fn lost_total(&self) -> u64 {
        self.lost.iter().sum()
    }

    /// Kinds lost since `earlier`, with their number.
    pub fn lost_since(&self, earlier: &CpuCounters) -> Vec<(&'static str, u64)> {
        let since = |kind: u32| self.lost[kind as usize].saturating_sub(earlier.lost[kind as usize]);
        probes::records().map(|record| (record.name, since(record.kind))).filter(|(_, lost)| *lost > 0).collect()
    }
}

impl Counters {
    /// Maps the map `cpus`, which has `cpus` entries.
    pub(crate) fn map(fd: BorrowedFd<'_>, cpus: usize) -> io::Result<Self> {
        // SAFETY: a fresh shared mapping at an address of the kernel's choice touches no memory of ours.
        let address = unsafe {
            libc::mmap(std::ptr::null_mut(), Self::bytes(cpus), libc::PROT_READ, libc::MAP_SHARED, fd.as_raw_fd(), 0)
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let slots = NonNull::new(address.cast()).ok_or_else(|| io::Error::other("mmap gave address 0"))?;
        Ok(Self { slots, cpus })
    }

    fn bytes(cpus: usize) -> usize {
        cpus * size_of::<CpuSlot>()
    }

    /// The mapping as atomic words, as the kernel writes it.
    fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is `bytes` long, page-aligned, all u64, lives as long as `self`, and nobody on this
        // side writes it.
        unsafe { std::slice::from_raw_parts(self.slots.as_ptr().cast(), Self::bytes(self.cpus) / size_of::<u64>()) }
    }

    /// Reads the counters of all CPUs, one after the other.
    pub fn read(&self) -> Vec<CpuCounters> {
        (0..).zip(self.words().as_chunks().0).map(|(cpu, slot)| read_slot(cpu, slot)).collect()
    }
}

const SLOT_WORDS: usize = size_of::<CpuSlot>() / size_of::<u64>();
const NEXT_SEQ: usize = std::mem::offset_of!(CpuSlot, next_seq) / size_of::<u64>();
const LOST: usize = std::mem::offset_of!(CpuSlot, lost) / size_of::<u64>();
const FILTERED: usize = std::mem::offset_of!(CpuSlot, filtered) / size_of::<u64>();
const CONTEXT_LOST: usize = std::mem::offset_of!(CpuSlot, context_lost) / size_of::<u64>();

fn read_slot(cpu: u32, slot: &[AtomicU64; SLOT_WORDS]) -> CpuCounters {
    let word = |at: usize| slot[at].load(Ordering::Relaxed);
    CpuCounters {
        cpu,
        next_seq: word(NEXT_SEQ),
        lost: std::array::from_fn(|kind| word(LOST + kind)),
        filtered: std::array::from_fn(|kind| word(FILTERED + kind)),
        context_lost: word(CONTEXT_LOST),
    }
}

impl Drop for Counters {
    fn drop(&mut self) {
        // SAFETY: the address and length of the mapping made in `map`, unmapped once.
        unsafe { libc::munmap(self.slots.as_ptr().cast(), Self::bytes(self.cpus)) };
    }
}

/// Numbers of one CPU that never arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The CPU.
    pub cpu: u32,
    /// First missing number.
    pub from_seq: u64,
    /// Last missing number.
    pub to_seq: u64,
    /// Time of the record before (CLOCK_BOOTTIME ns); 0 when there was none.
    pub start_boot_ns: u64,
    /// Time of the record after; 0 when there was none.
    pub end_boot_ns: u64,
}

impl Gap {
    /// How many numbers it spans.
    pub fn lost(&self) -> u64 {
        self.to_seq - self.from_seq + 1
    }
}

/// A missing number may still arrive for so long: its program was interrupted between number and ring.
pub const SETTLE_NS: u64 = 1_000_000_000;

#[derive(Debug, Default)]
struct CpuGaps {
    next: u64,
    last_boot_ns: u64,
    open: Vec<Gap>,
}

/// Finds the numbers that are missing. Feed it every record of the ring.
///
/// Holds the open gaps only: a full ring makes one gap, however many records it lost.
#[derive(Debug, Default)]
pub struct GapTracker {
    cpus: BTreeMap<u32, CpuGaps>,
}

impl GapTracker {
    /// Nothing seen yet: each CPU starts at number 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes the number of a record, if it has one.
    pub fn observe_record(&mut self, record: &[u8]) {
        if let Some((header, _)) = records::read::<Header>(record)
            && header.is_numbered()
        {
            self.observe(header.cpu, header.seq, header.boot_ns);
        }
    }

    /// Notes a number.
    pub fn observe(&mut self, cpu: u32, seq: u64, boot_ns: u64) {
        let gaps = self.cpus.entry(cpu).or_default();
        if seq < gaps.next {
            gaps.close(seq);
            return;
        }
        if seq > gaps.next {
            let gap = Gap {
                cpu,
                from_seq: gaps.next,
                to_seq: seq - 1,
                start_boot_ns: gaps.last_boot_ns,
                end_boot_ns: boot_ns,
            };
            gaps.open.push(gap);
        }
        gaps.next = seq + 1;
        gaps.last_boot_ns = boot_ns;
    }

    /// Takes out the gaps that will stay: those whose following record is older than [`SETTLE_NS`] at `now_boot_ns`.
    pub fn settled(&mut self, now_boot_ns: u64) -> Vec<Gap> {
        let settled = |gap: &mut Gap| gap.end_boot_ns + SETTLE_NS <= now_boot_ns;
        self.cpus.values_mut().flat_map(|gaps| gaps.open.extract_if(.., settled)).collect()
    }

    /// Takes out all gaps, including what was lost after the last record according to the kernel's counters.
    ///
    /// Call it when the programs are detached and the ring is drained.
    pub fn finish(&mut self, counters: &[CpuCounters]) -> Vec<Gap> {
        for counter in counters {
            let gaps = self.cpus.entry(counter.cpu).or_default();
            if counter.next_seq > gaps.next {
                gaps.open.push(Gap {
                    cpu: counter.cpu,
                    from_seq: gaps.next,
                    to_seq: counter.next_seq - 1,
                    start_boot_ns: gaps.last_boot_ns,
                    end_boot_ns: 0,
                });
                gaps.next = counter.next_seq;
            }
        }
        self.cpus.values_mut().flat_map(|gaps| gaps.open.drain(..)).collect()
    }
}

impl CpuGaps {
    /// A missing number arrived after all: the gap around it shrinks, splits or closes.
    fn close(&mut self, seq: u64) {
        let Some(at) = self.open.iter().rposition(|gap| (gap.from_seq..=gap.to_seq).contains(&seq)) else { return };
        let gap = self.open.remove(at);
        if gap.from_seq < seq {
            self.open.push(Gap { to_seq: seq - 1, ..gap });
        }
        if seq < gap.to_seq {
            self.open.push(Gap { from_seq: seq + 1, ..gap });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probes::process::kind;

    fn gaps(seqs: &[u64], next_seq: u64) -> Vec<(u64, u64)> {
        let mut tracker = GapTracker::new();
        for (boot_ns, seq) in (1..).zip(seqs) {
            tracker.observe(3, *seq, boot_ns);
        }
        let counters = CpuCounters { cpu: 3, next_seq, ..CpuCounters::default() };
        let mut gaps: Vec<_> = tracker.finish(&[counters]).iter().map(|gap| (gap.from_seq, gap.to_seq)).collect();
        gaps.sort_unstable();
        gaps
    }

    #[test]
    fn missing_numbers_become_gaps() {
        let cases: &[(&[u64], u64, &[(u64, u64)])] = &[
            (&[], 0, &[]),
            (&[0, 1, 2], 3, &[]),
            (&[], 4, &[(0, 3)]),
            (&[2, 3], 4, &[(0, 1)]),
            (&[0, 3, 7], 8, &[(1, 2), (4, 6)]),
            (&[0, 1], 5, &[(2, 4)]),
            // Neighbors swapped: no loss.
            (&[0, 2, 1, 3], 4, &[]),
            (&[0, 5, 4, 2, 6], 7, &[(1, 1), (3, 3)]),
            // A number twice changes nothing.
            (&[0, 0, 1, 3, 3], 4, &[(2, 2)]),
        ];
        for (seqs, next_seq, expected) in cases {
            assert_eq!(gaps(seqs, *next_seq), *expected, "{seqs:?} {next_seq}");
        }
    }

    #[test]
    fn a_gap_settles_when_its_end_is_old_enough() {
        let mut tracker = GapTracker::new();
        tracker.observe(0, 0, 10);
        tracker.observe(0, 2, 20);
        assert_eq!(tracker.settled(20 + SETTLE_NS - 1), []);
        let expected = Gap { cpu: 0, from_seq: 1, to_seq: 1, start_boot_ns: 10, end_boot_ns: 20 };
        assert_eq!(tracker.settled(20 + SETTLE_NS), [expected]);
        assert_eq!(tracker.settled(u64::MAX), []);
    }

    #[test]
    fn lost_records_are_counted_by_kind() {
        let mut now = CpuCounters::default();
        now.lost[kind::EXEC as usize] = 5;
        now.lost[kind::FORK as usize] = 2;
        let mut then = CpuCounters::default();
        then.lost[kind::FORK as usize] = 2;
        assert_eq!(now.lost_since(&then), [("exec", 5)]);
        assert_eq!(now.lost_total(), 7);
    }
}

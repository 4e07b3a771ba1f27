//! What is missing, as rows of `event_loss`.
//!
//! A row about numbered events takes the processor and the first of their numbers, which no stored event has, so its
//! `event_id` is unique. Other rows are numbered by the collector itself, on processor -1.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use kerntrail_ebpf::{CpuCounters, Gap, GapTracker};
use kerntrail_schemas::Activity;
use kerntrail_schemas::tables::LossColumns;
use kerntrail_schemas::tables::event_loss::{
    COLLECTOR_DOWN, DECODE_ERROR, NOT_RUN, NOT_SUPPORTED, RING_FULL, TABLE_FULL,
};

use crate::batch::RowNumber;
use crate::clock::BootClock;
use crate::metrics as names;
use crate::source::Number;
use crate::state::LastRun;

/// Processor of numbers that the collector gives.
const OWN_CPU: i32 = -1;

/// A row of `event_loss`.
#[derive(Clone, Debug, PartialEq)]
pub struct Loss {
    /// Its time and number.
    pub number: RowNumber,
    /// Why something is missing.
    pub activity: &'static Activity,
    /// For rows about process context: records or processes that the row stands for; else 1.
    pub count: i64,
    /// What is missing.
    pub columns: LossColumns,
}

/// Finds what is missing.
#[derive(Debug, Default)]
pub struct Losses {
    gaps: GapTracker,
    /// Lost records by processor as they were when the last gap of it was reported.
    reported: BTreeMap<u32, CpuCounters>,
    missed: u64,
    context_lost: u64,
    /// When the counters were last looked at.
    looked_ns: u64,
    next_own: i64,
    /// When the programs were loaded.
    started_ns: u64,
}

impl Losses {
    /// Nothing seen; the programs were loaded at `started_ns`.
    pub fn new(started_ns: u64) -> Self {
        Self { started_ns, looked_ns: started_ns, ..Self::default() }
    }

    /// Notes a number that arrived.
    pub fn came(&mut self, number: Number) {
        // Records of the task iterator are numbered apart, and none of them is lost.
        if number.cpu != kerntrail_ebpf::records::EXISTING_CPU {
            self.gaps.observe(number.cpu, number.seq, number.boot_ns);
        }
    }

    /// Rows for the gaps that will not close any more at `now_ns`.
    pub fn settled(&mut self, now_ns: u64, counters: &[CpuCounters], clock: &BootClock) -> Vec<Loss> {
        let gaps = self.gaps.settled(now_ns);
        self.rows(&gaps, now_ns, counters, clock)
    }

    /// Rows for all gaps, once nothing more will come.
    pub fn finish(&mut self, now_ns: u64, counters: &[CpuCounters], clock: &BootClock) -> Vec<Loss> {
        let gaps = self.gaps.finish(counters);
        self.rows(&gaps, now_ns, counters, clock)
    }

    fn rows(&mut self, gaps: &[Gap], now_ns: u64, counters: &[CpuCounters], clock: &BootClock) -> Vec<Loss> {
        let mut rows: Vec<Loss> = gaps.iter().map(|gap| self.ring_full(gap, now_ns, counters, clock)).collect();
        rows.extend(self.context_lost(now_ns, counters, clock));
        rows
    }

    /// The row for filtered events whose records the process table needs, but for which the ring had no room.
    fn context_lost(&mut self, now_ns: u64, counters: &[CpuCounters], clock: &BootClock) -> Option<Loss> {
        let since_ns = std::mem::replace(&mut self.looked_ns, now_ns);
        let total: u64 = counters.iter().map(|cpu| cpu.context_lost).sum();
        let lost = total.checked_sub(self.context_lost).filter(|lost| *lost > 0)?;
        self.context_lost = total;
        Some(self.without_context(&RING_FULL, lost, since_ns, now_ns, clock))
    }

    fn ring_full(&mut self, gap: &Gap, now_ns: u64, counters: &[CpuCounters], clock: &BootClock) -> Loss {
        let start = if gap.start_boot_ns == 0 { self.started_ns } else { gap.start_boot_ns };
        let end = if gap.end_boot_ns == 0 { now_ns } else { gap.end_boot_ns };
        count_lost(&RING_FULL, gap.lost());
        Loss {
            number: RowNumber { boot_ns: end, cpu: gap.cpu.cast_signed(), seq: gap.from_seq.cast_signed() },
            activity: &RING_FULL,
            count: 1,
            columns: LossColumns {
                from_seq: Some(gap.from_seq.cast_signed()),
                to_seq: Some(gap.to_seq.cast_signed()),
                lost: Some(gap.lost().cast_signed()),
                start_time: Some(clock.utc(start)),
                end_time: Some(clock.utc(end)),
                event_kind: self.kinds(gap.cpu, counters),
            },
        }
    }

    /// Kinds that were lost on `cpu` since the last gap there.
    fn kinds(&mut self, cpu: u32, counters: &[CpuCounters]) -> Option<String> {
        let now = counters.iter().find(|counter| counter.cpu == cpu)?;
        let then = self.reported.insert(cpu, *now).unwrap_or_default();
        let kinds: Vec<&str> = now.lost_since(&then).into_iter().map(|(kind, _)| kind).collect();
        (!kinds.is_empty()).then(|| kinds.join(","))
    }

    /// The row for a record that could not be read.
    pub fn undecodable(&mut self, number: Option<Number>, now_ns: u64, clock: &BootClock) -> Loss {
        count_lost(&DECODE_ERROR, 1);
        let Some(number) = number else {
            let columns = LossColumns { lost: Some(1), end_time: Some(clock.utc(now_ns)), ..LossColumns::default() };
            return self.own(&DECODE_ERROR, now_ns, 1, columns);
        };
        let time = Some(clock.utc(number.boot_ns));
        let seq = number.seq.cast_signed();
        Loss {
            number: RowNumber { boot_ns: number.boot_ns, cpu: number.cpu.cast_signed(), seq },
            activity: &DECODE_ERROR,
            count: 1,
            columns: LossColumns {
                from_seq: Some(seq),
                to_seq: Some(seq),
                lost: Some(1),
                start_time: time,
                end_time: time,
                event_kind: None,
            },
        }
    }

    /// The row for processes that the table had no room for: no event is lost, only their context.
    pub fn table_full(&mut self, refused: u64, since_ns: u64, now_ns: u64, clock: &BootClock) -> Loss {
        self.without_context(&TABLE_FULL, refused, since_ns, now_ns, clock)
    }

    /// The row for `count` records or processes without which later rows lack context, but no event is missing.
    fn without_context(
        &mut self,
        activity: &'static Activity,
        count: u64,
        since_ns: u64,
        now_ns: u64,
        clock: &BootClock,
    ) -> Loss {
        let columns = LossColumns {
            lost: Some(0),
            start_time: Some(clock.utc(since_ns)),
            end_time: Some(clock.utc(now_ns)),
            event_kind: Some("process context".into()),
            ..LossColumns::default()
        };
        self.own(activity, now_ns, count.cast_signed(), columns)
    }

    /// The row for activities whose probes this kernel refuses; `covers_ns` may reach beyond `now_ns`.
    pub(crate) fn not_supported(
        &mut self,
        activities: &BTreeSet<&str>,
        covers_ns: Range<u64>,
        now_ns: u64,
        clock: &BootClock,
    ) -> Loss {
        let columns = LossColumns {
            start_time: Some(clock.utc(covers_ns.start)),
            end_time: Some(clock.utc(covers_ns.end)),
            event_kind: Some(activities.iter().copied().collect::<Vec<_>>().join(",")),
            ..LossColumns::default()
        };
        self.own(&NOT_SUPPORTED, now_ns, 1, columns)
    }

    /// The row for events that the kernel did not even number, when `missed` of them is more than before.
    pub fn missed(&mut self, missed: u64, since_ns: u64, now_ns: u64, clock: &BootClock) -> Option<Loss> {
        let lost = missed.checked_sub(self.missed).filter(|lost| *lost > 0)?;
        self.missed = missed;
        count_lost(&NOT_RUN, lost);
        let columns = LossColumns {
            lost: Some(lost.cast_signed()),
            start_time: Some(clock.utc(since_ns)),
            end_time: Some(clock.utc(now_ns)),
            ..LossColumns::default()
        };
        Some(self.own(&NOT_RUN, now_ns, 1, columns))
    }

    /// The row for the time between the last run and this one.
    pub(crate) fn collector_down(&mut self, last: &LastRun, clock: &BootClock) -> Loss {
        let columns = LossColumns {
            start_time: Some(last.time),
            end_time: Some(clock.utc(self.started_ns)),
            ..LossColumns::default()
        };
        self.own(&COLLECTOR_DOWN, self.started_ns, 1, columns)
    }

    fn own(&mut self, activity: &'static Activity, boot_ns: u64, count: i64, columns: LossColumns) -> Loss {
        let seq = self.next_own;
        self.next_own += 1;
        Loss { number: RowNumber { boot_ns, cpu: OWN_CPU, seq }, activity, count, columns }
    }
}

fn count_lost(reason: &'static Activity, lost: u64) {
    metrics::counter!(names::EVENTS_LOST, "reason" => reason.name).increment(lost);
}

//! Losses are counted exactly.

use std::process::Command;

use kerntrail_ebpf::probes::{self, process::kind};
use kerntrail_ebpf::records::{self, Header};
use kerntrail_ebpf::{CpuCounters, GapTracker, LoadOptions};

use crate::live::Live;

/// Records that arrived, numbers missing, and the kernel's counters after `work` with a ring of `ring_bytes`.
fn account(ring_bytes: u32, work: impl FnOnce(&mut Live)) -> Option<(u64, u64, Vec<CpuCounters>)> {
    let mut live = Live::with(LoadOptions { ring_bytes, ..LoadOptions::default() })?;
    let counters = live.programs.counters().unwrap();
    work(&mut live);
    live.finish();
    let counters = counters.read();
    let mut tracker = GapTracker::new();
    for record in &live.records {
        tracker.observe_record(record);
    }
    let missing = tracker.finish(&counters).iter().map(|gap| gap.lost()).sum();
    Some((live.records.len() as u64, missing, counters))
}

#[test]
fn a_full_ring_loses_exactly_the_numbers_that_are_missing() {
    let run = |_: &mut Live| {
        for _ in 0..40 {
            Command::new("/bin/true").arg("x".repeat(300)).status().unwrap();
        }
    };
    // One page: room for a few records.
    let Some((came, missing, counters)) = account(1, run) else { return };
    let lost: u64 = counters.iter().map(CpuCounters::lost_total).sum();
    let numbered: u64 = counters.iter().map(|cpu| cpu.next_seq).sum();
    assert!(came > 0 && lost > 0, "{came} came, {lost} lost");
    assert_eq!(missing, lost);
    assert_eq!(came + lost, numbered);
    // 40 forks, execs and exits at least, of which each kind lost some.
    assert!(numbered >= 120, "{numbered}");
    for kind in [kind::FORK, kind::EXEC, kind::EXIT] {
        assert!(counters.iter().any(|cpu| cpu.lost[kind as usize] > 0), "{}", probes::record(kind).unwrap().name);
    }
}

#[test]
fn nothing_is_lost_in_a_ring_that_is_large_enough() {
    let run = |live: &mut Live| {
        for _ in 0..50 {
            live.run(&mut Command::new("/bin/true"));
        }
    };
    let Some((came, missing, counters)) = account(4 << 20, run) else { return };
    assert!(came >= 150);
    assert_eq!(missing, 0);
    assert_eq!(counters.iter().map(|cpu| cpu.next_seq).sum::<u64>(), came);
    assert!(counters.iter().all(|cpu| cpu.lost_total() == 0));
}

#[test]
fn each_cpu_has_its_own_numbers() {
    let Some(mut live) = Live::start() else { return };
    for _ in 0..20 {
        live.run(&mut Command::new("/bin/true"));
    }
    live.finish();
    let mut seen = std::collections::BTreeSet::new();
    for record in &live.records {
        let (header, _) = records::read::<Header>(record).unwrap();
        assert!(seen.insert((header.cpu, header.seq)), "twice: {header:?}");
    }
}

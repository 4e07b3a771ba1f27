//! Probes that this kernel refuses: logged once, shown in a metric, and recorded in rows of `event_loss`.
//!
//! There is one row at a time for all of them: it names each activity once, also when several probes of it are refused.
//! A row that was written cannot be extended, so each row covers a time that is still to come: the first one from the
//! start of the programs to ten minutes from now, the next one from where that ends, and so on. A query for any time of
//! the run, the present too, finds a row that overlaps it. The last row may reach past the end of the run, when nothing is
//! collected anyway. Probes are tried at the start only, so even after a crash the first row of a stream holds for the
//! whole stream.

use std::collections::BTreeSet;

use crate::clock::BootClock;
use crate::loss::{Loss, Losses};
use crate::metrics as names;
use crate::source::ProbeStatus;

/// How far a row reaches beyond the time at which it is made, ns.
const COVERS_NS: u64 = 600_000_000_000;
/// How long before the end of a row the next one is made, ns: long enough for it to be in the lake by then.
const AHEAD_NS: u64 = 60_000_000_000;

/// What this kernel does not support.
#[derive(Debug)]
pub(crate) struct NotSupportedRows {
    refused: Vec<&'static str>,
    /// Activities that are incomplete without them, in alphabetical order.
    activities: BTreeSet<&'static str>,
    /// Rows cover the time until here; it may be still to come.
    covered_ns: u64,
}

impl NotSupportedRows {
    /// Of `probes`, in a run that began at `started_ns`. Logs those that were refused.
    pub(crate) fn new(probes: Vec<ProbeStatus>, started_ns: u64) -> Self {
        for probe in &probes {
            let up = if probe.refused.is_none() { 1.0 } else { 0.0 };
            metrics::gauge!(names::PROBE_UP, "probe" => probe.name).set(up);
            if let Some(reason) = &probe.refused {
                let (probe, activities) = (probe.name, probe.activities.join(","));
                tracing::warn!(
                    probe,
                    activities,
                    reason,
                    "this kernel does not support a probe; its events are missing"
                );
            }
        }
        let refused = || probes.iter().filter(|probe| probe.refused.is_some());
        Self {
            refused: refused().map(|probe| probe.name).collect(),
            activities: refused().flat_map(|probe| probe.activities).copied().collect(),
            covered_ns: started_ns,
        }
    }

    /// Names of the refused probes.
    pub(crate) fn names(&self) -> &[&'static str] {
        &self.refused
    }

    /// The row that is due at `now_ns`; `None` while the last one still covers enough time.
    pub(crate) fn due(&mut self, now_ns: u64, losses: &mut Losses, clock: &BootClock) -> Option<Loss> {
        if now_ns.saturating_add(AHEAD_NS) < self.covered_ns {
            return None;
        }
        self.row(now_ns, now_ns.saturating_add(COVERS_NS), losses, clock)
    }

    /// The row for what is left of a run that ended at `now_ns`; `None` when the last one reaches that far.
    pub(crate) fn finish(&mut self, now_ns: u64, losses: &mut Losses, clock: &BootClock) -> Option<Loss> {
        if now_ns <= self.covered_ns { None } else { self.row(now_ns, now_ns, losses, clock) }
    }

    /// The row from where the last one ends to `until_ns`; `None` when no probe is refused.
    fn row(&mut self, now_ns: u64, until_ns: u64, losses: &mut Losses, clock: &BootClock) -> Option<Loss> {
        let since_ns = std::mem::replace(&mut self.covered_ns, until_ns);
        let missing = !self.activities.is_empty();
        missing.then(|| losses.not_supported(&self.activities, since_ns..until_ns, now_ns, clock))
    }
}

#[cfg(test)]
mod tests {
    use kerntrail_schemas::cell::Micros;

    use super::*;

    #[test]
    fn rows_follow_each_other_without_a_gap() {
        let clock = BootClock::fixed(Micros(0));
        let mut losses = Losses::new(5_000);
        let refused = |name, activities| ProbeStatus { name, activities, refused: Some("EPERM".to_owned()) };
        let probes = vec![
            refused("setns", &["setns", "mount"]),
            ProbeStatus { name: "running", activities: &["unshare"], refused: None },
            refused("move_mount", &["mount"]),
        ];
        let mut missing = NotSupportedRows::new(probes, 5_000);
        assert_eq!(missing.names(), ["setns", "move_mount"]);
        let second = 1_000_000_000;
        let mut rows = Vec::new();
        // The first row covers 601 s. At 541 s, a minute before its end, the next one is made; at 1,300 s one is late.
        for seconds in [1, 2, 540, 541, 542, 1_300] {
            let made = missing.due(seconds * second, &mut losses, &clock);
            assert!(missing.covered_ns >= (seconds + 60) * second, "the present is covered at {seconds} s");
            rows.extend(made);
        }
        assert_eq!(missing.finish(1_400 * second, &mut losses, &clock), None, "the last row reaches beyond the end");
        rows.extend(missing.finish(2_000 * second, &mut losses, &clock));
        let micros = |time: Option<Micros>| time.unwrap().0;
        let times: Vec<_> = rows
            .iter()
            .map(|row| (row.number.boot_ns / second, micros(row.columns.start_time), micros(row.columns.end_time)))
            .collect();
        assert_eq!(
            times,
            [
                (1, 5, 601_000_000),
                (541, 601_000_000, 1_141_000_000),
                (1_300, 1_141_000_000, 1_900_000_000),
                (2_000, 1_900_000_000, 2_000_000_000)
            ]
        );
        for row in &rows {
            assert_eq!(
                (row.activity.name, row.columns.event_kind.as_deref(), row.columns.lost),
                ("not_supported", Some("mount,setns"), None)
            );
        }
    }
}

//! Probes that this kernel refuses: said once in the log, shown in a metric, and rows of `event_loss` all the while.
//!
//! A row that was written cannot be extended, so each row covers a time that is still to come: the first one from the
//! start of the programs to ten minutes from now, the next one from where that ends, and so on. A query for any time of
//! the run, the present too, finds a row that overlaps it. The last row may reach past the end of the run, when nothing is
//! collected anyway. Probes are tried at the start only, so even after a crash the first row of a stream holds for the
//! whole stream.

use crate::clock::Clock;
use crate::loss::{Loss, Losses};
use crate::metrics as names;
use crate::source::Probe;

/// How far a row reaches beyond the time at which it is made, ns.
const COVERS_NS: u64 = 600_000_000_000;
/// How long before the end of a row the next one is made, ns: long enough for it to be in the lake by then.
const AHEAD_NS: u64 = 60_000_000_000;

/// What this kernel does not support.
#[derive(Debug)]
pub(crate) struct NotSupported {
    refused: Vec<Probe>,
    /// Rows cover the time until here; it may be still to come.
    covered_ns: u64,
}

impl NotSupported {
    /// Of `probes`, in a run that began at `started_ns`. Tells of those that were refused.
    pub(crate) fn new(probes: Vec<Probe>, started_ns: u64) -> Self {
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
        let refused = probes.into_iter().filter(|probe| probe.refused.is_some()).collect();
        Self { refused, covered_ns: started_ns }
    }

    /// Names of the refused probes.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.refused.iter().map(|probe| probe.name).collect()
    }

    /// The rows that are due at `now_ns`: none while the last ones reach far enough.
    pub(crate) fn due(&mut self, now_ns: u64, losses: &mut Losses, clock: &Clock) -> Vec<Loss> {
        if now_ns.saturating_add(AHEAD_NS) < self.covered_ns {
            return Vec::new();
        }
        self.rows(now_ns, now_ns.saturating_add(COVERS_NS), losses, clock)
    }

    /// The rows for what is left of a run that ended at `now_ns`: none when the last ones reach that far.
    pub(crate) fn finish(&mut self, now_ns: u64, losses: &mut Losses, clock: &Clock) -> Vec<Loss> {
        if now_ns <= self.covered_ns { Vec::new() } else { self.rows(now_ns, now_ns, losses, clock) }
    }

    /// Rows from where the last ones end to `until_ns`, a row for each probe.
    fn rows(&mut self, now_ns: u64, until_ns: u64, losses: &mut Losses, clock: &Clock) -> Vec<Loss> {
        let since_ns = std::mem::replace(&mut self.covered_ns, until_ns);
        let row = |probe: &Probe| losses.not_supported(probe.activities, since_ns..until_ns, now_ns, clock);
        self.refused.iter().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use kerntrail_schemas::cell::Micros;

    use super::*;

    #[test]
    fn rows_follow_each_other_without_a_gap() {
        let clock = Clock::fixed(Micros(0));
        let mut losses = Losses::new(5_000);
        let probe = |name, refused| Probe { name, activities: &["setns", "mount"], refused };
        let probes = vec![probe("refused", Some("EPERM".to_owned())), probe("running", None)];
        let mut missing = NotSupported::new(probes, 5_000);
        assert_eq!(missing.names(), ["refused"]);
        let second = 1_000_000_000;
        let mut rows = Vec::new();
        // The first row covers 601 s. At 541 s, a minute before its end, the next one is made; at 1,300 s one is late.
        for seconds in [1, 2, 540, 541, 542, 1_300] {
            let made = missing.due(seconds * second, &mut losses, &clock);
            assert!(missing.covered_ns >= (seconds + 60) * second, "the present is covered at {seconds} s");
            rows.extend(made);
        }
        assert_eq!(missing.finish(1_400 * second, &mut losses, &clock), [], "the last row reaches beyond the end");
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
                ("not_supported", Some("setns,mount"), None)
            );
        }
    }
}

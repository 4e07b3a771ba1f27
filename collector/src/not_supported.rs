//! Probes that this kernel refuses: said once in the log, shown in a metric, and rows of `event_loss` all the while.
//!
//! Nobody can extend a row that was written, so the time of a run is covered piece by piece: a row at the start, one
//! every ten minutes and one at the end, each from where the last one ended. A query for a time finds a row that
//! overlaps it, and the newest row is never older than that. Probes are tried at the start only, so even after a crash
//! the first row of a stream holds for the whole stream.

use crate::clock::Clock;
use crate::loss::{Loss, Losses};
use crate::metrics as names;
use crate::source::Probe;

/// Longest time that a row covers, ns.
const COVERS_NS: u64 = 600_000_000_000;

/// What this kernel does not support.
#[derive(Debug)]
pub(crate) struct NotSupported {
    refused: Vec<Probe>,
    /// Rows cover the time until here.
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

    /// The rows that are due at `now_ns`.
    pub(crate) fn due(&mut self, now_ns: u64, losses: &mut Losses, clock: &Clock) -> Vec<Loss> {
        if now_ns.saturating_sub(self.covered_ns) < COVERS_NS { Vec::new() } else { self.until(now_ns, losses, clock) }
    }

    /// Rows from where the last ones ended to `now_ns`, a row for each probe.
    pub(crate) fn until(&mut self, now_ns: u64, losses: &mut Losses, clock: &Clock) -> Vec<Loss> {
        let since_ns = std::mem::replace(&mut self.covered_ns, now_ns);
        self.refused.iter().map(|probe| losses.not_supported(probe.activities, since_ns, now_ns, clock)).collect()
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
        let mut rows = missing.until(second, &mut losses, &clock);
        for seconds in [2, 600, 601, 602, 1_300] {
            rows.extend(missing.due(seconds * second, &mut losses, &clock));
        }
        rows.extend(missing.until(1_400 * second, &mut losses, &clock));
        let times: Vec<_> =
            rows.iter().map(|row| (row.columns.start_time.unwrap().0, row.columns.end_time.unwrap().0)).collect();
        assert_eq!(
            times,
            [(5, 1_000_000), (1_000_000, 601_000_000), (601_000_000, 1_300_000_000), (1_300_000_000, 1_400_000_000)]
        );
        for row in &rows {
            assert_eq!(
                (row.activity.name, row.columns.event_kind.as_deref(), row.columns.lost),
                ("not_supported", Some("setns,mount"), None)
            );
        }
    }
}

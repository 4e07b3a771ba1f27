//! Names of this part's metrics.

/// Findings written to the event log, by rule.
pub(crate) const EVENTS_OUT: &str = "kerntrail_detections_events_out_total";
/// Passes that could not read rows which a rule had not seen, by table.
pub(crate) const EVENTS_LOST: &str = "kerntrail_detections_gaps_total";
/// Versions of the table that rules have not read yet, by table.
pub(crate) const LAG: &str = "kerntrail_detections_lag_versions";

use kerntrail_schemas::Table;

/// `table` has `versions` that rules have not read.
pub(crate) fn lag(table: Table, versions: i64) {
    ::metrics::gauge!(LAG, "table" => table.name()).set(versions as f64);
}

/// Rules missed rows of `table`.
pub(crate) fn gap(table: Table) {
    ::metrics::counter!(EVENTS_LOST, "table" => table.name()).increment(1);
}

/// A finding of the rule `title` was written.
pub(crate) fn finding(title: &str) {
    ::metrics::counter!(EVENTS_OUT, "rule" => title.to_owned()).increment(1);
}

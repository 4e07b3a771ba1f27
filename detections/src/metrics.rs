//! Names of this part's metrics.

/// Rows that rules looked at, by table.
pub(crate) const EVENTS_IN: &str = "kerntrail_detections_events_in_total";
/// Findings written to the event log, by rule.
pub(crate) const EVENTS_OUT: &str = "kerntrail_detections_events_out_total";
/// Passes that could not read rows which a rule had not seen, by table.
pub(crate) const EVENTS_LOST: &str = "kerntrail_detections_gaps_total";
/// Versions of the table that rules have not read yet, by table.
pub(crate) const LAG: &str = "kerntrail_detections_lag_versions";

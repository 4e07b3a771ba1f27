//! Names of this crate's metrics.

use std::time::Duration;

use datafusion::catalog::TableProvider;
use kerntrail_schemas::Table;

use crate::rules::{Rule, Rules};

kerntrail_common::metric_names! {
    /// Rows that rules have read, by table.
    counter EVENTS_IN = "kerntrail_detections_events_in_total";
    /// Findings written to the event log, by rule.
    counter EVENTS_OUT = "kerntrail_detections_events_out_total";
    /// Matches that were counted in an earlier finding of the same group, by rule.
    counter SUPPRESSED = "kerntrail_detections_suppressed_total";
    /// Findings that were not made, since an exception covers them, by rule.
    counter EXCEPTED = "kerntrail_detections_excepted_total";
    /// Hours of which a rule made more than `rules.max_findings_per_hour` findings, by rule.
    counter LIMITED = "kerntrail_detections_limited_hours_total";
    /// Passes in which rows that a rule had not read were no longer available, by table.
    counter EVENTS_LOST = "kerntrail_detections_gaps_total";
    /// Passes that failed before any rule ran; they are retried.
    counter PASSES_FAILED = "kerntrail_detections_failed_passes_total";
    /// Versions of the table that rules have not read yet, by table.
    gauge LAG = "kerntrail_detections_lag_versions";
    /// Rules whose query failed and is retried.
    gauge BEHIND = "kerntrail_detections_rules_behind";
    /// Processor time of each rule on new rows since the start, in seconds; label `rule`.
    gauge TOOK = "kerntrail_detections_rule_seconds";
    /// Rules in `rules.dir` that cannot be used.
    gauge REFUSED = "kerntrail_detections_rules_refused";
}

/// Adds to the time of `rule`.
pub(crate) fn took(rule: &Rule, time: Duration) {
    ::metrics::gauge!(TOOK, "rule" => rule.title.clone()).increment(time.as_secs_f64());
}

/// Sets the number of rules that are behind.
pub(crate) fn behind(rules: usize) {
    ::metrics::gauge!(BEHIND).set(rules as f64);
}

/// `table` has `versions` that rules have not read.
pub(crate) fn lag(table: Table, versions: i64) {
    ::metrics::gauge!(LAG, "table" => table.name()).set(versions as f64);
}

/// Sets what does not depend on the rules to zero, so that it can be watched while they are compiled.
pub fn prepare() {
    ::metrics::counter!(PASSES_FAILED).increment(0);
    behind(0);
}

/// Sets the metrics of all tables and `rules` to zero, so that they exist before anything happens.
pub(crate) fn begin(rules: &Rules) {
    for table in rules.tables() {
        ::metrics::counter!(EVENTS_IN, "table" => table.name()).increment(0);
        ::metrics::counter!(EVENTS_LOST, "table" => table.name()).increment(0);
    }
    for rule in rules.iter() {
        for name in [EVENTS_OUT, SUPPRESSED, EXCEPTED, LIMITED] {
            ::metrics::counter!(name, "rule" => rule.title.clone()).increment(0);
        }
    }
    ::metrics::gauge!(REFUSED).set(rules.refused().len() as f64);
    behind(0);
}

/// A pass failed.
pub(crate) fn pass_failed() {
    ::metrics::counter!(PASSES_FAILED).increment(1);
}

/// Rules read the `rows` of `table`.
pub(crate) fn read(table: Table, rows: &dyn TableProvider) {
    let count = rows.statistics().and_then(|statistics| statistics.num_rows.get_value().copied()).unwrap_or(0);
    ::metrics::counter!(EVENTS_IN, "table" => table.name()).increment(count as u64);
}

/// Rules missed rows of `table`.
pub(crate) fn gap(table: Table) {
    ::metrics::counter!(EVENTS_LOST, "table" => table.name()).increment(1);
}

/// A finding of the rule `title` was written.
pub(crate) fn finding(title: &str) {
    ::metrics::counter!(EVENTS_OUT, "rule" => title.to_owned()).increment(1);
}

/// A match of the rule `title` was counted in an earlier finding.
pub(crate) fn suppressed(title: &str) {
    ::metrics::counter!(SUPPRESSED, "rule" => title.to_owned()).increment(1);
}

/// A finding of the rule `title` was not made.
pub(crate) fn excepted(title: &str) {
    ::metrics::counter!(EXCEPTED, "rule" => title.to_owned()).increment(1);
}

/// The rule `title` made too many findings of an hour.
pub(crate) fn limited(title: &str) {
    ::metrics::counter!(LIMITED, "rule" => title.to_owned()).increment(1);
}

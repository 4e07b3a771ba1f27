//! Names of the metrics; each has the label `table` unless it says otherwise, imports `outcome`.

use kerntrail_schemas::Table;

kerntrail_common::metric_names! {
    /// Rows read from the event log.
    counter EVENTS_IN_TOTAL = "kerntrail_pipeline_events_in_total";
    /// Rows committed to the lake.
    counter EVENTS_OUT_TOTAL = "kerntrail_pipeline_events_out_total";
    /// Rows of messages that were rejected: `kerntrail log rejected list` lists them.
    counter EVENTS_LOST_TOTAL = "kerntrail_pipeline_events_lost_total";
    /// Messages rejected because their bytes are not a valid message.
    counter MESSAGES_REJECTED_TOTAL = "kerntrail_pipeline_messages_rejected_total";
    /// Rejected messages that are kept, without label.
    gauge REJECTED_KEPT = "kerntrail_pipeline_rejected_kept";
    /// Messages dropped because their batch was already processed.
    counter MESSAGES_RESENT_TOTAL = "kerntrail_pipeline_messages_resent_total";
    /// Offsets that the log had removed before the pipeline read them.
    counter MESSAGES_MISSING_TOTAL = "kerntrail_pipeline_messages_missing_total";
    /// Messages in the log that are not committed to the lake yet.
    gauge LAG_MESSAGES = "kerntrail_pipeline_lag_messages";
    /// Seconds that a commit took, from sorted rows to a version.
    histogram COMMIT_SECONDS = "kerntrail_pipeline_commit_seconds";
    /// Times that buffers were dropped because another writer had committed first.
    counter CONFLICTS_TOTAL = "kerntrail_pipeline_conflicts_total";
    /// Records of imports, by `outcome`: `row`, `already_there`, `no_place` or `rejected`.
    counter RECORDS_IN_TOTAL = "kerntrail_import_events_in_total";
}

/// Initializes the loss counters of `table`, so that no loss shows as 0 and not as absent.
pub(crate) fn begin(table: Table) {
    ::metrics::counter!(EVENTS_LOST_TOTAL, "table" => table.name()).increment(0);
    ::metrics::counter!(MESSAGES_MISSING_TOTAL, "table" => table.name()).increment(0);
}

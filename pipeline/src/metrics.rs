//! Names of the metrics; each has the label `table`.

/// Rows read from the event log.
pub const EVENTS_IN_TOTAL: &str = "kerntrail_pipeline_events_in_total";
/// Rows committed to the lake.
pub const EVENTS_OUT_TOTAL: &str = "kerntrail_pipeline_events_out_total";
/// Rows of messages that could not be read; they are kept aside.
pub const EVENTS_LOST_TOTAL: &str = "kerntrail_pipeline_events_lost_total";
/// Messages that could not be read.
pub const MESSAGES_REJECTED_TOTAL: &str = "kerntrail_pipeline_messages_rejected_total";
/// Messages dropped because their batch had been taken already.
pub const MESSAGES_RESENT_TOTAL: &str = "kerntrail_pipeline_messages_resent_total";
/// Offsets that the log no longer had when the pipeline came to read them.
pub const MESSAGES_MISSING_TOTAL: &str = "kerntrail_pipeline_messages_missing_total";
/// Messages in the log that are not committed to the lake yet.
pub const LAG_MESSAGES: &str = "kerntrail_pipeline_lag_messages";
/// Seconds that a commit took, from sorted rows to a version.
pub const COMMIT_SECONDS: &str = "kerntrail_pipeline_commit_seconds";
/// Times that buffers were dropped because another writer had recorded progress.
pub const CONFLICTS_TOTAL: &str = "kerntrail_pipeline_conflicts_total";

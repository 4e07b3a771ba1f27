//! Names of the metrics; all have the label `sink`.

/// Rows taken from the event log, by `table`.
pub const EVENTS_IN: &str = "kerntrail_sinks_events_in_total";
/// Rows delivered, by `table`.
pub const EVENTS_OUT: &str = "kerntrail_sinks_events_out_total";
/// Rows that `where` did not select, by `table`. Intended.
pub const EVENTS_FILTERED: &str = "kerntrail_sinks_events_filtered_total";
/// Rows written as dead letters, by `reason`.
pub const EVENTS_DEAD: &str = "kerntrail_sinks_events_dead_lettered_total";
/// Rows that no letter could keep, by `reason`: damaged messages, rotated NDJSON files.
pub const EVENTS_LOST: &str = "kerntrail_sinks_events_lost_total";
/// Messages dropped because their batch number was already taken, by `table`.
pub const MESSAGES_REPEATED: &str = "kerntrail_sinks_messages_repeated_total";
/// Messages that the event log no longer held when the sink came to them, by `table`.
pub const MESSAGES_EXPIRED: &str = "kerntrail_sinks_messages_expired_total";
/// Requests that were answered with "try again", or not at all.
pub const RETRIES: &str = "kerntrail_sinks_retries_total";
/// Messages in the log that the sink has not committed, by `table`.
pub const LAG_MESSAGES: &str = "kerntrail_sinks_lag_messages";
/// Age of the youngest row delivered last, in seconds.
pub const LAG_SECONDS: &str = "kerntrail_sinks_lag_seconds";
/// 1 while the sink waits for somebody to repair something, else 0.
pub const PAUSED: &str = "kerntrail_sinks_paused";
/// Dead letters on disk.
pub const DEAD_LETTERS: &str = "kerntrail_sinks_dead_letters";

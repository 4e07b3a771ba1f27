//! Names of the metrics; all have the label `sink`.

kerntrail_common::metric_names! {
    /// Rows read from the event log, by `table`.
    counter EVENTS_IN = "kerntrail_sinks_events_in_total";
    /// Rows delivered, by `table`.
    counter EVENTS_OUT = "kerntrail_sinks_events_out_total";
    /// Rows that `where` did not select, by `table`. Intended.
    counter EVENTS_FILTERED = "kerntrail_sinks_events_filtered_total";
    /// Rows written as dead letters, by `reason`.
    counter EVENTS_DEAD = "kerntrail_sinks_events_dead_lettered_total";
    /// Rows lost without a dead letter, by `reason`: damaged messages, rows that the full event log removed before they
    /// were sent, deleted NDJSON files.
    counter EVENTS_LOST = "kerntrail_sinks_events_lost_total";
    /// Repeated messages that were dropped by their batch number, by `table`.
    counter MESSAGES_REPEATED = "kerntrail_sinks_messages_repeated_total";
    /// Messages that the event log removed before the sink had read them, by `table`.
    counter MESSAGES_EXPIRED = "kerntrail_sinks_messages_expired_total";
    /// Requests that the destination asked to retry, or did not respond to.
    counter RETRIES = "kerntrail_sinks_retries_total";
    /// Messages in the log that the sink has not committed, by `table`.
    gauge LAG_MESSAGES = "kerntrail_sinks_lag_messages";
    /// Seconds for which rows have been waiting without one being delivered; 0 while none waits.
    gauge LAG_SECONDS = "kerntrail_sinks_lag_seconds";
    /// 1 for the state that the sink is in, 0 for the others, by `state`.
    gauge STATE = "kerntrail_sinks_state";
    /// 1 while the sink is paused until an operator fixes something, otherwise 0.
    gauge PAUSED = "kerntrail_sinks_paused";
    /// Dead letters on disk.
    gauge DEAD_LETTERS = "kerntrail_sinks_dead_letters";
}

/// Initializes the metrics of `sink`, so that they are 0 and not absent before the first loss.
pub(crate) fn begin(sink: &str) {
    for reason in ["damaged", "expired", "rotated"] {
        ::metrics::counter!(EVENTS_LOST, "sink" => sink.to_owned(), "reason" => reason).increment(0);
    }
    ::metrics::gauge!(LAG_SECONDS, "sink" => sink.to_owned()).set(0.0);
}

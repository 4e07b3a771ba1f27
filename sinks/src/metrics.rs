//! Names of the metrics; all have the label `sink`.

kerntrail_common::metric_names! {
    /// Rows taken from the event log, by `table`.
    counter EVENTS_IN = "kerntrail_sinks_events_in_total";
    /// Rows delivered, by `table`.
    counter EVENTS_OUT = "kerntrail_sinks_events_out_total";
    /// Rows that `where` did not select, by `table`. Intended.
    counter EVENTS_FILTERED = "kerntrail_sinks_events_filtered_total";
    /// Rows written as dead letters, by `reason`.
    counter EVENTS_DEAD = "kerntrail_sinks_events_dead_lettered_total";
    /// Rows that no letter could keep, by `reason`: damaged messages, rotated NDJSON files.
    counter EVENTS_LOST = "kerntrail_sinks_events_lost_total";
    /// Messages dropped because their batch number was already taken, by `table`.
    counter MESSAGES_REPEATED = "kerntrail_sinks_messages_repeated_total";
    /// Messages that the event log no longer held when the sink came to them, by `table`.
    counter MESSAGES_EXPIRED = "kerntrail_sinks_messages_expired_total";
    /// Requests that were answered with "try again", or not at all.
    counter RETRIES = "kerntrail_sinks_retries_total";
    /// Messages in the log that the sink has not committed, by `table`.
    gauge LAG_MESSAGES = "kerntrail_sinks_lag_messages";
    /// For how long rows have been waiting without any being delivered, in seconds; 0 while none waits.
    gauge LAG_SECONDS = "kerntrail_sinks_lag_seconds";
    /// 1 while the sink waits for somebody to repair something, else 0.
    gauge PAUSED = "kerntrail_sinks_paused";
    /// Dead letters on disk.
    gauge DEAD_LETTERS = "kerntrail_sinks_dead_letters";
}

/// What may be lost by `sink` is 0 so far, rather than absent.
pub(crate) fn begin(sink: &str) {
    for reason in ["damaged", "rotated"] {
        ::metrics::counter!(EVENTS_LOST, "sink" => sink.to_owned(), "reason" => reason).increment(0);
    }
    ::metrics::gauge!(LAG_SECONDS, "sink" => sink.to_owned()).set(0.0);
    ::metrics::gauge!(PAUSED, "sink" => sink.to_owned()).set(0.0);
}

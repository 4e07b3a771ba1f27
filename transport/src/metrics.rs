//! Names of this crate's metrics.
//!
//! The lag of a group is published by its members, from [`EventLog::end`](crate::EventLog::end) and
//! [`EventLog::committed`](crate::EventLog::committed).

kerntrail_common::metric_names! {
    /// Messages appended; labels `log` (`embedded`, `kafka`), `table`.
    counter MESSAGES_APPENDED_TOTAL = "kerntrail_transport_messages_appended_total";
    /// Bytes of the payloads of appended messages; labels `log`, `table`.
    counter BYTES_APPENDED_TOTAL = "kerntrail_transport_bytes_appended_total";
    /// Rows of appended messages; labels `log`, `table`.
    counter EVENTS_IN_TOTAL = "kerntrail_transport_events_in_total";
    /// Bytes that the embedded log holds.
    gauge HELD_BYTES = "kerntrail_transport_held_bytes";
    /// Appends refused because the embedded log was full.
    counter FULL_TOTAL = "kerntrail_transport_full_total";
    /// Times that messages unread by an expendable group were removed because the embedded log was full.
    counter EXPIRED_TOTAL = "kerntrail_transport_expired_total";
    /// Partitions held for a reader because a newer release wrote their next message; labels `reader`, `table`.
    gauge HELD_PARTITIONS = "kerntrail_transport_held_partitions";
    /// Files that a reader does not read because a newer release wrote them; label `reader`.
    gauge HELD_FILES = "kerntrail_transport_held_files";
    /// Messages in the spool that the log has not acknowledged yet.
    gauge SPOOL_LAG_MESSAGES = "kerntrail_transport_lag_spool_messages";
}

/// Counts what was appended to the log of kind `log`.
pub(crate) fn appended(log: &'static str, table: &'static str, messages: &[crate::Message]) {
    let labels = [("log", log), ("table", table)];
    let bytes: usize = messages.iter().map(|message| message.payload.len()).sum();
    let rows: u64 = messages.iter().map(|message| u64::from(message.headers.rows)).sum();
    metrics::counter!(MESSAGES_APPENDED_TOTAL, &labels).increment(messages.len() as u64);
    metrics::counter!(BYTES_APPENDED_TOTAL, &labels).increment(bytes as u64);
    metrics::counter!(EVENTS_IN_TOTAL, &labels).increment(rows);
}

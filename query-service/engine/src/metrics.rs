//! Metrics of this crate (facade `metrics`).

use std::time::Instant;

use metrics::{counter, gauge, histogram};

use crate::error::ErrorKind;

kerntrail_common::metric_names! {
    /// Queries started.
    counter QUERIES = "kerntrail_query_queries_total";
    /// Queries that ended with an error; label `kind`.
    counter ERRORS = "kerntrail_query_errors_total";
    /// Rows returned.
    counter ROWS = "kerntrail_query_rows_total";
    /// Queries running now.
    gauge RUNNING = "kerntrail_query_running";
    /// From the request to the last row, in seconds.
    histogram DURATION = "kerntrail_query_duration_seconds";
}

/// Counts one query from its admission until it is dropped.
pub(crate) struct Measured(Instant);

impl Measured {
    pub(crate) fn begin() -> Self {
        counter!(QUERIES).increment(1);
        gauge!(RUNNING).increment(1.0);
        Self(Instant::now())
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        gauge!(RUNNING).decrement(1.0);
        histogram!(DURATION).record(self.0.elapsed().as_secs_f64());
    }
}

/// Counts an error.
pub(crate) fn failed(kind: ErrorKind) {
    counter!(ERRORS, "kind" => kind.as_str()).increment(1);
}

/// Counts rows of answers.
pub(crate) fn answered(rows: usize) {
    counter!(ROWS).increment(rows as u64);
}

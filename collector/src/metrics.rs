//! Names of the collector's metrics.

use kerntrail_schemas::Activity;
use kerntrail_schemas::tables::event_loss::{DECODE_ERROR, NOT_RUN, RING_FULL};

kerntrail_common::metric_names! {
    /// Kernel events that became rows, by `kind` (the row's activity).
    counter EVENTS_IN = "kerntrail_collector_events_in_total";
    /// Rows appended to the event log, by `table`.
    counter EVENTS_OUT = "kerntrail_collector_events_out_total";
    /// Events that are missing, by `reason` (an activity of `event_loss`).
    counter EVENTS_LOST = "kerntrail_collector_events_lost_total";
    /// Events that the filter drops in the kernel, by `kind` of record.
    counter EVENTS_FILTERED = "kerntrail_collector_events_filtered_total";
    /// Whether a probe runs in the kernel, by `probe`: 1, or 0 where the kernel refused it.
    gauge PROBE_UP = "kerntrail_collector_probe_up";
    /// Seconds between an event and its arrival in the event log, of the latest batch.
    gauge LAG_SECONDS = "kerntrail_collector_lag_seconds";
    /// Processes in the process table.
    gauge PROCESSES = "kerntrail_collector_processes";
    /// Known containers.
    gauge CONTAINERS = "kerntrail_collector_containers";
    /// Pods of this node known from the API server.
    gauge PODS = "kerntrail_collector_pods";
    /// Whether the pod watch is up: 1 or 0.
    gauge API_UP = "kerntrail_collector_kubernetes_api_up";
    /// Bundles that could not be read.
    counter BUNDLE_ERRORS = "kerntrail_collector_bundle_errors_total";
    /// Appends to the event log that were retried.
    counter APPEND_RETRIES = "kerntrail_collector_append_retries_total";
    /// Rows waiting for the event log.
    gauge ROWS_WAITING = "kerntrail_collector_rows_waiting";
}

/// Reasons of [`EVENTS_LOST`]; `table_full` loses no event, only its context.
static LOST_REASONS: [&Activity; 3] = [&RING_FULL, &DECODE_ERROR, &NOT_RUN];

/// Reports 0 losses, so that the counters exist before the first one.
pub(crate) fn begin() {
    for reason in LOST_REASONS {
        ::metrics::counter!(EVENTS_LOST, "reason" => reason.name).increment(0);
    }
}

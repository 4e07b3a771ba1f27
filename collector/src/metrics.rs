//! Names of the collector's metrics.

/// Kernel events taken, by `kind`.
pub const EVENTS_IN: &str = "kerntrail_collector_events_in_total";
/// Rows that the event log has, by `table`.
pub const EVENTS_OUT: &str = "kerntrail_collector_events_out_total";
/// Events that are missing, by `reason` (an activity of `event_loss`).
pub const EVENTS_LOST: &str = "kerntrail_collector_events_lost_total";
/// Seconds between an event and its arrival in the event log, of the latest batch.
pub const LAG_SECONDS: &str = "kerntrail_collector_lag_seconds";
/// Processes in the process table.
pub const PROCESSES: &str = "kerntrail_collector_processes";
/// Containers known.
pub const CONTAINERS: &str = "kerntrail_collector_containers";
/// Pods of this node known from the API server.
pub const PODS: &str = "kerntrail_collector_pods";
/// Whether the pod watch is up: 1 or 0.
pub const API_UP: &str = "kerntrail_collector_kubernetes_api_up";
/// Bundles that could not be read.
pub const BUNDLE_ERRORS: &str = "kerntrail_collector_bundle_errors_total";
/// Appends to the event log that were tried again.
pub const APPEND_RETRIES: &str = "kerntrail_collector_append_retries_total";
/// Rows waiting for the event log.
pub const ROWS_WAITING: &str = "kerntrail_collector_rows_waiting";

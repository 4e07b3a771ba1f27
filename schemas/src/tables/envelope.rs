//! The columns that every table starts with.

use crate::cell::{Day, Micros};
use crate::columns::columns;
use crate::identity::{BootId, StreamId};

columns! {
    /// Where and when an event happened, and the numbers that identify it.
    Envelope, EnvelopeBuilder {
        date: Day = "UTC day of `time`; the lake is partitioned by it",
        time: Micros = "when it happened: the kernel's clock as UTC, in microseconds",
        boot_ns: i64 = "when it happened by CLOCK_BOOTTIME, in ns: exact, and orders the events of a node; NULL when imported",
        ingest_time: Micros = "when the row was written to the lake, UTC",
        cluster: String = "name of the Kubernetes cluster, from the configuration",
        node: String = "name of the Kubernetes node or machine",
        host_id: String = "machine id of the node (/etc/machine-id)" since 2,
        boot_id: BootId = "boot of the node's kernel",
        source: &'static str = "what reported it: `kernel`, `tetragon` or `kerntrail` (findings and losses)",
        stream: StreamId = "sequence of events that `cpu` and `seq` number: boot id and start of the collector, or source and node of imported events",
        cpu: i32 = "processor on which it was numbered; 0 when imported",
        seq: i64 = "number within `stream` and `cpu`; a hash of the record's content when imported",
        activity: String = "what happened, one of the table's activities",
        action: &'static str = "what was done about it: `observed`; in imported events also `killed` or `denied`",
        policy: String = "policy that asked for the event",
        count: i64 = "events that this row stands for; 1 unless aggregated in the kernel",
    }
}

/// The tool that a row of this `source` was imported from; `None` for a row that kerntrail made itself.
pub fn imported_from(source: &str) -> Option<&str> {
    (!matches!(source, "" | "kernel" | "kerntrail")).then_some(source)
}

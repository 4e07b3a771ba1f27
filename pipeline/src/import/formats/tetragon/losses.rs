//! Events in which Tetragon says what it left out: `rate_limit_info` of its export, and `process_throttle` of a cgroup.

use kerntrail_schemas::Table;
use kerntrail_schemas::tables::event_loss::{RATE_LIMITED, THROTTLED};
use kerntrail_schemas::tables::{Envelope, LossColumns};

use super::record::{Loss, Record};
use super::time_of;
use crate::import::format::{FormatScope, ImportedRow, MappedColumn, MappedRow, RecordRefusal};
use crate::import::json::{fit, given, owned};

/// The row of `record`, which says that `loss` happened.
pub(super) fn row(record: &Record<'_>, loss: &Loss<'_>, scope: &mut FormatScope) -> Result<ImportedRow, RecordRefusal> {
    let origin = scope.node(given(&record.node_name)).ok_or_else(|| RecordRefusal::content("no node_name"))?;
    let time = time_of(given(&record.time))?;
    let (activity, own) = match loss {
        Loss::RateLimit(info) => {
            let lost = fit("number_of_dropped_process_events", info.number_of_dropped_process_events)?;
            (RATE_LIMITED.name, LossColumns { lost, end_time: Some(time), ..LossColumns::default() })
        }
        Loss::Throttle(throttle) => {
            let event_kind = owned(&throttle.cgroup);
            (THROTTLED.name, LossColumns { event_kind, end_time: Some(time), ..LossColumns::default() })
        }
    };
    let envelope = Envelope { cluster: scope.cluster(given(&record.cluster_name)), ..Envelope::default() };
    Ok(ImportedRow::new(origin, time, activity, envelope, own))
}

/// Which fields fill the columns.
pub(super) fn describe() -> Vec<MappedRow> {
    let end = || MappedColumn::new("end_time", "`time`");
    let row = |record, activity, columns| MappedRow {
        records: vec![record],
        when: "",
        table: Table::EventLoss,
        activity,
        columns,
    };
    vec![
        row(
            "rate_limit_info",
            RATE_LIMITED.name,
            vec![MappedColumn::new("lost", "`number_of_dropped_process_events`"), end()],
        ),
        row("process_throttle", THROTTLED.name, vec![MappedColumn::new("event_kind", "`cgroup`"), end()]),
    ]
}

//! `kerntrail sinks test`: one marked event, to see whether a destination is configured right.

use std::time::{SystemTime, UNIX_EPOCH};

use kerntrail_schemas::Table;
use kerntrail_schemas::identity::{StreamId, event_id};
use kerntrail_schemas::mapping::Row;
use serde_json::{Value, json};

use crate::config::{SinkConfig, SinkConfigError};
use crate::destination::Record;
use crate::outcome::Outcome;

/// What the event's command line is, by which it is found in the destination.
pub const MARK: &str = "kerntrail sinks test";

/// What came back.
#[derive(Debug)]
pub struct Trial {
    /// Id of the event.
    pub event_id: String,
    /// Table whose row it is.
    pub table: Table,
    /// What the destination made of it.
    pub outcome: Outcome,
}

/// Sends one event of `node` to the sink that `config` describes, in a request of its own; `where` does not count for it.
///
/// Errors: the sink cannot be used as it is configured.
pub async fn trial(config: &SinkConfig, node: &str) -> Result<Trial, SinkConfigError> {
    let settings = config.settings()?;
    let destination = settings.connect()?;
    let table = settings.tables.iter().copied().find(|table| *table == Table::ProcessEvents);
    let table = table.or(settings.tables.first().copied()).unwrap_or(Table::ProcessEvents);
    let micros = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_micros() as i64);
    let event_id = event_id(StreamId::new("kerntrail-sinks-test"), 0, micros);
    let row = row(table, node, micros);
    let bytes = destination.encode(table, &event_id, &row);
    let record = Record { table, event_id: event_id.clone(), row, bytes, message: 0, place: 0 };
    let outcome = destination.send(&[record]).await.into_iter().next();
    Ok(Trial { event_id, table, outcome: outcome.unwrap_or_else(|| Outcome::retry("no answer")) })
}

/// A row of `table`, whose columns say what it is as far as there are such.
fn row(table: Table, node: &str, micros: i64) -> Row {
    let values: [(&str, Value); 12] = [
        ("date", json!(micros.div_euclid(86_400_000_000))),
        ("time", json!(micros)),
        ("node", json!(node)),
        ("source", json!("kerntrail")),
        ("stream", json!("kerntrail-sinks-test")),
        ("cpu", json!(0)),
        ("seq", json!(micros)),
        ("activity", json!(table.activities().first().map(|activity| activity.name))),
        ("action", json!("observed")),
        ("count", json!(1)),
        ("cmd_line", json!(MARK)),
        ("message", json!(MARK)),
    ];
    let schema = table.schema();
    let known = values.into_iter().filter(|(name, _)| schema.field_with_name(name).is_ok());
    known.map(|(name, value)| (name.to_owned(), value)).collect()
}

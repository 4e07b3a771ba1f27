//! Evaluates a predicate: the rows that it matches, ready to become findings.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type, Int64Type, TimestampMicrosecondType};
use datafusion::catalog::TableProvider;
use datafusion::error::DataFusionError;
use datafusion::prelude::{Expr, SessionContext, col};
use kerntrail_schemas::Table;
use kerntrail_schemas::identity::{StreamId, event_id};
use serde::{Deserialize, Serialize};

use crate::rules::Step;

/// Prefix of the names of the group's columns, which are added to those of the table.
const GROUP: &str = "__group_";

/// A session for reading rows of rules.
pub(crate) fn session() -> SessionContext {
    kerntrail_session::unguarded(|mut config| {
        config.options_mut().execution.parquet.schema_force_view_types = false;
        config.with_target_partitions(1).with_information_schema(false)
    })
}

/// A row that a predicate matched.
#[derive(Clone, Debug)]
pub(crate) struct Match {
    pub(crate) table: Table,
    /// One row with the table's schema.
    pub(crate) row: RecordBatch,
    /// Group that the row belongs to; empty for a single event.
    pub(crate) group: String,
    /// Time in µs since the Unix epoch, and the order of ties.
    pub(crate) order: Order,
    pub(crate) event_id: String,
}

impl Match {
    /// The match of `row`, one row of `table`, in `group`.
    pub(crate) fn of(table: Table, row: RecordBatch, group: String) -> Self {
        let (order, event_id) = (order(&row), id_of(&row));
        Self { table, row, group, order, event_id }
    }
}

/// All columns of `table`, for a selection.
pub(crate) fn all_columns(table: Table) -> Vec<Expr> {
    table.columns().iter().map(|column| col(column.name)).collect()
}

/// `batch`, which has all columns of `table`, with their declared types.
pub(crate) fn with_types(table: Table, batch: &RecordBatch) -> Result<RecordBatch, DataFusionError> {
    Ok(columns_and_groups(&table.schema(), batch)?.0)
}

/// The events that a rule found together.
#[derive(Debug)]
pub(crate) struct Events {
    /// In order; of many events the first and the last.
    pub(crate) rows: Vec<Match>,
    /// `table/event_id` of each.
    pub(crate) refs: Vec<String>,
    /// What is said of many.
    pub(crate) summary: Option<String>,
}

/// Most events that a finding refers to: the first of them.
const MOST_REFS: usize = 1_000;

impl Events {
    /// All of `rows`.
    pub(crate) fn each(rows: Vec<Match>) -> Self {
        let refs = rows.iter().map(|event| format!("{}/{}", event.table, event.event_id)).collect();
        Self { rows, refs, summary: None }
    }

    /// The first and the last.
    pub(crate) fn span(&self) -> (Order, Order) {
        let order = |event: Option<&Match>| event.map(|event| event.order).unwrap_or_default();
        (order(self.rows.first()), order(self.rows.last()))
    }

    /// Those of `refs`, of which `rows` are the first and the last.
    pub(crate) fn summary(rows: Vec<Match>, mut refs: Vec<String>, summary: String) -> Self {
        refs.truncate(MOST_REFS);
        Self { rows, refs, summary: Some(summary) }
    }
}

/// Orders a node's events: time, kernel's clock, processor, number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub(crate) struct Order {
    pub(crate) time_us: i64,
    pub(crate) boot_ns: i64,
    pub(crate) cpu: i32,
    pub(crate) seq: i64,
}

impl Order {
    /// Before and after all others of the same time.
    pub(crate) const LEAST: Self = Self { time_us: 0, boot_ns: i64::MIN, cpu: i32::MIN, seq: i64::MIN };
    pub(crate) const GREATEST: Self = Self { time_us: 0, boot_ns: i64::MAX, cpu: i32::MAX, seq: i64::MAX };
}

/// A matched row without its columns: what a correlation needs.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    /// Parts of the group.
    pub(crate) group: Vec<String>,
    pub(crate) order: Order,
    pub(crate) stream: String,
}

impl Mark {
    pub(crate) fn event_id(&self) -> String {
        event_id(StreamId::new(self.stream.clone()), self.order.cpu, self.order.seq)
    }

    #[cfg(test)]
    pub(crate) fn at(time_us: i64, seq: i64) -> Self {
        Self { group: Vec::new(), order: Order { time_us, seq, ..Order::default() }, stream: "test".to_owned() }
    }
}

/// The rows of `rows` that match `step`, without their columns; rows whose group has an unknown part are left out.
pub(crate) async fn marks(
    session: &SessionContext,
    rows: Arc<dyn TableProvider>,
    step: &Step,
    group: &[Expr],
    also: Option<Expr>,
) -> Result<Vec<Mark>, DataFusionError> {
    let names = ["time", "boot_ns", "cpu", "seq", "stream"];
    let schema = step.table.schema();
    let fields = names.iter().map(|name| schema.field_with_name(name).cloned()).collect::<Result<Vec<_>, _>>()?;
    let schema = Arc::new(arrow::datatypes::Schema::new(fields));
    let selected = names.iter().map(|name| col(*name)).collect();
    let mut found = Vec::new();
    for batch in read(session, rows, step, group, also, selected).await? {
        let (named, groups) = columns_and_groups(&schema, &batch)?;
        for place in 0..named.num_rows() {
            let row = named.slice(place, 1);
            let group = groups.iter().map(|parts| parts.value(place).to_owned()).collect();
            found.push(Mark { group, order: order(&row), stream: text(&row, "stream").unwrap_or_default() });
        }
    }
    Ok(found)
}

/// The rows of `rows` that match `step`, with all columns, each with its group by `group`.
pub(crate) async fn matches(
    session: &SessionContext,
    rows: Arc<dyn TableProvider>,
    step: &Step,
    group: &[Expr],
    also: Option<Expr>,
) -> Result<Vec<Match>, DataFusionError> {
    let mut found = Vec::new();
    for batch in read(session, rows, step, group, also, all_columns(step.table)).await? {
        let (rows, groups) = columns_and_groups(&step.table.schema(), &batch)?;
        for place in 0..rows.num_rows() {
            let row = rows.slice(place, 1);
            let parts: Vec<&str> = groups.iter().map(|parts| parts.value(place)).collect();
            found.push(Match::of(step.table, row, parts.join("|")));
        }
    }
    Ok(found)
}

/// The columns `selected` of the rows that match, and the parts of their groups behind them.
async fn read(
    session: &SessionContext,
    rows: Arc<dyn TableProvider>,
    step: &Step,
    group: &[Expr],
    also: Option<Expr>,
    mut selected: Vec<Expr>,
) -> Result<Vec<RecordBatch>, DataFusionError> {
    let mut frame = session.read_table(rows)?.filter(step.predicate.clone())?;
    if let Some(also) = also {
        frame = frame.filter(also)?;
    }
    for (place, part) in group.iter().enumerate() {
        frame = frame.filter(part.clone().is_not_null())?;
        selected.push(part.clone().alias(format!("{GROUP}{place}")));
    }
    frame.select(selected)?.collect().await
}

fn columns_and_groups(
    schema: &arrow::datatypes::SchemaRef,
    batch: &RecordBatch,
) -> Result<(RecordBatch, Vec<StringArray>), DataFusionError> {
    let width = schema.fields().len();
    let columns = schema.fields().iter().zip(batch.columns());
    let columns = columns.map(|(field, column)| cast(column, field.data_type())).collect::<Result<Vec<_>, _>>()?;
    let groups = batch.columns()[width..].iter().map(|column| cast(column, &DataType::Utf8));
    let groups =
        groups.map(|column| Ok(column?.as_string::<i32>().clone())).collect::<Result<Vec<_>, DataFusionError>>()?;
    Ok((RecordBatch::try_new(Arc::clone(schema), columns)?, groups))
}

fn order(row: &RecordBatch) -> Order {
    Order {
        time_us: time(row, "time").unwrap_or_default(),
        boot_ns: long(row, "boot_ns").unwrap_or_default(),
        cpu: int(row, "cpu").unwrap_or_default(),
        seq: long(row, "seq").unwrap_or_default(),
    }
}

fn id_of(row: &RecordBatch) -> String {
    let stream = StreamId::new(text(row, "stream").unwrap_or_default());
    event_id(&stream, int(row, "cpu").unwrap_or_default(), long(row, "seq").unwrap_or_default())
}

/// The value of a column in a one-row batch.
fn value<'a>(row: &'a RecordBatch, column: &str) -> Option<&'a dyn Array> {
    row.column_by_name(column).filter(|column| column.is_valid(0)).map(AsRef::as_ref)
}

/// A text of a one-row batch.
pub(crate) fn text(row: &RecordBatch, column: &str) -> Option<String> {
    value(row, column)?.as_string_opt::<i32>().map(|column| column.value(0).to_owned())
}

/// Any value of a one-row batch, as text.
pub(crate) fn text_of(row: &RecordBatch, column: &str) -> Option<String> {
    let value = cast(value(row, column)?, &DataType::Utf8).ok()?;
    value.is_valid(0).then(|| value.as_string::<i32>().value(0).to_owned())
}

/// An integer of a one-row batch.
pub(crate) fn int(row: &RecordBatch, column: &str) -> Option<i32> {
    value(row, column)?.as_primitive_opt::<Int32Type>().map(|column| column.value(0))
}

fn long(row: &RecordBatch, column: &str) -> Option<i64> {
    value(row, column)?.as_primitive_opt::<Int64Type>().map(|column| column.value(0))
}

fn time(row: &RecordBatch, column: &str) -> Option<i64> {
    value(row, column)?.as_primitive_opt::<TimestampMicrosecondType>().map(|column| column.value(0))
}

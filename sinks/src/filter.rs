//! `where`: an SQL condition on a row, compiled once.
//!
//! It sees the columns of the sink's tables, and the computed `event_id` and (of tables with actors) `exec_id`, as the
//! query service shows them. A column that a row's table lacks is NULL. The value of the condition must depend on the
//! row alone, so functions of the current time or of random numbers are refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, StringArray, new_null_array,
};
use arrow::datatypes::{DataType, Field, FieldRef, Int32Type, Int64Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DataFusionError, SchemaError};
use datafusion::logical_expr::{Expr, Volatility};
use datafusion::physical_expr::PhysicalExpr;
use kerntrail_common::suggest::did_you_mean;
use kerntrail_schemas::Table;
use kerntrail_schemas::identity::{EVENT_ID, EXEC_ID, event_id, exec_id};

/// Why a `where` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RowFilterError {
    /// It names a column that none of the tables has.
    #[error("no column `{column}` in {tables}{hint}")]
    Column {
        /// The name.
        column: String,
        /// The tables.
        tables: String,
        /// `; did you mean X?`, or nothing.
        hint: String,
    },
    /// It is not a condition on one row.
    #[error("{problem}")]
    Unfit {
        /// What is wrong with it.
        problem: String,
    },
    /// It is not an SQL expression.
    #[error("not an SQL expression over the columns of a row")]
    Sql(#[source] Box<DataFusionError>),
}

/// A compiled `where`, or none.
#[derive(Clone, Debug, Default)]
pub struct RowFilter {
    condition: Option<Condition>,
}

#[derive(Clone, Debug)]
struct Condition {
    expression: Arc<dyn PhysicalExpr>,
    /// The columns it reads.
    schema: SchemaRef,
}

/// Whether a row is selected; an error message where the condition failed for the row.
pub type Selected = Result<bool, String>;

impl RowFilter {
    /// Compiles `condition` for rows of `tables`; without one, every row is selected.
    ///
    /// Errors: see [`RowFilterError`].
    pub fn compile(condition: Option<&str>, tables: &[Table]) -> Result<Self, RowFilterError> {
        let condition = condition.map(|condition| compile(condition, tables)).transpose()?;
        Ok(Self { condition })
    }

    /// Which rows of `batch` are selected; `batch` is what [`with_ids`] gave.
    ///
    /// A row for which the condition fails (a division by zero, an invalid cast) does not affect the others.
    ///
    /// Errors: `batch` has a column of another type than the tables.
    pub fn apply(&self, batch: &RecordBatch) -> Result<Vec<Selected>, ArrowError> {
        let Some(condition) = &self.condition else { return Ok(vec![Ok(true); batch.num_rows()]) };
        let batch = condition.columns_of(batch)?;
        if let Ok(selected) = condition.evaluate(&batch) {
            return Ok(selected);
        }
        let alone = (0..batch.num_rows()).map(|index| condition.evaluate(&batch.slice(index, 1)));
        Ok(alone.flat_map(|selected| selected.unwrap_or_else(|error| vec![Err(error.to_string())])).collect())
    }
}

impl Condition {
    /// The columns that the condition reads; NULLs where `batch` lacks one.
    fn columns_of(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let rows = batch.num_rows();
        let column = |field: &FieldRef| {
            batch.column_by_name(field.name()).cloned().unwrap_or_else(|| new_null_array(field.data_type(), rows))
        };
        let columns = self.schema.fields().iter().map(column).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<Vec<Selected>, DataFusionError> {
        let value = self.expression.evaluate(batch)?.into_array(batch.num_rows())?;
        let selected: &BooleanArray = value.as_boolean();
        // NULL: it is not known to be true.
        Ok(selected.iter().map(|selected| Ok(selected.unwrap_or(false))).collect())
    }
}

fn compile(condition: &str, tables: &[Table]) -> Result<Condition, RowFilterError> {
    let state = kerntrail_session::unguarded(|config| config.with_target_partitions(1)).state();
    let columns = columns(tables);
    let sql = |source: DataFusionError| from_datafusion(source, tables, &columns);
    let all: Vec<FieldRef> = columns.values().cloned().collect();
    let all = DFSchema::try_from(Schema::new(all)).map_err(sql)?;
    let expression = state.create_logical_expr(condition, &all).map_err(sql)?;
    refuse_unfit(&expression).map_err(sql)?.map_or(Ok(()), |problem| Err(RowFilterError::Unfit { problem }))?;
    let read: Vec<FieldRef> =
        expression.column_refs().iter().filter_map(|column| columns.get(&column.name).cloned()).collect();
    let schema = Arc::new(Schema::new(read));
    let df_schema = DFSchema::try_from(Arc::clone(&schema)).map_err(sql)?;
    let expression = state.create_physical_expr(expression, &df_schema).map_err(sql)?;
    match expression.data_type(&schema).map_err(sql)? {
        DataType::Boolean => Ok(Condition { expression, schema }),
        other => Err(RowFilterError::Unfit { problem: format!("its value is {other}, not true or false") }),
    }
}

/// The columns of all of `tables`, by name.
fn columns(tables: &[Table]) -> BTreeMap<String, FieldRef> {
    let fields = tables.iter().flat_map(|&table| schema_with_ids(table).fields().to_vec());
    fields.map(|field| (field.name().clone(), field)).collect()
}

/// Why `expression` is not a condition on one row.
fn refuse_unfit(expression: &Expr) -> Result<Option<String>, DataFusionError> {
    let mut problem = None;
    expression.apply(|part| {
        problem = match part {
            Expr::AggregateFunction(_) | Expr::WindowFunction(_) => Some(format!("{part} needs more than one row")),
            Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_) => {
                Some("a subquery needs more than the row".to_owned())
            }
            Expr::Placeholder(_) => Some(format!("{part} has no value here")),
            Expr::Alias(_) => Some("an alias has no use here".to_owned()),
            Expr::ScalarFunction(call) if call.func.signature().volatility != Volatility::Immutable => {
                Some(format!("{}() depends on more than the row", call.func.name()))
            }
            _ => None,
        };
        Ok(if problem.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(problem)
}

fn from_datafusion(source: DataFusionError, tables: &[Table], columns: &BTreeMap<String, FieldRef>) -> RowFilterError {
    if let DataFusionError::SchemaError(error, _) = source.find_root()
        && let SchemaError::FieldNotFound { field, .. } = error.as_ref()
    {
        let hint = did_you_mean(&field.name, columns.keys().map(String::as_str));
        let tables = tables.iter().map(|table| table.name()).collect::<Vec<_>>().join(", ");
        return RowFilterError::Column { column: field.name.clone(), tables, hint };
    }
    RowFilterError::Sql(Box::new(source))
}

fn schema_with_ids(table: Table) -> SchemaRef {
    let mut fields: Vec<_> = table.schema().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(EVENT_ID.name, DataType::Utf8, true)));
    if table.has_actor() {
        fields.push(Arc::new(Field::new(EXEC_ID.name, DataType::Utf8, true)));
    }
    Arc::new(Schema::new(fields))
}

/// `flat` (rows of `table`) with the computed columns, for [`RowFilter::apply`].
///
/// Errors: `flat` does not have the columns of `table`.
pub fn with_ids(table: Table, flat: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let column = |name: &str| {
        flat.column_by_name(name).ok_or_else(|| ArrowError::SchemaError(format!("rows of {table} have no {name}")))
    };
    let (stream, cpu, seq) = (column("stream")?.as_string::<i32>(), column("cpu")?, column("seq")?);
    let (cpu, seq) = (cpu.as_primitive::<Int32Type>(), seq.as_primitive::<Int64Type>());
    let known = |arrays: &[&dyn Array], index| arrays.iter().all(|array| array.is_valid(index));
    let event_ids: StringArray = (0..flat.num_rows())
        .map(|index| {
            let known = known(&[stream, cpu, seq], index);
            known.then(|| event_id(stream.value(index), cpu.value(index), seq.value(index)))
        })
        .collect();
    let mut columns: Vec<ArrayRef> = flat.columns().to_vec();
    columns.push(Arc::new(event_ids));
    if table.has_actor() {
        let (uid, exec) = (column("process_uid")?.as_string::<i32>(), column("exec_seq")?.as_primitive::<Int32Type>());
        let exec_ids: StringArray = (0..flat.num_rows())
            .map(|index| known(&[uid, exec], index).then(|| exec_id(uid.value(index), exec.value(index))))
            .collect();
        columns.push(Arc::new(exec_ids));
    }
    RecordBatch::try_new(schema_with_ids(table), columns)
}

#[cfg(test)]
mod tests {
    use kerntrail_schemas::TableBuilder;
    use kerntrail_schemas::identity::StreamId;
    use kerntrail_schemas::tables::{Actor, Envelope, ProcessColumns};

    use super::*;

    const TABLE: Table = Table::ProcessEvents;

    /// Rows of processes with pid 0, 1, 2 and an unknown one; `namespace` of each but the first.
    fn batch() -> RecordBatch {
        let mut builder = TableBuilder::<ProcessColumns>::default();
        for (seq, pid) in [Some(0), Some(1), Some(2), None].into_iter().enumerate() {
            let namespace = (seq > 0).then(|| format!("ns{seq}"));
            let args = Some(vec!["sh".to_owned(), format!("a {seq}")]);
            let actor = Arc::new(Actor { pid, namespace, args, ..Actor::default() });
            let envelope = Envelope {
                stream: Some(StreamId::new("s")),
                cpu: Some(0),
                seq: Some(seq as i64),
                ..Envelope::default()
            };
            builder.append(&envelope, Some(&actor), &ProcessColumns::default());
        }
        with_ids(TABLE, &builder.finish().unwrap().flatten().unwrap()).unwrap()
    }

    #[test]
    fn conditions_select_rows() {
        for (condition, expected) in [
            ("true", [true; 4]),
            ("namespace = 'ns1'", [false, true, false, false]),
            ("namespace IS NULL OR pid > 1", [true, false, true, false]),
            ("not (namespace = 'ns1')", [false, false, true, true]),
            ("namespace LIKE 'ns%' AND event_id IN ('s-0-2', 's-0-3')", [false, false, true, true]),
            ("args[2] = 'a 3'", [false, false, false, true]),
            ("regexp_like(namespace, '^ns[12]$')", [false, true, true, false]),
            ("pid = 1 OR exec_id = 'x.1'", [false, true, false, false]),
        ] {
            let filter =
                RowFilter::compile(Some(condition), &[TABLE]).unwrap_or_else(|error| panic!("{condition}: {error:?}"));
            let selected: Vec<bool> =
                filter.apply(&batch()).unwrap().into_iter().map(|selected| selected.unwrap()).collect();
            assert_eq!(selected, expected, "{condition}");
        }
        assert_eq!(RowFilter::compile(None, &[TABLE]).unwrap().apply(&batch()).unwrap(), vec![Ok(true); 4]);
    }

    #[test]
    fn a_row_that_cannot_be_computed_does_not_affect_the_others() {
        let filter = RowFilter::compile(Some("2 / pid = 1"), &[TABLE]).unwrap();
        let selected = filter.apply(&batch()).unwrap();
        assert!(selected[0].as_ref().unwrap_err().to_lowercase().contains("divide by zero"), "{selected:?}");
        assert_eq!(selected[1..], [Ok(false), Ok(true), Ok(false)]);
    }

    #[test]
    fn invalid_conditions_are_refused() {
        for (condition, expected) in [
            ("namespce = 'x'", "no column `namespce` in process_events; did you mean `namespace`?"),
            ("pid +", "not an SQL expression"),
            ("pid = 1 extra", "not an SQL expression"),
            ("pid = 1 as extra", "no use here"),
            ("pid = 1; drop table x", "not an SQL expression"),
            ("pid + 1", "not true or false"),
            ("now() > time", "now() depends on more than the row"),
            ("random() > 0.5", "random() depends on more than the row"),
            ("count(pid) > 1", "needs more than one row"),
            ("no_such_function(pid)", "not an SQL expression"),
            ("pid = $1", "no value here"),
        ] {
            let error = RowFilter::compile(Some(condition), &[TABLE]).unwrap_err().to_string();
            assert!(error.contains(expected), "{condition}: {error}");
        }
    }

    #[test]
    fn a_column_that_a_table_lacks_is_null_in_its_rows() {
        for (condition, expected) in [
            ("severity = 'high'", [false; 4]),
            ("severity = 'high' OR pid = 1", [false, true, false, false]),
            ("severity IS NULL", [true; 4]),
        ] {
            let filter = RowFilter::compile(Some(condition), &[Table::Findings, TABLE]).unwrap();
            let selected: Vec<bool> =
                filter.apply(&batch()).unwrap().into_iter().map(|selected| selected.unwrap()).collect();
            assert_eq!(selected, expected, "{condition}");
        }
        let error = RowFilter::compile(Some("severity = 'high'"), &[TABLE]).unwrap_err().to_string();
        assert_eq!(error, "no column `severity` in process_events");
    }
}

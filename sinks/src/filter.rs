//! `where`: an SQL condition on a row, compiled once.
//!
//! It sees the columns of the sink's tables, and the computed `event_id` and (of tables with actors) `exec_id`, as the
//! query service shows them. A column that a row's table lacks is NULL.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, FieldRef, Int32Type, Int64Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use datafusion::common::DataFusionError;
use kerntrail_common::suggest::did_you_mean;
use kerntrail_schemas::Table;
use kerntrail_schemas::identity::{EVENT_ID, EXEC_ID, event_id, exec_id};
use kerntrail_session::condition::{Condition, ConditionError, Selected};

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

impl RowFilter {
    /// Compiles `condition` for rows of `tables`; without one, every row is selected.
    ///
    /// Errors: see [`RowFilterError`].
    pub fn compile(condition: Option<&str>, tables: &[Table]) -> Result<Self, RowFilterError> {
        let columns = columns(tables);
        let all: Vec<FieldRef> = columns.values().cloned().collect();
        let compiled = condition.map(|condition| Condition::compile(condition, &all)).transpose();
        Ok(Self { condition: compiled.map_err(|error| named(error, tables, &columns))? })
    }

    /// Which rows of `batch` are selected; `batch` is what [`with_ids`] gave.
    ///
    /// A row for which the condition fails (a division by zero, an invalid cast) does not affect the others.
    ///
    /// Errors: `batch` has a column of another type than the tables.
    pub fn apply(&self, batch: &RecordBatch) -> Result<Vec<Selected>, ArrowError> {
        match &self.condition {
            Some(condition) => condition.apply(batch),
            None => Ok(vec![Ok(true); batch.num_rows()]),
        }
    }
}

/// The columns of all of `tables`, by name.
fn columns(tables: &[Table]) -> BTreeMap<String, FieldRef> {
    let fields = tables.iter().flat_map(|&table| schema_with_ids(table).fields().to_vec());
    fields.map(|field| (field.name().clone(), field)).collect()
}

fn named(error: ConditionError, tables: &[Table], columns: &BTreeMap<String, FieldRef>) -> RowFilterError {
    match error {
        ConditionError::Column(column) => {
            let hint = did_you_mean(&column, columns.keys().map(String::as_str));
            let tables = tables.iter().map(|table| table.name()).collect::<Vec<_>>().join(", ");
            RowFilterError::Column { column, tables, hint }
        }
        ConditionError::Unfit(problem) => RowFilterError::Unfit { problem },
        ConditionError::Sql(source) => RowFilterError::Sql(source),
    }
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

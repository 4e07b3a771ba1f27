//! An SQL condition on a row, compiled once: of a sink's `where`, or of an exception of the rules.
//!
//! Its value must depend on the row alone, so functions of the current time or of random numbers are refused.

use std::sync::Arc;

use datafusion::arrow::array::{AsArray, BooleanArray, RecordBatch, RecordBatchOptions, new_null_array};
use datafusion::arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DataFusionError, SchemaError};
use datafusion::logical_expr::{Expr, Volatility};
use datafusion::physical_expr::PhysicalExpr;

/// Why a condition cannot be used.
#[derive(Debug)]
pub enum ConditionError {
    /// It names a column that there is not.
    Column(String),
    /// It is not a condition on one row.
    Unfit(String),
    /// It is not an SQL expression.
    Sql(Box<DataFusionError>),
}

/// A compiled condition.
#[derive(Clone, Debug)]
pub struct Condition {
    expression: Arc<dyn PhysicalExpr>,
    /// The columns it reads.
    schema: SchemaRef,
}

/// Whether a row is selected; an error message where the condition failed for the row.
pub type Selected = Result<bool, String>;

impl Condition {
    /// Compiles `condition` for rows with `columns`.
    pub fn compile(condition: &str, columns: &[FieldRef]) -> Result<Self, ConditionError> {
        let state = crate::unguarded(|config| config.with_target_partitions(1)).state();
        let all = DFSchema::try_from(Schema::new(columns.to_vec())).map_err(from_datafusion)?;
        let expression = state.create_logical_expr(condition, &all).map_err(from_datafusion)?;
        if let Some(problem) = refuse_unfit(&expression).map_err(from_datafusion)? {
            return Err(ConditionError::Unfit(problem));
        }
        let column = |name: &str| columns.iter().find(|field| field.name() == name).cloned();
        let read: Vec<FieldRef> = expression.column_refs().iter().filter_map(|read| column(&read.name)).collect();
        let schema = Arc::new(Schema::new(read));
        let df_schema = DFSchema::try_from(Arc::clone(&schema)).map_err(from_datafusion)?;
        let expression = state.create_physical_expr(expression, &df_schema).map_err(from_datafusion)?;
        match expression.data_type(&schema).map_err(from_datafusion)? {
            DataType::Boolean => Ok(Self { expression, schema }),
            other => Err(ConditionError::Unfit(format!("its value is {other}, not true or false"))),
        }
    }

    /// Which rows of `batch` are selected; a column that it lacks is NULL.
    ///
    /// A row for which the condition fails (a division by zero, an invalid cast) does not affect the others.
    ///
    /// Errors: `batch` has a column of another type than the condition was compiled for.
    pub fn apply(&self, batch: &RecordBatch) -> Result<Vec<Selected>, ArrowError> {
        let batch = self.columns_of(batch)?;
        if let Ok(selected) = self.evaluate(&batch) {
            return Ok(selected);
        }
        let alone = (0..batch.num_rows()).map(|index| self.evaluate(&batch.slice(index, 1)));
        Ok(alone.flat_map(|selected| selected.unwrap_or_else(|error| vec![Err(error.to_string())])).collect())
    }

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

fn from_datafusion(source: DataFusionError) -> ConditionError {
    if let DataFusionError::SchemaError(error, _) = source.find_root()
        && let SchemaError::FieldNotFound { field, .. } = error.as_ref()
    {
        return ConditionError::Column(field.name.clone());
    }
    ConditionError::Sql(Box::new(source))
}

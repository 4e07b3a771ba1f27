//! A table as SQL sees it: the stored columns, and those that are computed from them.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::catalog::view::ViewTable;
use datafusion::common::{Column, ScalarValue};
use datafusion::datasource::empty::EmptyTable;
use datafusion::datasource::provider_as_source;
use datafusion::error::DataFusionError;
use datafusion::functions_nested::expr_fn::array_prepend;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, Operator, binary_expr, cast, lit, when};
use kerntrail_schemas::Table;
use kerntrail_schemas::identity::{EVENT_ID, EXEC_ID, JoinedId};

/// The programs from the parent up to the root.
pub(crate) const ANCESTORS: &str = "ancestors";

/// `table` with `event_id`, and where rows have an actor, `exec_id` and `ancestors` (programs from the parent up to
/// the root). Without a provider it is empty; a column that older files lack is NULL.
pub(crate) fn view(
    table: Table,
    stored: Option<Arc<dyn TableProvider>>,
) -> Result<Arc<dyn TableProvider>, DataFusionError> {
    let schema = table.schema();
    let stored = stored.unwrap_or_else(|| Arc::new(EmptyTable::new(Arc::clone(&schema))));
    let columns = columns_of(table, &schema, &stored.schema())?;
    let plan = LogicalPlanBuilder::scan(table.name(), provider_as_source(stored), None)?.project(columns)?.build()?;
    Ok(Arc::new(ViewTable::new(plan, None)))
}

fn columns_of(table: Table, schema: &SchemaRef, stored: &SchemaRef) -> Result<Vec<Expr>, DataFusionError> {
    let present: HashSet<&str> = stored.fields().iter().map(|field| field.name().as_str()).collect();
    let mut columns = Vec::with_capacity(schema.fields().len() + 3);
    columns.push(joined(&EVENT_ID));
    for field in schema.fields() {
        let name = field.name().as_str();
        columns.push(match present.contains(name) {
            true => column(name),
            false => Expr::Literal(ScalarValue::try_from(field.data_type())?, None).alias(name),
        });
        match name {
            "exec_seq" if table.has_actor() => columns.push(joined(&EXEC_ID)),
            "ancestor_paths" => columns.push(ancestors(field.data_type())?.alias(ANCESTORS)),
            _ => {}
        }
    }
    Ok(columns)
}

fn column(name: &str) -> Expr {
    Expr::Column(Column::from_name(name))
}

/// `id` as a column of its name.
fn joined(id: &JoinedId) -> Expr {
    let texts = id.columns.iter().map(|name| cast(column(name), DataType::Utf8));
    let text = texts.reduce(|left, right| concat(concat(left, lit(id.separator)), right));
    text.unwrap_or_else(|| lit(ScalarValue::Utf8(None))).alias(id.name)
}

fn concat(left: Expr, right: Expr) -> Expr {
    binary_expr(left, Operator::StringConcat, right)
}

/// The parent's program in front of the stored list.
fn ancestors(list: &DataType) -> Result<Expr, DataFusionError> {
    let above = column("ancestor_paths");
    let with_parent = cast(array_prepend(column("parent_path"), above.clone()), list.clone());
    when(column("parent_path").is_null(), cast(above, list.clone())).otherwise(with_parent)
}

//! `list[array_length(list)]`: an unsigned index of a list, which DataFusion 55 refuses. Arithmetic with it gives a decimal.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawFieldAccessExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, GetFieldAccess, cast};

/// Makes indexes signed, before DataFusion's own planners see them.
#[derive(Debug)]
pub(crate) struct SignedIndexes;

impl ExprPlanner for SignedIndexes {
    fn plan_field_access(
        &self,
        access: RawFieldAccessExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawFieldAccessExpr>> {
        let field_access = match access.field_access {
            GetFieldAccess::ListIndex { key } => GetFieldAccess::ListIndex { key: signed(key, schema)? },
            GetFieldAccess::ListRange { start, stop, stride } => GetFieldAccess::ListRange {
                start: signed(start, schema)?,
                stop: signed(stop, schema)?,
                stride: signed(stride, schema)?,
            },
            name => name,
        };
        Ok(PlannerResult::Original(RawFieldAccessExpr { field_access, ..access }))
    }
}

fn signed(index: Box<Expr>, schema: &DFSchema) -> Result<Box<Expr>> {
    Ok(match index.get_type(schema)? {
        number if number.is_unsigned_integer() || number.is_decimal() => Box::new(cast(*index, DataType::Int64)),
        _ => index,
    })
}

//! Queries that DataFusion 55 answers wrongly, as errors that say how to write them.

use std::collections::BTreeSet;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result, ScalarValue, plan_err};
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::logical_plan::Subquery;
use datafusion::logical_expr::utils::{merge_schema, split_conjunction};
use datafusion::logical_expr::{Aggregate, Expr, ExprSchemable, Limit, LogicalPlan};
use datafusion::optimizer::AnalyzerRule;

/// The rule, which runs before types are coerced.
#[derive(Debug)]
pub(crate) struct WrongAnswers;

impl AnalyzerRule for WrongAnswers {
    fn name(&self) -> &str {
        "wrong_answers"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.apply_with_subqueries(|plan| {
            check_unnest(plan)?;
            for input in plan.inputs() {
                if let LogicalPlan::Subquery(lateral) = input {
                    check_parts(lateral)?;
                    check_aggregate_over_joins(lateral)?;
                }
            }
            if !matches!(plan, LogicalPlan::Filter(_) | LogicalPlan::Join(_)) {
                check_comparisons(plan)?;
            }
            let schema = merge_schema(&plan.inputs());
            plan.apply_expressions(|expr| {
                expr.apply(|part| {
                    check_expression(part, &schema)?;
                    Ok(TreeNodeRecursion::Continue)
                })
            })
        })?;
        Ok(plan)
    }
}

fn check_expression(expr: &Expr, schema: &DFSchema) -> Result<()> {
    match expr {
        Expr::Exists(exists) => check_correlated(&exists.subquery),
        Expr::InSubquery(membership) => check_correlated(&membership.subquery),
        Expr::SetComparison(comparison) => check_correlated(&comparison.subquery),
        Expr::ScalarSubquery(subquery) => {
            check_parts(subquery)?;
            check_aggregate_over_joins(subquery)
        }
        Expr::ScalarFunction(function) if function.func.name() == "date_bin" => match function.args.get(1) {
            // It counts from midnight UTC, whatever the zone (apache/datafusion#25167).
            Some(time) if has_zone(&time.get_type(schema)?) => {
                plan_err!("date_bin() bins in UTC; write date_bin(interval, to_local_time(time))")
            }
            _ => Ok(()),
        },
        Expr::Cast(Cast { expr, field }) if matches!(field.data_type(), DataType::Timestamp(_, None)) => {
            // The result would be the time in UTC (apache/datafusion#25175).
            match has_zone(&expr.get_type(schema)?) {
                true => plan_err!("this cast gives the time in UTC; write to_local_time(time) for that of its zone"),
                false => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// Whether it is a time in a zone other than UTC.
fn has_zone(data_type: &DataType) -> bool {
    let DataType::Timestamp(_, Some(zone)) = data_type else { return false };
    !matches!(zone.as_ref(), "UTC" | "Z" | "+00:00" | "+00" | "+0000")
}

/// An aggregate without GROUP BY has a row even for no rows; joined with the outer query, it has none
/// (apache/datafusion#24960).
fn check_correlated(subquery: &Subquery) -> Result<()> {
    check_parts(subquery)?;
    if subquery.outer_ref_columns.is_empty() || !always_has_a_row(&subquery.subquery) {
        return Ok(());
    }
    plan_err!(
        "a subquery of EXISTS or IN that refers to the outer query cannot be an aggregate without GROUP BY; compare \
         the aggregate: (select count(*) ...) > 0"
    )
}

fn always_has_a_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(Aggregate { group_expr, .. }) => group_expr.is_empty(),
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Distinct(_) => plan.inputs().into_iter().all(always_has_a_row),
        _ => false,
    }
}

/// Parts that are lost, or computed over the rows of all outer rows together, where a subquery that refers to the outer query
/// becomes a join: grouping sets (apache/datafusion#25519), window functions, OFFSET, and HAVING without GROUP BY.
fn check_parts(subquery: &Subquery) -> Result<()> {
    if subquery.outer_ref_columns.is_empty() {
        return Ok(());
    }
    subquery.subquery.apply(|plan| {
        let part = match plan {
            LogicalPlan::Aggregate(Aggregate { group_expr, .. })
                if group_expr.iter().any(|expr| matches!(expr, Expr::GroupingSet(_))) =>
            {
                "ROLLUP, CUBE or GROUPING SETS"
            }
            LogicalPlan::Window(_) => "window functions or QUALIFY",
            LogicalPlan::Limit(Limit { skip: Some(skip), .. })
                if skip.as_literal().is_none_or(|skip| *skip != ScalarValue::Int64(Some(0))) =>
            {
                "OFFSET"
            }
            LogicalPlan::Filter(filter) if is_single_row(&filter.input) => "HAVING without GROUP BY",
            _ => return Ok(TreeNodeRecursion::Continue),
        };
        plan_err!("a subquery that refers to the outer query cannot have {part}; write a join")
    })?;
    Ok(())
}

/// Whether it is an aggregate over all rows.
fn is_single_row(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::Aggregate(Aggregate { group_expr, .. }) if group_expr.is_empty())
}

/// An aggregate is computed by the columns that are compared with the outer query; with those of several tables, it has a row for
/// each combination of them.
fn check_aggregate_over_joins(subquery: &Subquery) -> Result<()> {
    let has_aggregate = subquery.subquery.exists(|plan| Ok(matches!(plan, LogicalPlan::Aggregate(_))))?;
    if subquery.outer_ref_columns.is_empty() || !has_aggregate {
        return Ok(());
    }
    let mut tables = BTreeSet::new();
    subquery.subquery.apply(|plan| {
        plan.apply_expressions(|expr| {
            for condition in split_conjunction(expr).into_iter().filter(|condition| condition.contains_outer()) {
                tables.extend(condition.column_refs().into_iter().map(|column| column.relation.clone()));
            }
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    match tables.len() {
        0 | 1 => Ok(()),
        _ => plan_err!(
            "an aggregate in a subquery cannot compare several of its tables with the outer query; compare one, and join the \
             others to it"
        ),
    }
}

/// Outside of conditions, a comparison with ANY or ALL of a subquery is not planned.
fn check_comparisons(plan: &LogicalPlan) -> Result<()> {
    let is_one = |part: &Expr| matches!(part, Expr::SetComparison(_) | Expr::InSubquery(_) | Expr::Exists(_));
    plan.apply_expressions(|expr| match expr.exists(|part| Ok(is_one(part)))? {
        true => plan_err!("IN, EXISTS, ANY and ALL of a subquery can stand in WHERE, HAVING and ON only"),
        false => Ok(TreeNodeRecursion::Continue),
    })?;
    Ok(())
}

/// UNNEST repeats rows whose keys still count as unique, so that a DISTINCT, an ORDER BY, a GROUP BY or a join above it
/// is simplified wrongly (apache/datafusion#24787).
fn check_unnest(plan: &LogicalPlan) -> Result<()> {
    let relies = match plan {
        LogicalPlan::Distinct(_) | LogicalPlan::Aggregate(_) | LogicalPlan::Join(_) => true,
        LogicalPlan::Sort(sort) => sort.expr.len() > 1,
        _ => false,
    };
    let repeats = |plan: &LogicalPlan| match plan {
        LogicalPlan::Unnest(unnest) => {
            !unnest.list_type_columns.is_empty() && !unnest.schema.functional_dependencies().is_empty()
        }
        _ => false,
    };
    if relies && plan.exists(|plan| Ok(repeats(plan)))? {
        return plan_err!(
            "the rows of UNNEST over GROUP BY cannot be sorted by several columns, grouped, joined or made DISTINCT; \
             unnest first, and group then"
        );
    }
    Ok(())
}

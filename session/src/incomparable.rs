//! Intervals are neither equal nor ordered: a month may have 28 or 31 days.
//!
//! DataFusion 55 orders them by months, then days, then the rest, so that a day is more than 36 hours, and takes 24 hours
//! and a day for different groups. Here whatever would compare two of them is an error: sorting, grouping, DISTINCT, joins,
//! and all functions except those that pass a value on or add it to a time.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result, plan_err};
use datafusion::logical_expr::expr::{
    AggregateFunction, AggregateFunctionParams, BinaryExpr, Case, InList, InSubquery, ScalarFunction, SetComparison,
    Sort, WindowFunction, WindowFunctionParams,
};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Distinct, Expr, ExprSchemable, LogicalPlan};
use datafusion::optimizer::AnalyzerRule;

use crate::intervals::compares;

/// Functions that compare none of their arguments.
const COMPARES_NOTHING: &[&str] = &[
    // Of one row.
    "array_append",
    "array_element",
    "array_length",
    "array_prepend",
    "array_slice",
    "arrow_typeof",
    "cardinality",
    "coalesce",
    "date_bin",
    "date_part",
    "epoch",
    "generate_series",
    "get_field",
    "make_array",
    "named_struct",
    "nvl",
    "nvl2",
    "range",
    "struct",
    "to_local_time",
    // Of several rows.
    "array_agg",
    "count",
    "first_value",
    "lag",
    "last_value",
    "lead",
    "nth_value",
];

/// The rule, which runs before types are coerced, after comparisons with durations became exact.
#[derive(Debug)]
pub(crate) struct NoOrderOfIntervals;

impl AnalyzerRule for NoOrderOfIntervals {
    fn name(&self) -> &str {
        "no_order_of_intervals"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.apply_with_subqueries(|plan| {
            let columns = merge_schema(&plan.inputs());
            check_node(plan, &columns)?;
            plan.apply_expressions(|expr| {
                expr.apply(|part| {
                    check_expression(part, &columns)?;
                    Ok(TreeNodeRecursion::Continue)
                })
            })
        })?;
        Ok(plan)
    }
}

fn check_node(plan: &LogicalPlan, columns: &DFSchema) -> Result<()> {
    match plan {
        LogicalPlan::Sort(sort) => check_sort("ORDER BY", &sort.expr, columns),
        LogicalPlan::Aggregate(aggregate) => {
            let keys = aggregate.group_expr.iter().flat_map(|key| match key {
                Expr::GroupingSet(sets) => sets.distinct_expr(),
                key => vec![key],
            });
            check("GROUP BY", keys, columns)
        }
        LogicalPlan::Distinct(Distinct::On(distinct)) => check("DISTINCT", &distinct.on_expr, columns),
        LogicalPlan::Distinct(Distinct::All(rows)) => check_columns("DISTINCT", rows),
        LogicalPlan::RecursiveQuery(query) if query.is_distinct => check_columns("UNION", &query.static_term),
        LogicalPlan::Join(join) => {
            let sides = join.on.iter().flat_map(|(left, right)| [left, right]);
            check("JOIN", sides, columns)
        }
        _ => Ok(()),
    }
}

fn check_expression(expr: &Expr, columns: &DFSchema) -> Result<()> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if compares(*op) => {
            check(&op.to_string(), [left.as_ref(), right.as_ref()], columns)
        }
        Expr::Between(between) => check("BETWEEN", [between.expr.as_ref()], columns),
        Expr::Case(Case { expr: Some(value), .. }) => check("CASE", [value.as_ref()], columns),
        Expr::InList(InList { expr, .. })
        | Expr::InSubquery(InSubquery { expr, .. })
        | Expr::SetComparison(SetComparison { expr, .. }) => check("IN", [expr.as_ref()], columns),
        Expr::ScalarFunction(ScalarFunction { func, args }) if !COMPARES_NOTHING.contains(&func.name()) => {
            check(&format!("{}()", func.name()), args, columns)
        }
        Expr::AggregateFunction(AggregateFunction { func, params }) => {
            let AggregateFunctionParams { args, distinct, order_by, .. } = params;
            check_function(func.name(), *distinct, args, columns)?;
            check_sort("ORDER BY", order_by, columns)
        }
        Expr::WindowFunction(function) => {
            let WindowFunction { fun, params } = function.as_ref();
            let WindowFunctionParams { args, partition_by, order_by, distinct, .. } = params;
            check_function(fun.name(), *distinct, args, columns)?;
            check("PARTITION BY", partition_by, columns)?;
            check_sort("ORDER BY", order_by, columns)
        }
        _ => Ok(()),
    }
}

fn check_function(name: &str, is_distinct: bool, args: &[Expr], columns: &DFSchema) -> Result<()> {
    match COMPARES_NOTHING.contains(&name) && !is_distinct {
        true => Ok(()),
        false => check(&format!("{name}()"), args, columns),
    }
}

fn check_columns(part: &str, rows: &LogicalPlan) -> Result<()> {
    match rows.schema().fields().iter().any(|field| holds_interval(field.data_type())) {
        true => refuse(part),
        false => Ok(()),
    }
}

fn check_sort(part: &str, keys: &[Sort], columns: &DFSchema) -> Result<()> {
    check(part, keys.iter().map(|key| &key.expr), columns)
}

fn check<'a>(part: &str, compared: impl IntoIterator<Item = &'a Expr>, columns: &DFSchema) -> Result<()> {
    // A value without a type is reported by the planner.
    let is_interval = |expr: &Expr| expr.get_type(columns).is_ok_and(|data_type| holds_interval(&data_type));
    match compared.into_iter().any(is_interval) {
        true => refuse(part),
        false => Ok(()),
    }
}

fn refuse(part: &str) -> Result<()> {
    plan_err!(
        "intervals cannot be compared, since months differ in length, so {part} does not take them; take their seconds: \
         extract(epoch from ...)"
    )
}

/// Whether it is an interval, or has one inside.
fn holds_interval(data_type: &DataType) -> bool {
    match data_type {
        DataType::Interval(_) => true,
        DataType::Struct(fields) => fields.iter().any(|field| holds_interval(field.data_type())),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::Map(item, _) => holds_interval(item.data_type()),
        DataType::Dictionary(_, value) => holds_interval(value),
        _ => false,
    }
}

//! Bounds what the planner makes of a statement's own syntax, where it does not look a function up by its name: `||`,
//! `overlay(… placing …)`, `[…]`; and aggregates that keep their input or are over windows.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::{AggregateFunction, BinaryExpr, ScalarFunction, WindowFunction};
use datafusion::logical_expr::{
    AggregateUDF, Expr, ExprSchemable, LogicalPlan, Operator, ScalarUDF, WindowFunctionDefinition,
};
use datafusion::optimizer::AnalyzerRule;

use super::Bounded;
use super::aggregate::{BoundedAggregate, KEEPING};
use super::concat::concat;
use super::distinct::{self, DistinctCount};
use super::sizes::{GROWING, Size, TOGETHER};
use crate::error::{ErrorKind, QueryError};

/// Replaces every call that may make much by one that is bounded. Runs after types are coerced.
#[derive(Debug)]
pub(crate) struct BoundFunctions {
    /// Bytes that all calls make at a time.
    pub(crate) most: usize,
    /// Bytes that an aggregate over windows makes in all.
    pub(crate) most_over_window: usize,
}

/// Bytes that one call may make at a time, however many there are: 1 KiB for each row of a batch.
const LEAST: usize = 8 << 20;

impl AnalyzerRule for BoundFunctions {
    fn name(&self) -> &str {
        "bound_functions"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let calls = count_calls(&plan)?;
        let share = (self.most / calls.max(1)).max(LEAST.min(self.most));
        kerntrail_session::rewrite_expressions(plan, |expr, schema| self.bounded(expr, schema, share))
    }
}

/// How many calls in `plan` may make much.
fn count_calls(plan: &LogicalPlan) -> Result<usize> {
    let mut calls = 0;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                calls += usize::from(match part {
                    Expr::BinaryExpr(BinaryExpr { op, .. }) => *op == Operator::StringConcat,
                    Expr::ScalarFunction(call) => growth(&call.func).is_some(),
                    _ => false,
                });
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(calls)
}

impl BoundFunctions {
    fn bounded(&self, expr: Expr, schema: &DFSchema, share: usize) -> Result<Transformed<Expr>> {
        let call = |inner, size, arguments| {
            Transformed::yes(ScalarUDF::new_from_impl(Bounded { inner, size, most: share }).call(arguments))
        };
        match expr {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::StringConcat, right })
                if is_text(&left.get_type(schema)?) && left.get_type(schema)? == right.get_type(schema)? =>
            {
                Ok(call(concat(), TOGETHER, vec![*left, *right]))
            }
            Expr::ScalarFunction(call) if CASTS.contains(&call.func.name()) => {
                refuse_wide(&call.func, &Expr::ScalarFunction(call.clone()).get_type(schema)?)?;
                Ok(Transformed::no(Expr::ScalarFunction(call)))
            }
            Expr::ScalarFunction(ScalarFunction { func, args }) => match growth(&func) {
                Some((inner, size)) => Ok(call(inner, size, args)),
                None => Ok(Transformed::no(Expr::ScalarFunction(ScalarFunction { func, args }))),
            },
            Expr::AggregateFunction(aggregate) => bounded_aggregate(aggregate, schema),
            Expr::WindowFunction(window) => self.over_window(window, schema),
            other => Ok(Transformed::no(other)),
        }
    }

    /// Numbers and times are as small as the rows they belong to.
    fn over_window(&self, mut window: Box<WindowFunction>, schema: &DFSchema) -> Result<Transformed<Expr>> {
        let WindowFunctionDefinition::AggregateUDF(aggregate) = &window.fun else {
            return Ok(Transformed::no(Expr::WindowFunction(window)));
        };
        let arguments = window.params.args.iter().map(|argument| Ok(argument.to_field(schema)?.1));
        let result = aggregate.return_field(&arguments.collect::<Result<Vec<_>>>()?)?;
        if result.data_type().is_primitive() || result.data_type() == &DataType::Boolean {
            return Ok(Transformed::no(Expr::WindowFunction(window)));
        }
        let frame = &window.params.window_frame;
        let is_same_for_all = frame.start_bound.is_unbounded() && frame.end_bound.is_unbounded();
        let bounded = BoundedAggregate::over_window(Arc::clone(aggregate), self.most_over_window, is_same_for_all);
        window.fun = WindowFunctionDefinition::AggregateUDF(Arc::new(AggregateUDF::new_from_impl(bounded)));
        Ok(Transformed::yes(Expr::WindowFunction(window)))
    }
}

/// `aggregate`, bounded where it keeps its input or begins with much for each group.
fn bounded_aggregate(mut aggregate: AggregateFunction, schema: &DFSchema) -> Result<Transformed<Expr>> {
    if let [argument] = aggregate.params.args.as_slice()
        && aggregate.params.distinct
        && aggregate.func.name() == "count"
        && distinct::begins_with_much(&argument.get_type(schema)?)
    {
        let counting = DistinctCount::new(Arc::clone(&aggregate.func));
        aggregate.func = Arc::new(AggregateUDF::new_from_impl(counting));
        return Ok(Transformed::yes(Expr::AggregateFunction(aggregate)));
    }
    let known = KEEPING.iter().find(|(name, _)| *name == aggregate.func.name());
    if let Some((_, copies)) = known {
        let bounded = BoundedAggregate::keeping(Arc::clone(&aggregate.func), *copies);
        aggregate.func = Arc::new(AggregateUDF::new_from_impl(bounded));
    }
    Ok(Transformed::new(Expr::AggregateFunction(aggregate), known.is_some(), TreeNodeRecursion::Continue))
}

/// Functions that name any type.
const CASTS: [&str; 4] = ["arrow_cast", "arrow_try_cast", "cast_to_type", "try_cast_to_type"];
/// Widest value of a type whose values all have the same width: one is made even for NULL.
const WIDEST: i32 = 1 << 10;

/// Errors: values of `data_type` are wider than [`WIDEST`] bytes or items.
fn refuse_wide(function: &ScalarUDF, data_type: &DataType) -> Result<()> {
    let (width, within) = match data_type {
        DataType::FixedSizeBinary(width) => (*width, None),
        DataType::FixedSizeList(item, width) => (*width, Some(item.data_type())),
        DataType::Dictionary(_, values) => (0, Some(values.as_ref())),
        DataType::List(item) | DataType::LargeList(item) | DataType::ListView(item) => (0, Some(item.data_type())),
        _ => (0, None),
    };
    if width > WIDEST {
        let text = format!("{}() to {data_type}: at most {WIDEST} are allowed", function.name());
        return Err(QueryError::new(ErrorKind::Limit, text).into());
    }
    within.map_or(Ok(()), |within| refuse_wide(function, within))
}

/// The function without its bound, and how it grows.
fn growth(function: &Arc<ScalarUDF>) -> Option<(Arc<ScalarUDF>, Size)> {
    if let Some(bounded) = function.inner().downcast_ref::<Bounded>() {
        return Some((Arc::clone(&bounded.inner), bounded.size));
    }
    let known = GROWING.iter().find(|(name, _)| *name == function.name());
    known.map(|(_, size)| (Arc::clone(function), *size))
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

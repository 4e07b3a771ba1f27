//! Durations and intervals, as their writers mean them.
//!
//! The difference of two times is a duration. DataFusion 55 compares it with an interval month by month, then day by
//! day, then by the rest, so `time - process_start_time > interval '1 day'` is never true (apache/datafusion#8468).
//! Here an interval of days and less becomes a duration before types are compared, and other intervals are an error.
//!
//! A day and an interval make a time: DataFusion 55 makes a day of them, and drops the hours.

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue, plan_err};
use datafusion::logical_expr::expr::{Between, BinaryExpr, InList};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, Operator, cast};
use datafusion::optimizer::AnalyzerRule;

const DAY_NANOS: i64 = 86_400_000_000_000;

/// The rule, which runs before DataFusion's own.
#[derive(Debug)]
pub(crate) struct ExactIntervals;

impl AnalyzerRule for ExactIntervals {
    fn name(&self) -> &str {
        "exact_intervals"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        crate::rewrite_expressions(plan, exact)
    }
}

/// `expr` with comparable operands, or an error when they are not.
fn exact(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if compares(op) => {
            let Some([left, right]) = comparable([left.as_ref(), right.as_ref()], schema)? else {
                return Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })));
            };
            Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr { left: Box::new(left), op, right: Box::new(right) })))
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if matches!(op, Operator::Plus | Operator::Minus) => {
            let is_day = |side: &Expr| matches!(side.get_type(schema), Ok(DataType::Date32 | DataType::Date64));
            let has_hours =
                |side: &Expr| matches!(side.get_type(schema), Ok(DataType::Interval(_))) && !is_of_whole_days(side);
            let time = |side: Box<Expr>| Box::new(cast(*side, DataType::Timestamp(TimeUnit::Microsecond, None)));
            let (left, right, is_changed) = if is_day(&left) && has_hours(&right) {
                (time(left), right, true)
            } else if op == Operator::Plus && has_hours(&left) && is_day(&right) {
                (left, time(right), true)
            } else {
                (left, right, false)
            };
            let sum = Expr::BinaryExpr(BinaryExpr { left, op, right });
            Ok(if is_changed { Transformed::yes(sum) } else { Transformed::no(sum) })
        }
        Expr::Between(Between { expr, negated, low, high }) => {
            let Some([expr, low, high]) = comparable([expr.as_ref(), low.as_ref(), high.as_ref()], schema)? else {
                return Ok(Transformed::no(Expr::Between(Between { expr, negated, low, high })));
            };
            let (expr, low, high) = (Box::new(expr), Box::new(low), Box::new(high));
            Ok(Transformed::yes(Expr::Between(Between { expr, negated, low, high })))
        }
        Expr::InList(InList { expr, list, negated }) => {
            let mut exact = Vec::with_capacity(list.len());
            let mut changed = false;
            for item in list {
                let pair = comparable([expr.as_ref(), &item], schema)?;
                changed |= pair.is_some();
                exact.push(pair.map_or(item, |[_, item]| item));
            }
            let list = Expr::InList(InList { expr, list: exact, negated });
            Ok(if changed { Transformed::yes(list) } else { Transformed::no(list) })
        }
        other => Ok(Transformed::no(other)),
    }
}

/// Whether `op` compares its operands by order or equality.
pub(crate) fn compares(op: Operator) -> bool {
    matches!(
        op,
        Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::IsDistinctFrom
            | Operator::IsNotDistinctFrom
    )
}

/// The operands of a comparison with each interval beside a duration as a duration; `None` when nothing changes.
fn comparable<const N: usize>(operands: [&Expr; N], schema: &DFSchema) -> Result<Option<[Expr; N]>> {
    let types = operands.map(|operand| operand.get_type(schema));
    // An operand without a type is reported by the planner.
    let Some(types) = types.into_iter().map(Result::ok).collect::<Option<Vec<_>>>() else { return Ok(None) };
    if !types.iter().any(|data_type| matches!(data_type, DataType::Interval(_))) {
        return Ok(None);
    }
    let unit = types.iter().find_map(|data_type| match data_type {
        DataType::Duration(unit) => Some(*unit),
        _ => None,
    });
    let Some(unit) = unit else { return Ok(None) };
    let mut exact = operands.map(Expr::clone);
    for (operand, data_type) in exact.iter_mut().zip(&types) {
        if matches!(data_type, DataType::Interval(_)) {
            *operand = Expr::Literal(duration(operand, unit)?, None);
        }
    }
    Ok(Some(exact))
}

/// Whether an interval is a constant of months and days.
fn is_of_whole_days(interval: &Expr) -> bool {
    match interval {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(value)), _) => value.nanoseconds == 0,
        Expr::Literal(ScalarValue::IntervalDayTime(Some(value)), _) => value.milliseconds == 0,
        Expr::Literal(ScalarValue::IntervalYearMonth(_), _) => true,
        _ => false,
    }
}

/// A constant interval of days and less, as a duration.
fn duration(interval: &Expr, unit: TimeUnit) -> Result<ScalarValue> {
    let nanos = match interval {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(value)), _) if value.months == 0 => {
            i64::from(value.days).checked_mul(DAY_NANOS).and_then(|days| days.checked_add(value.nanoseconds))
        }
        Expr::Literal(ScalarValue::IntervalDayTime(Some(value)), _) => {
            let millis = i64::from(value.milliseconds).checked_mul(1_000_000);
            let days = i64::from(value.days).checked_mul(DAY_NANOS);
            days.zip(millis).and_then(|(days, millis)| days.checked_add(millis))
        }
        _ => None,
    };
    let Some(nanos) = nanos else {
        return plan_err!(
            "a duration can be compared with a constant interval of days, hours and less, such as interval '36 hours'"
        );
    };
    Ok(match unit {
        TimeUnit::Second => ScalarValue::DurationSecond(Some(nanos / 1_000_000_000)),
        TimeUnit::Millisecond => ScalarValue::DurationMillisecond(Some(nanos / 1_000_000)),
        TimeUnit::Microsecond => ScalarValue::DurationMicrosecond(Some(nanos / 1_000)),
        TimeUnit::Nanosecond => ScalarValue::DurationNanosecond(Some(nanos)),
    })
}

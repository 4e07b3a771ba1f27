//! `extract(epoch from …)` of times, intervals and durations, as PostgreSQL defines it.
//!
//! DataFusion 55 divides nanoseconds since 1970, which a double cannot hold: `.25` of a second becomes `.2500002`. It takes
//! a year for 360 days, where PostgreSQL takes 365.25, and drops the fractions of a duration.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, Float64Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Int64Type, IntervalDayTimeType, IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType, TimeUnit,
};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use datafusion::optimizer::AnalyzerRule;

const DAY_SECONDS: f64 = 86_400.0;
/// PostgreSQL: a month has 30 days, and twelve of them 365.25.
const MONTH_SECONDS: f64 = 30.0 * DAY_SECONDS;
const YEAR_SECONDS: f64 = 365.25 * DAY_SECONDS;

/// The rule, which runs before types are coerced.
#[derive(Debug)]
pub(crate) struct ExactEpoch;

impl AnalyzerRule for ExactEpoch {
    fn name(&self) -> &str {
        "exact_epoch"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        crate::rewrite_expressions(plan, exact)
    }
}

fn exact(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::ScalarFunction(function) = &expr else { return Ok(Transformed::no(expr)) };
    let ("date_part", [part, value]) = (function.func.name(), function.args.as_slice()) else {
        return Ok(Transformed::no(expr));
    };
    // A value without a type is reported by the planner.
    let Ok(data_type) = value.get_type(schema) else { return Ok(Transformed::no(expr)) };
    let part = part.as_literal().and_then(|part| part.try_as_str().flatten());
    let is_epoch = part.is_some_and(|part| part.eq_ignore_ascii_case("epoch"));
    match data_type {
        DataType::Timestamp(..) | DataType::Interval(_) | DataType::Duration(_) if is_epoch => {
            Ok(Transformed::yes(ScalarUDF::new_from_impl(Epoch::default()).call(vec![value.clone()])))
        }
        DataType::Duration(_) => {
            plan_err!("only extract(epoch from ...) is possible for the difference of two times, in seconds; divide it")
        }
        _ => Ok(Transformed::no(expr)),
    }
}

/// Seconds since 1970 of a time, or in an interval or duration, as a double.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Epoch {
    signature: Signature,
}

impl Default for Epoch {
    fn default() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Epoch {
    fn name(&self) -> &str {
        "epoch"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let [values] = arrays.as_slice() else { return exec_err!("epoch of {} values", arrays.len()) };
        Ok(ColumnarValue::Array(Arc::new(seconds(values)?)))
    }
}

fn seconds(values: &ArrayRef) -> Result<Float64Array> {
    Ok(match values.data_type() {
        DataType::Timestamp(unit, _) | DataType::Duration(unit) => {
            let units = per_second(*unit);
            cast(values, &DataType::Int64)?.as_primitive::<Int64Type>().unary(|value| fraction(value, units))
        }
        DataType::Interval(IntervalUnit::YearMonth) => values.as_primitive::<IntervalYearMonthType>().unary(of_months),
        DataType::Interval(IntervalUnit::DayTime) => values
            .as_primitive::<IntervalDayTimeType>()
            .unary(|value| f64::from(value.days) * DAY_SECONDS + f64::from(value.milliseconds) / 1e3),
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            values.as_primitive::<IntervalMonthDayNanoType>().unary(|value| {
                let days = f64::from(value.days) * DAY_SECONDS;
                of_months(value.months) + days + fraction(value.nanoseconds, 1_000_000_000)
            })
        }
        other => return exec_err!("epoch of {other}"),
    })
}

fn of_months(months: i32) -> f64 {
    f64::from(months / 12) * YEAR_SECONDS + f64::from(months % 12) * MONTH_SECONDS
}

/// `value / units` with the precision of a double in the result, rather than in `value`.
#[allow(clippy::cast_precision_loss, reason = "seconds of 64 bits of nanoseconds fit a double")]
fn fraction(value: i64, units: i64) -> f64 {
    (value / units) as f64 + (value % units) as f64 / units as f64
}

fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

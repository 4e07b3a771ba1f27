//! Bounds for functions that make a huge value from a small one.
//!
//! A function's result is allocated outside of the query's memory pool, so `range(0, 100000000000)` would end the
//! whole program, not the query. The size of such a result is estimated before it is computed.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Int64Type, IntervalMonthDayNanoType, IntervalUnit, TimeUnit};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};
use datafusion::prelude::SessionContext;

use crate::error::{ErrorKind, QueryError};

/// Bytes of an item of a list, at least.
const ITEM: i128 = 8;
const DAY_MICROS: i128 = 86_400_000_000;

/// Estimates the bytes of a result, a row at a time.
type Size = fn(&[ArrayRef], usize) -> i128;

/// Functions whose arguments include a number that decides how large the result is.
const GROWING: [(&str, Size); 7] = [
    ("repeat", |arguments, row| text_length(&arguments[0], row) * number(arguments, 1, row)),
    ("lpad", |arguments, row| number(arguments, 1, row)),
    ("rpad", |arguments, row| number(arguments, 1, row)),
    ("array_repeat", |arguments, row| (text_length(&arguments[0], row) + ITEM) * number(arguments, 1, row)),
    ("array_resize", |arguments, row| ITEM * number(arguments, 1, row)),
    ("range", |arguments, row| ITEM * steps(arguments, row)),
    ("generate_series", |arguments, row| ITEM * (steps(arguments, row) + 1)),
];

/// Replaces these functions of `session` by ones that refuse to make more than `most` bytes at a time.
pub(crate) fn bound(session: &SessionContext, most: usize) {
    let state = session.state();
    for (name, size) in GROWING {
        if let Some(function) = state.scalar_functions().get(name) {
            let bounded = Bounded { inner: Arc::clone(function), size, most };
            session.register_udf(ScalarUDF::new_from_impl(bounded));
        }
    }
}

/// A function whose result is estimated before it is computed.
#[derive(Debug)]
struct Bounded {
    inner: Arc<ScalarUDF>,
    size: Size,
    most: usize,
}

impl Bounded {
    fn check(&self, arguments: &ScalarFunctionArgs) -> Result<(), DataFusionError> {
        let constant = arguments.args.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { arguments.number_rows };
        let arrays = arguments.args.iter().map(|value| value.to_array(rows)).collect::<Result<Vec<_>, _>>()?;
        let bytes: i128 = (0..rows).map(|row| (self.size)(&arrays, row).max(0)).sum();
        if bytes > self.most as i128 {
            let message =
                format!("{}() would make {bytes} bytes at once; at most {} are allowed", self.name(), self.most);
            return Err(QueryError::new(ErrorKind::Limit, message).into());
        }
        Ok(())
    }
}

impl PartialEq for Bounded {
    fn eq(&self, other: &Self) -> bool {
        self.inner == other.inner && self.most == other.most
    }
}

impl Eq for Bounded {}

impl Hash for Bounded {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
        self.most.hash(state);
    }
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType, DataFusionError> {
        self.inner.return_type(arguments)
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef, DataFusionError> {
        self.inner.return_field_from_args(arguments)
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>, DataFusionError> {
        self.inner.coerce_types(arguments)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue, DataFusionError> {
        self.check(&arguments)?;
        self.inner.invoke_with_args(arguments)
    }
}

/// Bytes of a text; 0 for NULL and for any other type.
fn text_length(array: &ArrayRef, row: usize) -> i128 {
    if array.is_null(row) {
        return 0;
    }
    match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value(row).len() as i128,
        DataType::LargeUtf8 => array.as_string::<i64>().value(row).len() as i128,
        DataType::Utf8View => array.as_string_view().value(row).len() as i128,
        _ => 0,
    }
}

/// An argument as a whole number; 0 where it is absent, NULL or something else.
fn number(arguments: &[ArrayRef], place: usize, row: usize) -> i128 {
    whole(arguments.get(place), row).unwrap_or(0)
}

fn whole(argument: Option<&ArrayRef>, row: usize) -> Option<i128> {
    let one = cast(&argument?.slice(row, 1), &DataType::Int64).ok()?;
    let one = one.as_primitive::<Int64Type>();
    one.is_valid(0).then(|| i128::from(one.value(0)))
}

/// Items from the first argument to the second by the third; from 0 by 1 where there are fewer.
fn steps(arguments: &[ArrayRef], row: usize) -> i128 {
    let first = &arguments[0];
    let (start, stop, step) = match first.data_type() {
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => {
            (micros(first, row), arguments.get(1).and_then(|stop| micros(stop, row)), interval(arguments.get(2), row))
        }
        _ if arguments.len() == 1 => (Some(0), whole(Some(first), row), Some(1)),
        _ => (whole(Some(first), row), whole(arguments.get(1), row), whole(arguments.get(2), row).or(Some(1))),
    };
    match (start, stop, step) {
        (Some(start), Some(stop), Some(step)) if step != 0 => ((stop - start) / step).max(0),
        _ => 0,
    }
}

/// A date or time in microseconds.
fn micros(array: &ArrayRef, row: usize) -> Option<i128> {
    match array.data_type() {
        DataType::Date32 => whole(Some(array), row).map(|days| days * DAY_MICROS),
        _ => {
            let time = cast(&array.slice(row, 1), &DataType::Timestamp(TimeUnit::Microsecond, None)).ok()?;
            whole(Some(&time), 0)
        }
    }
}

/// An interval in microseconds; a month has 30 days.
fn interval(argument: Option<&ArrayRef>, row: usize) -> Option<i128> {
    let one = cast(&argument?.slice(row, 1), &DataType::Interval(IntervalUnit::MonthDayNano)).ok()?;
    let one = one.as_primitive::<IntervalMonthDayNanoType>();
    let value = one.is_valid(0).then(|| one.value(0))?;
    let days = i128::from(value.months) * 30 + i128::from(value.days);
    Some(days * DAY_MICROS + i128::from(value.nanoseconds) / 1_000)
}

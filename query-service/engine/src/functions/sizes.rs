//! How large the results of functions are.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, IntervalMonthDayNanoType, IntervalUnit, TimeUnit};

use crate::size;

/// Bytes of an item of a list, at least.
const ITEM: i128 = 8;
/// Bytes of a number or time as text, at most.
const NUMBER: i128 = 40;
const DAY_MICROS: i128 = 86_400_000_000;

type Estimate = fn(&[ArrayRef], usize) -> i128;

/// Estimates the bytes of a result, a row at a time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Size {
    /// What it makes.
    Exact(Estimate),
    /// What it makes at most; usually far less.
    AtMost(Estimate),
}

impl Size {
    pub(super) fn of(self, arguments: &[ArrayRef], row: usize) -> i128 {
        match self {
            Self::Exact(estimate) | Self::AtMost(estimate) => estimate(arguments, row),
        }
    }
}

/// Functions whose results may be many times larger than their arguments.
pub(super) const GROWING: [(&str, Size); 24] = [
    // By a number.
    ("repeat", Size::Exact(|arguments, row| text_length(&arguments[0], row) * number(arguments, 1, row))),
    ("lpad", Size::Exact(padded)),
    ("rpad", Size::Exact(padded)),
    ("array_repeat", Size::Exact(|arguments, row| (ITEM + bytes(&arguments[0], row)) * number(arguments, 1, row))),
    (
        "array_resize",
        Size::Exact(|arguments, row| {
            let value = arguments.get(2).map_or(0, |value| bytes(value, row));
            (ITEM + value) * number(arguments, 1, row)
        }),
    ),
    ("range", Size::Exact(|arguments, row| ITEM * steps(arguments, row))),
    ("generate_series", Size::Exact(|arguments, row| ITEM * (steps(arguments, row) + 1))),
    // By putting one argument at many places of another.
    (
        "replace",
        Size::Exact(|arguments, row| {
            let (text, from) = (text(&arguments[0], row), text(&arguments[1], row));
            let places = if from.is_empty() { text.len() + 1 } else { text.matches(from).count() };
            text.len() as i128 + places as i128 * text_length(&arguments[2], row)
        }),
    ),
    (
        "regexp_replace",
        Size::AtMost(|arguments, row| {
            let (text, with) = (text(&arguments[0], row), text(&arguments[2], row));
            // Each reference to a group may insert all of what matches.
            let references = with.matches(['\\', '$']).count() as i128;
            let length = text.len() as i128;
            length + (length + 1) * with.len() as i128 + references * length
        }),
    ),
    (
        "array_to_string",
        Size::AtMost(|arguments, row| {
            let between = arguments[1..].iter().map(|argument| text_length(argument, row)).sum::<i128>();
            bytes(&arguments[0], row) + items(&arguments[0], row) * (NUMBER + between)
        }),
    ),
    ("array_replace", Size::AtMost(replaced)),
    ("array_replace_n", Size::AtMost(replaced)),
    ("array_replace_all", Size::AtMost(replaced)),
    // By repeating an argument for every row.
    ("concat", TOGETHER),
    ("concat_ws", Size::AtMost(|arguments, row| together(arguments, row) + separators(arguments, row))),
    ("overlay", TOGETHER),
    ("arrays_zip", TOGETHER),
    ("struct", TOGETHER),
    ("named_struct", TOGETHER),
    // Hexadecimal has two digits for a byte.
    ("encode", Size::AtMost(|arguments, row| 2 * bytes(&arguments[0], row))),
    ("make_array", TOGETHER),
    ("array_append", TOGETHER),
    ("array_prepend", TOGETHER),
    ("array_concat", TOGETHER),
];

/// What puts its arguments together makes at most.
pub(super) const TOGETHER: Size = Size::AtMost(together);

/// Bytes of all arguments.
fn together(arguments: &[ArrayRef], row: usize) -> i128 {
    arguments.iter().map(|argument| bytes(argument, row)).sum()
}

fn separators(arguments: &[ArrayRef], row: usize) -> i128 {
    text_length(&arguments[0], row) * arguments.len() as i128
}

/// A list of which every item may become the last argument but a count.
fn replaced(arguments: &[ArrayRef], row: usize) -> i128 {
    bytes(&arguments[0], row) + items(&arguments[0], row) * bytes(&arguments[2], row)
}

fn padded(arguments: &[ArrayRef], row: usize) -> i128 {
    let fill = arguments.get(2).map_or("", |fill| text(fill, row));
    let widest = fill.chars().map(char::len_utf8).max().unwrap_or(1);
    number(arguments, 1, row) * widest as i128
}

/// Bytes of a value, of a list with all its items; 0 for NULL.
fn bytes(array: &ArrayRef, row: usize) -> i128 {
    if array.is_null(row) {
        return 0;
    }
    match array.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => text_length(array, row),
        data_type if data_type.primitive_width().is_some() => NUMBER,
        _ => size::of(&array.slice(row, 1)) as i128,
    }
}

/// Items of a list; 0 for NULL and for any other type.
fn items(array: &ArrayRef, row: usize) -> i128 {
    if array.is_null(row) {
        return 0;
    }
    let length = match array.data_type() {
        DataType::List(_) => array.as_list::<i32>().value_length(row) as usize,
        DataType::LargeList(_) => array.as_list::<i64>().value_length(row) as usize,
        DataType::FixedSizeList(_, length) => *length as usize,
        DataType::ListView(_) => array.as_list_view::<i32>().value_size(row) as usize,
        DataType::LargeListView(_) => array.as_list_view::<i64>().value_size(row) as usize,
        _ => 0,
    };
    length as i128
}

fn text_length(array: &ArrayRef, row: usize) -> i128 {
    text(array, row).len() as i128
}

/// A text; empty for NULL and for any other type.
fn text(array: &ArrayRef, row: usize) -> &str {
    if array.is_null(row) {
        return "";
    }
    match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value(row),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row),
        DataType::Utf8View => array.as_string_view().value(row),
        _ => "",
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
        (Some(start), Some(stop), Some(step)) if step != 0 => match interval_may_be_zero(arguments, row) {
            // It may never get there.
            true if start != stop => i128::MAX / (2 * ITEM),
            _ => ((stop - start) / step).max(0),
        },
        _ => 0,
    }
}

/// Whether the step is an interval of months minus about as many days.
fn interval_may_be_zero(arguments: &[ArrayRef], row: usize) -> bool {
    let Some(step) = arguments.get(2).filter(|step| matches!(step.data_type(), DataType::Interval(_))) else {
        return false;
    };
    let Ok(one) = cast(&step.slice(row, 1), &DataType::Interval(IntervalUnit::MonthDayNano)) else { return false };
    let one = one.as_primitive::<IntervalMonthDayNanoType>();
    let value = if one.is_valid(0) { one.value(0) } else { Default::default() };
    let rest = i128::from(value.days) * DAY_MICROS + i128::from(value.nanoseconds) / 1_000;
    let months = i128::from(value.months);
    let (shortest, longest) = (months * 28 * DAY_MICROS + rest, months * 31 * DAY_MICROS + rest);
    months != 0 && shortest.signum() != longest.signum()
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

/// An interval in microseconds; a month has 28 to 31 days. Of the lengths that it may have, the shortest that is not 0.
fn interval(argument: Option<&ArrayRef>, row: usize) -> Option<i128> {
    let one = cast(&argument?.slice(row, 1), &DataType::Interval(IntervalUnit::MonthDayNano)).ok()?;
    let one = one.as_primitive::<IntervalMonthDayNanoType>();
    let value = one.is_valid(0).then(|| one.value(0))?;
    let lengths = (28..=31).map(|month| {
        let days = i128::from(value.months) * month + i128::from(value.days);
        days * DAY_MICROS + i128::from(value.nanoseconds).div_euclid(1_000)
    });
    Some(lengths.min_by_key(|length| length.unsigned_abs()).filter(|length| *length != 0).unwrap_or(1))
}

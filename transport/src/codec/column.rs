//! One column: which rows have a value, then the values.
//!
//! ```text
//! bool    a bitmap
//! integer coding u8, then: 0 differences (zigzag varint, the first from 0)
//!                          1 choices: number of distinct values, those as differences, which one each row has
//! text    coding u8, then: 0 lengths (varint), bytes
//!                          1 choices: number of distinct texts, their lengths, their bytes, which one each row has
//! list    lengths as a column of integers, a column of all elements
//! map     lengths as a column of integers, a column of all keys, a column of all values
//! ```
//! Which one a row has: nothing where there is only one, u8 up to 256, u16 (little endian) beyond. Choices are numbered
//! as they appear, so columns that change together (pod, container, image) have the same numbers, and zstd sees it.

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int32Array, ListArray, MapArray, PrimitiveArray, StringArray, StructArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::take;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};

use super::reader::{Reader, put_varint, unzigzag, zigzag};

const DIFFERENCES: u8 = 0;
const PLAIN: u8 = 0;
const CHOICES: u8 = 1;

pub(super) const NONE: u8 = 0;
pub(super) const ALL: u8 = 1;
const SOME: u8 = 2;

/// Memory that decoded arrays take; writer and reader count it in the same way.
pub(super) struct Budget {
    spent: usize,
    limit: usize,
}

impl Budget {
    pub(super) fn new(limit: usize) -> Self {
        Self { spent: 0, limit }
    }

    pub(super) fn spent(&self) -> usize {
        self.spent
    }

    /// Counts `count` items of `width` bytes. The writer continues beyond the limit, so that its error can say by how much.
    fn spend(&mut self, count: usize, width: usize) {
        self.spent = self.spent.saturating_add(count.saturating_mul(width));
    }

    /// As [`Budget::spend`]; the reader asks before it allocates.
    fn check(&mut self, count: usize, width: usize) -> Result<(), String> {
        self.spend(count, width);
        if self.spent > self.limit { Err(format!("more than {} bytes when decoded", self.limit)) } else { Ok(()) }
    }
}

/// Bytes that a row takes whatever its value: one for its bit in the bitmap of present values, the rest for the value.
fn width(data_type: &DataType) -> usize {
    match data_type {
        DataType::Boolean => 2,
        DataType::Int64 | DataType::Timestamp(..) => 9,
        _ => 5,
    }
}

pub(super) fn write(out: &mut Vec<u8>, array: &ArrayRef, budget: &mut Budget) -> Result<(), String> {
    budget.spend(array.len(), width(array.data_type()));
    let missing = array.null_count();
    if missing == array.len() {
        out.push(NONE);
        return Ok(());
    }
    out.push(if missing == 0 { ALL } else { SOME });
    if missing > 0 {
        write_bits(out, (0..array.len()).map(|row| array.is_valid(row)));
    }
    let present = present(array);
    match array.data_type() {
        DataType::Boolean => {
            let values = present.as_boolean();
            write_bits(out, (0..values.len()).map(|row| values.value(row)));
        }
        DataType::Int32 => write_integers(out, widen::<Int32Type>(&present)),
        DataType::Date32 => write_integers(out, widen::<Date32Type>(&present)),
        DataType::Int64 => write_integers(out, widen::<Int64Type>(&present)),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            write_integers(out, widen::<TimestampMicrosecondType>(&present));
        }
        DataType::Utf8 => {
            let texts = present.as_string::<i32>();
            budget.spend(spanned(texts.value_offsets()).len(), 1);
            write_texts(out, texts);
        }
        DataType::List(_) => {
            let lists = present.as_list::<i32>();
            write_lengths(out, lists.offsets());
            write(out, &within(lists.values(), lists.value_offsets()), budget)?;
        }
        DataType::Map(..) => {
            let maps = present.as_map();
            write_lengths(out, maps.offsets());
            write(out, &within(maps.keys(), maps.value_offsets()), budget)?;
            write(out, &within(maps.values(), maps.value_offsets()), budget)?;
        }
        other => return Err(format!("type {other} has no layout")),
    }
    Ok(())
}

pub(super) fn read(
    reader: &mut Reader<'_>,
    data_type: &DataType,
    rows: usize,
    budget: &mut Budget,
) -> Result<ArrayRef, String> {
    budget.check(rows, width(data_type))?;
    let nulls = match reader.byte()? {
        NONE => return Ok(arrow::array::new_null_array(data_type, rows)),
        ALL => None,
        SOME => Some(NullBuffer::new(read_bits(reader, rows)?)),
        other => return Err(format!("presence {other} is not known")),
    };
    let present = rows - nulls.as_ref().map_or(0, NullBuffer::null_count);
    let array: ArrayRef = match data_type {
        DataType::Boolean => {
            let bits = read_bits(reader, present)?;
            Arc::new(BooleanArray::new(spread(bits.iter().collect(), nulls.as_ref()).into(), nulls))
        }
        DataType::Int32 => Arc::new(narrow::<Int32Type>(read_small(reader, present)?, nulls)),
        DataType::Date32 => Arc::new(narrow::<Date32Type>(read_small(reader, present)?, nulls)),
        DataType::Int64 => Arc::new(narrow::<Int64Type>(read_integers(reader, present)?, nulls)),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let values = read_integers(reader, present)?;
            Arc::new(narrow::<TimestampMicrosecondType>(values, nulls).with_timezone_opt(zone.clone()))
        }
        DataType::Utf8 => Arc::new(read_texts(reader, present, nulls, budget)?),
        DataType::List(element) => {
            let (offsets, total) = read_offsets(reader, present, nulls.as_ref())?;
            let elements = read(reader, element.data_type(), total, budget)?;
            Arc::new(ListArray::try_new(element.clone(), offsets, elements, nulls).map_err(|error| error.to_string())?)
        }
        DataType::Map(entry, sorted) => {
            let DataType::Struct(fields) = entry.data_type() else {
                return Err(format!("entries of type {} have no layout", entry.data_type()));
            };
            let (offsets, total) = read_offsets(reader, present, nulls.as_ref())?;
            let columns = fields.iter().map(|field| read(reader, field.data_type(), total, budget));
            let entries = StructArray::try_new(fields.clone(), columns.collect::<Result<_, _>>()?, None);
            let map = entries.and_then(|entries| MapArray::try_new(entry.clone(), offsets, entries, nulls, *sorted));
            Arc::new(map.map_err(|error| error.to_string())?)
        }
        other => return Err(format!("type {other} has no layout")),
    };
    Ok(array)
}

// Which rows have a value.

/// The values of the rows that have one, without the others.
fn present(array: &ArrayRef) -> ArrayRef {
    match array.nulls().filter(|nulls| nulls.null_count() > 0) {
        None => array.clone(),
        Some(nulls) => {
            let rows: Int32Array = nulls.valid_indices().map(|row| row as i32).collect();
            // Every index is within the array, so `take` cannot fail.
            take(array, &rows, None).unwrap_or_else(|_| array.clone())
        }
    }
}

/// `values` at the places that `nulls` leaves, a default elsewhere.
fn spread<T: Copy + Default>(values: Vec<T>, nulls: Option<&NullBuffer>) -> Vec<T> {
    let Some(nulls) = nulls else { return values };
    let mut all = vec![T::default(); nulls.len()];
    for (row, value) in nulls.valid_indices().zip(values) {
        all[row] = value;
    }
    all
}

fn write_bits(out: &mut Vec<u8>, bits: impl Iterator<Item = bool>) {
    let start = out.len();
    for (place, bit) in bits.enumerate() {
        if place % 8 == 0 {
            out.push(0);
        }
        out[start + place / 8] |= u8::from(bit) << (place % 8);
    }
}

fn read_bits(reader: &mut Reader<'_>, count: usize) -> Result<BooleanBuffer, String> {
    let bytes = reader.take(count.div_ceil(8))?;
    Ok(BooleanBuffer::new(Buffer::from(bytes), 0, count))
}

// Integers.

fn widen<T: ArrowPrimitiveType<Native: Into<i64>>>(array: &ArrayRef) -> Vec<i64> {
    array.as_primitive::<T>().values().iter().map(|value| (*value).into()).collect()
}

fn narrow<T: ArrowPrimitiveType>(values: Vec<T::Native>, nulls: Option<NullBuffer>) -> PrimitiveArray<T> {
    PrimitiveArray::new(ScalarBuffer::from(spread(values, nulls.as_ref())), nulls)
}

fn write_integers(out: &mut Vec<u8>, values: Vec<i64>) {
    match Choices::of(values.iter().copied(), values.len()) {
        Some(choices) => {
            out.push(CHOICES);
            put_varint(out, choices.distinct.len() as u64);
            write_differences(out, &choices.distinct);
            choices.write_numbers(out);
        }
        None => {
            out.push(DIFFERENCES);
            write_differences(out, &values);
        }
    }
}

fn write_differences(out: &mut Vec<u8>, values: &[i64]) {
    let mut before = 0i64;
    for value in values {
        put_varint(out, zigzag(value.wrapping_sub(before)));
        before = *value;
    }
}

fn read_integers(reader: &mut Reader<'_>, count: usize) -> Result<Vec<i64>, String> {
    match reader.byte()? {
        DIFFERENCES => read_differences(reader, count),
        CHOICES => {
            let distinct = reader.count()?;
            let distinct = read_differences(reader, distinct)?;
            read_numbers(reader, count, distinct.len())?.map(|number| number.map(|number| distinct[number])).collect()
        }
        other => Err(format!("coding {other} of integers is not known")),
    }
}

fn read_differences(reader: &mut Reader<'_>, count: usize) -> Result<Vec<i64>, String> {
    let mut before = 0i64;
    let mut value = || -> Result<i64, String> {
        before = before.wrapping_add(unzigzag(reader.varint()?));
        Ok(before)
    };
    (0..count).map(|_| value()).collect()
}

fn read_small(reader: &mut Reader<'_>, count: usize) -> Result<Vec<i32>, String> {
    let small = |value| i32::try_from(value).map_err(|_| format!("{value} has more than 32 bits"));
    read_integers(reader, count)?.into_iter().map(small).collect()
}

// Texts.

fn write_texts(out: &mut Vec<u8>, texts: &StringArray) {
    let values = (0..texts.len()).map(|row| texts.value(row));
    match Choices::of(values.clone(), texts.len()) {
        Some(choices) => {
            out.push(CHOICES);
            put_varint(out, choices.distinct.len() as u64);
            write_plain(out, choices.distinct.iter().copied());
            choices.write_numbers(out);
        }
        None => {
            out.push(PLAIN);
            write_plain(out, values);
        }
    }
}

fn write_plain<'a>(out: &mut Vec<u8>, texts: impl Iterator<Item = &'a str> + Clone) {
    for text in texts.clone() {
        put_varint(out, text.len() as u64);
    }
    for text in texts {
        out.extend_from_slice(text.as_bytes());
    }
}

fn read_texts(
    reader: &mut Reader<'_>,
    present: usize,
    nulls: Option<NullBuffer>,
    budget: &mut Budget,
) -> Result<StringArray, String> {
    let (lengths, bytes) = match reader.byte()? {
        PLAIN => {
            let (lengths, bytes) = read_plain(reader, present)?;
            budget.check(bytes.len(), 1)?;
            (lengths, Buffer::from(bytes))
        }
        CHOICES => read_chosen(reader, present, budget)?,
        other => return Err(format!("coding {other} of texts is not known")),
    };
    let offsets = OffsetBuffer::from_lengths(spread(lengths, nulls.as_ref()));
    StringArray::try_new(offsets, bytes, nulls).map_err(|error| error.to_string())
}

/// Lengths of `count` texts and their bytes.
fn read_plain<'a>(reader: &mut Reader<'a>, count: usize) -> Result<(Vec<usize>, &'a [u8]), String> {
    let lengths = (0..count).map(|_| reader.length()).collect::<Result<Vec<_>, _>>()?;
    let total = lengths.iter().try_fold(0usize, |sum, length| sum.checked_add(*length));
    let bytes = reader.take(total.ok_or("texts are longer than memory")?)?;
    Ok((lengths, bytes))
}

fn read_chosen(reader: &mut Reader<'_>, present: usize, budget: &mut Budget) -> Result<(Vec<usize>, Buffer), String> {
    let distinct = reader.count()?;
    let (lengths, bytes) = read_plain(reader, distinct)?;
    let mut end = 0;
    let places = lengths.iter().map(|length| {
        let start = end;
        end += length;
        start..end
    });
    let places: Vec<Range<usize>> = places.collect();
    let numbers = read_numbers(reader, present, distinct)?.collect::<Result<Vec<_>, _>>()?;
    let lengths: Vec<usize> = numbers.iter().map(|number| lengths[*number]).collect();
    // Few bytes can name a long text many times.
    let total = lengths.iter().fold(0usize, |sum, length| sum.saturating_add(*length));
    budget.check(total, 1)?;
    let mut chosen = Vec::with_capacity(total);
    for number in numbers {
        chosen.extend_from_slice(&bytes[places[number].clone()]);
    }
    Ok((lengths, chosen.into()))
}

// Choices.

/// Values of which each appears several times.
struct Choices<T> {
    distinct: Vec<T>,
    /// For each row, which.
    numbers: Vec<u16>,
}

impl<T: Copy + Eq + Hash> Choices<T> {
    /// `None` where so many differ that nothing is saved.
    fn of(values: impl Iterator<Item = T>, count: usize) -> Option<Self> {
        let most = (count / 2).min(usize::from(u16::MAX));
        let mut known: HashMap<T, u16> = HashMap::new();
        let mut choices = Self { distinct: Vec::new(), numbers: Vec::new() };
        let mut last = None;
        for value in values {
            let number = match last {
                Some((same, number)) if same == value => number,
                _ => *known.entry(value).or_insert(choices.distinct.len() as u16),
            };
            if usize::from(number) == choices.distinct.len() {
                if choices.distinct.len() == most {
                    return None;
                }
                choices.distinct.push(value);
            }
            choices.numbers.push(number);
            last = Some((value, number));
        }
        (!choices.distinct.is_empty()).then_some(choices)
    }

    fn write_numbers(&self, out: &mut Vec<u8>) {
        match self.distinct.len() {
            0..=1 => {}
            2..=256 => out.extend(self.numbers.iter().map(|number| *number as u8)),
            _ => out.extend(self.numbers.iter().flat_map(|number| number.to_le_bytes())),
        }
    }
}

/// Which of `distinct` values each of `count` rows has.
fn read_numbers<'a>(
    reader: &mut Reader<'a>,
    count: usize,
    distinct: usize,
) -> Result<impl Iterator<Item = Result<usize, String>> + 'a, String> {
    let width = match distinct {
        0 if count > 0 => return Err("a choice of nothing".into()),
        0..=1 => 0,
        2..=256 => 1,
        _ => 2,
    };
    let bytes = reader.take(count.saturating_mul(width))?;
    Ok((0..count).map(move |row| {
        let number = match width {
            0 => 0,
            1 => usize::from(bytes[row]),
            _ => usize::from(u16::from_le_bytes([bytes[2 * row], bytes[2 * row + 1]])),
        };
        if number < distinct { Ok(number) } else { Err(format!("choice {number} of {distinct}")) }
    }))
}

// Lists and maps.

fn spanned(offsets: &[i32]) -> Range<usize> {
    let place = |offset: Option<&i32>| offset.map_or(0, |offset| *offset as usize);
    place(offsets.first())..place(offsets.last())
}

/// The elements that `offsets` point to.
fn within(values: &ArrayRef, offsets: &[i32]) -> ArrayRef {
    let span = spanned(offsets);
    values.slice(span.start, span.len())
}

fn write_lengths(out: &mut Vec<u8>, offsets: &OffsetBuffer<i32>) {
    write_integers(out, offsets.lengths().map(|length| length as i64).collect());
}

/// Offsets of `present` lists and how many elements they have.
fn read_offsets(
    reader: &mut Reader<'_>,
    present: usize,
    nulls: Option<&NullBuffer>,
) -> Result<(OffsetBuffer<i32>, usize), String> {
    let mut total = 0usize;
    let mut lengths = Vec::new();
    for length in read_integers(reader, present)? {
        let length = usize::try_from(length).map_err(|_| format!("a list of {length} elements"))?;
        total = total.checked_add(length).filter(|total| i32::try_from(*total).is_ok()).ok_or("lists are too long")?;
        lengths.push(length);
    }
    Ok((OffsetBuffer::from_lengths(spread(lengths, nulls)), total))
}

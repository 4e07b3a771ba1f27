//! How many bytes the values of an array are.

use arrow::array::{Array, ArrayRef, AsArray, BinaryViewArray, StringViewArray};
use arrow::datatypes::DataType;

/// Bytes of all values of `array`, wherever they are: those of a view are often in a buffer that it shares with others.
pub(crate) fn of(array: &ArrayRef) -> usize {
    match array.data_type() {
        DataType::Utf8View => of_views(array.as_string_view(), StringViewArray::lengths),
        DataType::BinaryView => of_views(array.as_binary_view(), BinaryViewArray::lengths),
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            of_items(list.values(), list.value_offsets()[0] as usize, list.value_offsets()[list.len()] as usize)
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            of_items(list.values(), list.value_offsets()[0] as usize, list.value_offsets()[list.len()] as usize)
        }
        DataType::Map(..) => {
            let map = array.as_map();
            let (first, last) = (map.value_offsets()[0] as usize, map.value_offsets()[map.len()] as usize);
            of_items(map.keys(), first, last) + of_items(map.values(), first, last)
        }
        DataType::Boolean => array.len().div_ceil(8),
        data_type if data_type.is_primitive() => array.len() * data_type.primitive_width().unwrap_or(size_of::<u128>()),
        DataType::Struct(_) => array.as_struct().columns().iter().map(of).sum(),
        _ => array.to_data().get_slice_memory_size().unwrap_or_else(|_| array.get_buffer_memory_size()),
    }
}

/// Bytes of the largest value of `array`, or a little more than that.
pub(crate) fn of_largest(array: &ArrayRef) -> usize {
    let widest =
        |offsets: &[i32]| offsets.windows(2).map(|ends| (ends[1] - ends[0]) as usize).max().unwrap_or_default();
    match array.data_type() {
        DataType::Utf8 => widest(array.as_string::<i32>().value_offsets()),
        DataType::Binary => widest(array.as_binary::<i32>().value_offsets()),
        DataType::Utf8View => array.as_string_view().lengths().max().map_or(0, |length| length as usize),
        DataType::BinaryView => array.as_binary_view().lengths().max().map_or(0, |length| length as usize),
        data_type => match data_type.primitive_width() {
            Some(width) => width,
            None => of_largest_slice(array, of(array)),
        },
    }
}

/// Bytes of the largest value of `array`, whose values have `bytes` together: halves that have no larger one are not
/// looked into.
fn of_largest_slice(array: &ArrayRef, bytes: usize) -> usize {
    let mut largest = 0;
    let mut left = vec![(array.clone(), bytes)];
    while let Some((part, bytes)) = left.pop() {
        if bytes <= largest.max(NO_LARGE_VALUE) {
            largest = largest.max(bytes.min(NO_LARGE_VALUE));
        } else if part.len() <= 1 {
            largest = bytes;
        } else {
            let half = part.len() / 2;
            for part in [part.slice(0, half), part.slice(half, part.len() - half)] {
                let bytes = of(&part);
                left.push((part, bytes));
            }
        }
    }
    largest
}

/// Bytes that a value may have without being looked for among others.
const NO_LARGE_VALUE: usize = 4 << 10;

fn of_items(values: &ArrayRef, first: usize, last: usize) -> usize {
    of(&values.slice(first, last - first)) + (last - first).div_ceil(8)
}

/// Bytes of views themselves and of what they show.
fn of_views<'a, A: Array, L: Iterator<Item = u32> + 'a>(views: &'a A, lengths: impl FnOnce(&'a A) -> L) -> usize {
    views.len() * size_of::<u128>() + lengths(views).map(|length| length as usize).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{FixedSizeListArray, Int64Array, ListArray, NullArray, StringArray, StructArray};
    use arrow::datatypes::{Field, Int64Type};

    use super::*;

    #[test]
    fn the_largest_value_is_found_wherever_it_is() {
        let long = "x".repeat(100_000);
        let lists = |longest: usize| -> ArrayRef {
            let lists = (0..500).map(|row| Some(vec![Some(1i64); if row == 333 { longest } else { 3 }]));
            Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists))
        };
        let cases: [(ArrayRef, std::ops::Range<usize>); 6] = [
            (Arc::new(StringArray::from_iter_values(["a", &long, "b"])), 100_000..100_001),
            (Arc::new(StringArray::from_iter_values(["a", &long, "b"]).slice(2, 1)), 1..2),
            (Arc::new(StringViewArray::from_iter_values(["a", &long, "b"])), 100_000..100_001),
            (Arc::new(Int64Array::from(vec![1, 2])), 8..9),
            (lists(100_000), 800_000..820_000),
            (lists(4), 0..NO_LARGE_VALUE + 1),
        ];
        for (array, expected) in cases {
            let bytes = of_largest(&array);
            assert!(expected.contains(&bytes), "{bytes} of {:?}", array.data_type());
        }
    }

    #[test]
    fn values_are_counted_wherever_they_are() {
        let long = "x".repeat(1_000);
        let texts = StringArray::from_iter_values([&long, &long, "short"]);
        let views: ArrayRef = Arc::new(StringViewArray::from_iter_values([&long, &long, "short"]));
        let shared: ArrayRef =
            Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>([Some([Some(1); 100]), None]));
        let structure = StructArray::from(vec![(Arc::new(Field::new("v", DataType::Utf8View, true)), views.clone())]);
        let fixed = FixedSizeListArray::from_iter_primitive::<Int64Type, _, _>([Some([Some(1); 10])], 10);
        let cases: [(ArrayRef, std::ops::Range<usize>); 9] = [
            (Arc::new(NullArray::new(5)), 0..1),
            (Arc::new(Int64Array::from(vec![1, 2, 3])), 24..32),
            (Arc::new(texts.slice(0, 1)), 1_000..1_020),
            (views.slice(0, 1), 1_000..1_020),
            (views.slice(2, 1), 16..32),
            (shared.slice(0, 1), 800..900),
            (shared.slice(1, 1), 0..20),
            (Arc::new(structure.slice(0, 2)), 2_000..2_050),
            (Arc::new(fixed), 80..100),
        ];
        for (array, expected) in cases {
            let bytes = of(&array);
            assert!(expected.contains(&bytes), "{bytes} for {array:?}");
        }
    }
}

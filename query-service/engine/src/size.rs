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
        DataType::Struct(_) => array.as_struct().columns().iter().map(of).sum(),
        _ => array.to_data().get_slice_memory_size().unwrap_or_else(|_| array.get_buffer_memory_size()),
    }
}

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

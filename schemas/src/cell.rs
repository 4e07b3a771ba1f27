//! What a column can hold: a Rust type for each, with its Arrow type and builder.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayBuilder, BooleanBuilder, Date32Builder, Int32Builder, Int64Builder, ListBuilder, MapBuilder, MapFieldNames,
    StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Field, TimeUnit};

/// Microseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(pub i64);

impl Micros {
    /// The UTC day that holds this moment.
    pub fn day(self) -> Day {
        Day(self.0.div_euclid(86_400_000_000) as i32)
    }
}

/// Days since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub i32);

/// Labels of a Kubernetes object.
pub type Labels = BTreeMap<String, String>;

/// A value that fills a column; a missing one is NULL.
pub trait Cell: Sized {
    /// Arrow builder of a column of such values.
    type Builder: ArrayBuilder;
    /// The column's Arrow type.
    fn data_type() -> DataType;
    /// An empty builder.
    fn builder() -> Self::Builder;
    /// Appends `value`, or NULL.
    fn append(builder: &mut Self::Builder, value: Option<&Self>);
    /// Bytes of the text in it; 0 for a value of constant size.
    fn text_bytes(&self) -> usize {
        0
    }
}

macro_rules! primitive_cell {
    ($rust:ty, $builder:ty, $data_type:expr, $new:expr, $get:expr $(, |$value:ident| $text_bytes:expr)?) => {
        impl Cell for $rust {
            type Builder = $builder;
            fn data_type() -> DataType {
                $data_type
            }
            fn builder() -> Self::Builder {
                $new
            }
            fn append(builder: &mut Self::Builder, value: Option<&Self>) {
                builder.append_option(value.map($get));
            }
            $(fn text_bytes(&self) -> usize {
                let $value = self;
                $text_bytes
            })?
        }
    };
}

primitive_cell!(bool, BooleanBuilder, DataType::Boolean, BooleanBuilder::new(), |v| *v);
primitive_cell!(i32, Int32Builder, DataType::Int32, Int32Builder::new(), |v| *v);
primitive_cell!(i64, Int64Builder, DataType::Int64, Int64Builder::new(), |v| *v);
primitive_cell!(Day, Date32Builder, DataType::Date32, Date32Builder::new(), |v| v.0);
primitive_cell!(
    Micros,
    TimestampMicrosecondBuilder,
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
    TimestampMicrosecondBuilder::new().with_timezone("UTC"),
    |v| v.0
);
primitive_cell!(String, StringBuilder, DataType::Utf8, StringBuilder::new(), |v| v.as_str(), |v| v.len());
primitive_cell!(&'static str, StringBuilder, DataType::Utf8, StringBuilder::new(), |v| *v, |v| v.len());

/// The field inside a list column, named as Delta readers name it.
fn element() -> Arc<Field> {
    Arc::new(Field::new("element", DataType::Utf8, true))
}

impl Cell for Vec<String> {
    type Builder = ListBuilder<StringBuilder>;
    fn data_type() -> DataType {
        DataType::List(element())
    }
    fn builder() -> Self::Builder {
        ListBuilder::new(StringBuilder::new()).with_field(element())
    }
    fn append(builder: &mut Self::Builder, value: Option<&Self>) {
        if let Some(items) = value {
            for item in items {
                builder.values().append_value(item);
            }
        }
        builder.append(value.is_some());
    }
    fn text_bytes(&self) -> usize {
        self.iter().map(String::len).sum()
    }
}

impl Cell for Labels {
    type Builder = MapBuilder<StringBuilder, StringBuilder>;
    fn data_type() -> DataType {
        let entry = vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Utf8, true)];
        DataType::Map(Arc::new(Field::new("key_value", DataType::Struct(entry.into()), false)), false)
    }
    fn builder() -> Self::Builder {
        let names = MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
        MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new())
    }
    fn append(builder: &mut Self::Builder, value: Option<&Self>) {
        for (key, item) in value.into_iter().flatten() {
            builder.keys().append_value(key);
            builder.values().append_value(item);
        }
        // Keys and values were appended in pairs, the only thing that `append` refuses.
        let appended = builder.append(value.is_some());
        debug_assert!(appended.is_ok());
    }
    fn text_bytes(&self) -> usize {
        self.iter().map(|(key, value)| key.len() + value.len()).sum()
    }
}

//! A group of columns, written once, becomes a row type, an Arrow builder and the documentation.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, FieldRef};

/// One column of a table.
#[derive(Clone, Debug)]
pub struct Column {
    /// snake_case name, the same in the lake, in SQL and on the wire.
    pub name: &'static str,
    /// Arrow type; every column is nullable.
    pub data_type: DataType,
    /// One line: what it means, with its unit.
    pub meaning: &'static str,
    /// Schema version that introduced it; messages of an earlier version do not hold it.
    pub since: u16,
}

impl Column {
    /// The Arrow field of this column.
    pub fn field(&self) -> FieldRef {
        Arc::new(Field::new(self.name, self.data_type.clone(), true))
    }
}

/// A row type whose fields are columns.
pub trait Columns {
    /// Collects rows of this type into Arrow arrays.
    type Builder: ColumnsBuilder<Row = Self>;
    /// The columns, in order.
    fn columns() -> Vec<Column>;
    /// Bytes of all text in the row.
    fn text_bytes(&self) -> usize;
}

/// Collects rows into one Arrow array per column.
pub trait ColumnsBuilder: Default {
    /// What it collects.
    type Row;
    /// Appends one row.
    fn append(&mut self, row: &Self::Row);
    /// The arrays of all rows since the last `finish`, in the order of [`Columns::columns`].
    fn finish(&mut self) -> Vec<ArrayRef>;
}

/// Declares a row type: `name: Type = "meaning"` for each column, with `since N` behind the meaning of a column
/// that schema version N introduced (without it: version 1). A new column may stand anywhere; one that was released is never moved, retyped or removed.
macro_rules! columns {
    ($(#[$doc:meta])* $row:ident, $builder:ident {
        $($name:ident: $kind:ty = $meaning:literal $(since $since:literal)?,)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $row {
            $(#[doc = $meaning] pub $name: Option<$kind>,)*
        }

        #[doc = concat!("Collects rows of [`", stringify!($row), "`].")]
        pub struct $builder {
            $($name: <$kind as $crate::cell::Cell>::Builder,)*
        }

        impl Default for $builder {
            fn default() -> Self {
                Self { $($name: <$kind as $crate::cell::Cell>::builder(),)* }
            }
        }

        impl $crate::columns::ColumnsBuilder for $builder {
            type Row = $row;
            fn append(&mut self, row: &$row) {
                $(<$kind as $crate::cell::Cell>::append(&mut self.$name, row.$name.as_ref());)*
            }
            fn finish(&mut self) -> Vec<arrow::array::ArrayRef> {
                vec![$(arrow::array::ArrayBuilder::finish(&mut self.$name),)*]
            }
        }

        impl $crate::columns::Columns for $row {
            type Builder = $builder;
            fn text_bytes(&self) -> usize {
                0 $(+ self.$name.as_ref().map_or(0, $crate::cell::Cell::text_bytes))*
            }
            fn columns() -> Vec<$crate::columns::Column> {
                vec![$($crate::columns::Column {
                    name: stringify!($name),
                    data_type: <$kind as $crate::cell::Cell>::data_type(),
                    meaning: $meaning,
                    since: $crate::columns::since!($($since)?),
                },)*]
            }
        }
    };
}
pub(crate) use columns;

/// The version after `since`, or the first one.
macro_rules! since {
    () => {
        1
    };
    ($version:literal) => {
        $version
    };
}
pub(crate) use since;

//! The text of one value.

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::json::writer::{EncoderOptions, NullableEncoder, make_encoder};
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// The texts of a batch's values: times as RFC 3339, lists and maps as JSON.
pub(crate) struct Cells<'a>(Vec<Column<'a>>);

enum Column<'a> {
    Plain(&'a ArrayRef, ArrayFormatter<'a>),
    Nested(&'a ArrayRef, NullableEncoder<'a>),
}

/// How nested values are written.
pub(crate) fn json_options() -> EncoderOptions {
    EncoderOptions::default().with_explicit_nulls(true)
}

fn is_nested(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, value) => is_nested(value),
        other => other.is_nested(),
    }
}

impl<'a> Cells<'a> {
    /// The texts of `batch`. Errors: a column's type has no text form.
    pub(crate) fn new(batch: &'a RecordBatch, options: &'a EncoderOptions) -> Result<Self, ArrowError> {
        let columns = batch.schema_ref().fields().iter().zip(batch.columns()).map(|(field, array)| {
            Ok(if is_nested(field.data_type()) {
                Column::Nested(array, make_encoder(field, array, options)?)
            } else {
                Column::Plain(array, ArrayFormatter::try_new(array, &FormatOptions::new())?)
            })
        });
        Ok(Self(columns.collect::<Result<_, ArrowError>>()?))
    }

    /// The value's text; `None` for NULL.
    pub(crate) fn text(&mut self, column: usize, row: usize) -> Result<Option<String>, ArrowError> {
        match &mut self.0[column] {
            Column::Plain(array, _) | Column::Nested(array, _) if array.is_null(row) || array.data_type().is_null() => {
                Ok(None)
            }
            Column::Plain(_, formatter) => formatter.value(row).try_to_string().map(Some),
            Column::Nested(_, encoder) => {
                let mut out = Vec::new();
                encoder.encode(row, &mut out);
                Ok(Some(String::from_utf8_lossy(&out).into_owned()))
            }
        }
    }
}

//! Lists that do not come from a query, in the formats of an answer.

use std::io;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};

use super::{Format, Options, OutputError, encoder};

/// Columns of one length, in the order in which they were added.
#[derive(Debug, Default)]
pub struct List {
    fields: Vec<Field>,
    columns: Vec<ArrayRef>,
}

impl List {
    /// Adds a column of text.
    #[must_use]
    pub fn text<T: Into<String>>(self, name: &str, values: impl IntoIterator<Item = T>) -> Self {
        let values = StringArray::from_iter_values(values.into_iter().map(Into::into));
        self.column(Field::new(name, DataType::Utf8, false), Arc::new(values))
    }

    /// Adds a column of whole numbers.
    #[must_use]
    pub fn numbers(self, name: &str, values: impl IntoIterator<Item = i64>) -> Self {
        let values = Int64Array::from_iter_values(values);
        self.column(Field::new(name, DataType::Int64, false), Arc::new(values))
    }

    fn column(mut self, field: Field, values: ArrayRef) -> Self {
        self.fields.push(field);
        self.columns.push(values);
        self
    }

    /// Writes the list; as a table, values are whole.
    ///
    /// Errors: `Encode` when the columns differ in length; `Write`.
    pub fn write(self, format: Format, out: &mut dyn io::Write) -> Result<(), OutputError> {
        let batch = RecordBatch::try_new(Arc::new(Schema::new(self.fields)), self.columns)?;
        let mut encoder = encoder(format, Options { cell_width: usize::MAX, ..Options::default() });
        let mut text = Vec::new();
        encoder.begin(&batch.schema(), &mut text)?;
        encoder.rows(&batch, &mut text)?;
        encoder.end(&mut text)?;
        out.write_all(&text)?;
        Ok(out.flush()?)
    }
}

//! CSV as RFC 4180 describes it, with line feeds.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;

use super::Encoder;
use super::cell::{Cells, json_options};
use super::escape::visible_but;
use crate::error::QueryError;

/// Writes CSV. Line feeds and tabs inside values stay (quoted); other controls are written out, so that a value
/// cannot drive the terminal it is printed on.
#[derive(Default)]
pub(crate) struct CsvEncoder;

impl Encoder for CsvEncoder {
    fn begin(&mut self, schema: &SchemaRef, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        for (place, field) in schema.fields().iter().enumerate() {
            put(Some(field.name()), place, out);
        }
        out.push(b'\n');
        Ok(())
    }

    fn rows(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        let options = json_options();
        let mut cells = Cells::new(batch, &options)?;
        for row in 0..batch.num_rows() {
            for column in 0..batch.num_columns() {
                put(cells.text(column, row)?.as_deref(), column, out);
            }
            out.push(b'\n');
        }
        Ok(())
    }

    fn end(&mut self, _out: &mut Vec<u8>) -> Result<(), ArrowError> {
        Ok(())
    }

    fn fail(&mut self, _error: &QueryError, _out: &mut Vec<u8>) -> bool {
        false
    }
}

fn put(text: Option<&str>, place: usize, out: &mut Vec<u8>) {
    if place > 0 {
        out.push(b',');
    }
    let Some(text) = text else { return };
    let text = visible_but(text, |c| c == '\n' || c == '\t');
    if text.is_empty() || text.contains(['"', ',', '\n', '\t']) || text.starts_with(' ') || text.ends_with(' ') {
        out.push(b'"');
        out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
        out.push(b'"');
    } else {
        out.extend_from_slice(text.as_bytes());
    }
}

//! A table of GitHub-flavored Markdown.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;

use super::Encoder;
use super::cell::{Cells, json_options};
use super::escape::markdown;
use crate::error::QueryError;

/// Writes a Markdown table.
#[derive(Default)]
pub(crate) struct MarkdownEncoder;

impl Encoder for MarkdownEncoder {
    fn begin(&mut self, schema: &SchemaRef, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        for field in schema.fields() {
            put(&markdown(field.name()), out);
        }
        out.extend_from_slice(b"|\n");
        for field in schema.fields() {
            put(if field.data_type().is_numeric() { "---:" } else { "---" }, out);
        }
        out.extend_from_slice(b"|\n");
        Ok(())
    }

    fn rows(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        let options = json_options();
        let mut cells = Cells::new(batch, &options)?;
        for row in 0..batch.num_rows() {
            for column in 0..batch.num_columns() {
                let text = cells.text(column, row)?;
                put(&text.map_or_else(|| "NULL".to_owned(), |text| markdown(&text)), out);
            }
            out.extend_from_slice(b"|\n");
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

fn put(cell: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"| ");
    out.extend_from_slice(cell.as_bytes());
    out.push(b' ');
}

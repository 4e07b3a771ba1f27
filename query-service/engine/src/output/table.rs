//! Aligned columns, as psql shows them.
//!
//! The widths come from the first rows, which are held back until there are enough; what comes later is cut to them.
//! So a long answer begins to show early and needs little memory.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;

use super::Encoder;
use super::cell::{Cells, json_options};
use super::escape::visible;
use crate::error::QueryError;

/// Rows that decide on the widths.
const SAMPLE: usize = 1_000;

/// Writes aligned columns and the number of rows.
pub(crate) struct TableEncoder {
    cell_width: usize,
    names: Vec<String>,
    right: Vec<bool>,
    widths: Vec<usize>,
    /// Rows that wait for the widths.
    waiting: Vec<Vec<String>>,
    sized: bool,
    rows: usize,
}

impl TableEncoder {
    pub(crate) fn new(cell_width: usize) -> Self {
        let cell_width = cell_width.max(1);
        let (names, right, widths, waiting) = Default::default();
        Self { cell_width, names, right, widths, waiting, sized: false, rows: 0 }
    }

    fn size(&mut self, out: &mut Vec<u8>) {
        self.sized = true;
        self.widths = (0..self.names.len())
            .map(|column| {
                let cells = self.waiting.iter().map(|row| row[column].chars().count());
                cells.chain([self.names[column].chars().count()]).max().unwrap_or(0)
            })
            .collect();
        let names = std::mem::take(&mut self.names);
        self.put(&names, out);
        let rules: Vec<String> = self.widths.iter().map(|width| "-".repeat(width + 2)).collect();
        out.extend_from_slice(rules.join("+").as_bytes());
        out.push(b'\n');
        for row in std::mem::take(&mut self.waiting) {
            self.put(&row, out);
        }
    }

    fn put(&self, row: &[String], out: &mut Vec<u8>) {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            line.push_str(if column == 0 { " " } else { " | " });
            let width = self.widths[column];
            let cell = cut(cell, width);
            if self.right[column] {
                line.push_str(&format!("{cell:>width$}"));
            } else {
                line.push_str(&format!("{cell:<width$}"));
            }
        }
        out.extend_from_slice(line.trim_end().as_bytes());
        out.push(b'\n');
    }
}

/// The first `width` characters, the last of them `…` when some are missing.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

impl Encoder for TableEncoder {
    fn begin(&mut self, schema: &SchemaRef, _out: &mut Vec<u8>) -> Result<(), ArrowError> {
        self.names = schema.fields().iter().map(|field| cut(&visible(field.name()), self.cell_width)).collect();
        self.right = schema.fields().iter().map(|field| field.data_type().is_numeric()).collect();
        Ok(())
    }

    fn rows(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        let options = json_options();
        let mut cells = Cells::new(batch, &options)?;
        for row in 0..batch.num_rows() {
            let texts = (0..batch.num_columns()).map(|column| {
                let text = cells.text(column, row)?;
                Ok(text.map_or_else(|| "NULL".to_owned(), |text| cut(&visible(&text), self.cell_width)))
            });
            let texts = texts.collect::<Result<Vec<String>, ArrowError>>()?;
            if self.sized {
                self.put(&texts, out);
            } else {
                self.waiting.push(texts);
            }
        }
        self.rows += batch.num_rows();
        if !self.sized && self.waiting.len() >= SAMPLE {
            self.size(out);
        }
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        if !self.sized {
            self.size(out);
        }
        let plural = if self.rows == 1 { "" } else { "s" };
        out.extend_from_slice(format!("({} row{plural})\n", self.rows).as_bytes());
        Ok(())
    }

    fn fail(&mut self, _error: &QueryError, out: &mut Vec<u8>) -> bool {
        if !self.sized && !self.waiting.is_empty() {
            self.size(out);
        }
        false
    }
}

//! JSON: one document, or one line per row.

use std::collections::HashSet;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::json::writer::make_encoder;
use serde_json::json;

use super::Encoder;
use super::cell::json_options;
use super::escape;
use crate::error::QueryError;

/// Writes an array of objects, or when served one object:
/// `{"columns":[{"name","type"}],"rows":[{}],"row_count":n}`, after an error `"error":{"kind","message"}` at its end.
pub(crate) struct JsonEncoder {
    served: bool,
    keys: Keys,
    rows: usize,
}

impl JsonEncoder {
    pub(crate) fn new(served: bool) -> Self {
        Self { served, keys: Keys::default(), rows: 0 }
    }
}

impl Encoder for JsonEncoder {
    fn begin(&mut self, schema: &SchemaRef, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        self.keys = Keys::new(schema);
        if self.served {
            let columns = schema.fields().iter().zip(&self.keys.names);
            let columns: Vec<_> =
                columns.map(|(field, name)| json!({"name": name, "type": field.data_type().to_string()})).collect();
            put(out, &format!("{{\"columns\":{},\"rows\":[", serde_json::Value::from(columns)));
        } else {
            out.push(b'[');
        }
        Ok(())
    }

    fn rows(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        let rows = &mut self.rows;
        self.keys.objects(batch, |object| {
            put(out, if *rows == 0 { "\n" } else { ",\n" });
            put(out, object);
            *rows += 1;
        })
    }

    fn end(&mut self, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        put(out, if self.rows == 0 { "]" } else { "\n]" });
        if self.served {
            put(out, &format!(",\"row_count\":{}}}", self.rows));
        }
        out.push(b'\n');
        Ok(())
    }

    fn fail(&mut self, error: &QueryError, out: &mut Vec<u8>) -> bool {
        if self.served {
            put(out, &format!("\n],\"error\":{}}}\n", error_json(error)));
        }
        self.served
    }
}

/// Writes one object per line; when served, an error is a last line `{"error":{"kind","message"}}`.
pub(crate) struct NdjsonEncoder {
    served: bool,
    keys: Keys,
}

impl NdjsonEncoder {
    pub(crate) fn new(served: bool) -> Self {
        Self { served, keys: Keys::default() }
    }
}

impl Encoder for NdjsonEncoder {
    fn begin(&mut self, schema: &SchemaRef, _out: &mut Vec<u8>) -> Result<(), ArrowError> {
        self.keys = Keys::new(schema);
        Ok(())
    }

    fn rows(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        self.keys.objects(batch, |object| {
            put(out, object);
            out.push(b'\n');
        })
    }

    fn end(&mut self, _out: &mut Vec<u8>) -> Result<(), ArrowError> {
        Ok(())
    }

    fn fail(&mut self, error: &QueryError, out: &mut Vec<u8>) -> bool {
        if self.served {
            put(out, &format!("{{\"error\":{}}}\n", error_json(error)));
        }
        self.served
    }
}

/// `{"kind","message"}` of an error.
pub(crate) fn error_json(error: &QueryError) -> String {
    let value = json!({"kind": error.kind().as_str(), "message": error.message()});
    escape::json(&value.to_string()).into_owned()
}

fn put(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

/// The keys of the row objects.
#[derive(Default)]
struct Keys {
    names: Vec<String>,
    /// The names as JSON, with the colon.
    written: Vec<String>,
}

impl Keys {
    /// Two columns of a join may have one name; an object needs two: `pid`, `pid_2`.
    fn new(schema: &SchemaRef) -> Self {
        let mut taken = HashSet::new();
        let mut names = Vec::new();
        for field in schema.fields() {
            let mut name = field.name().clone();
            let mut number = 2;
            while !taken.insert(name.clone()) {
                name = format!("{}_{number}", field.name());
                number += 1;
            }
            names.push(name);
        }
        let written = names.iter().map(|name| escape::json(&format!("{}:", json!(name))).into_owned()).collect();
        Self { names, written }
    }

    /// Calls `each` with the JSON object of each row.
    fn objects(&self, batch: &RecordBatch, mut each: impl FnMut(&str)) -> Result<(), ArrowError> {
        let options = json_options();
        let schema = batch.schema();
        let columns = schema.fields().iter().zip(batch.columns());
        let mut encoders = columns
            .map(|(field, array)| make_encoder(field, array, &options))
            .collect::<Result<Vec<_>, ArrowError>>()?;
        let mut object = Vec::new();
        for row in 0..batch.num_rows() {
            object.clear();
            for (place, (key, encoder)) in self.written.iter().zip(&mut encoders).enumerate() {
                object.push(if place == 0 { b'{' } else { b',' });
                put(&mut object, key);
                if encoder.is_null(row) || batch.column(place).is_null(row) {
                    put(&mut object, "null");
                } else {
                    encoder.encode(row, &mut object);
                }
            }
            put(&mut object, if self.written.is_empty() { "{}" } else { "}" });
            each(&escape::json(&String::from_utf8_lossy(&object)));
        }
        Ok(())
    }
}

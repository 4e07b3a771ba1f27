//! A document being filled from a row, and the forms that values take on the way.

use std::collections::BTreeSet;

use chrono::{DateTime, SecondsFormat};
use serde_json::{Map, Value};

use super::row::Row;

/// Where a column goes: its name, the dotted path in the document, and the form it takes there.
pub(crate) type Placement = (&'static str, &'static str, Form);

/// Turns a column's value into the document's; `None` leaves the path absent.
pub(crate) type Form = fn(&Value) -> Option<Value>;

/// A document that remembers which columns it has placed.
pub(crate) struct Document<'a> {
    row: &'a Row,
    placed: BTreeSet<&'a str>,
    fields: Map<String, Value>,
}

impl<'a> Document<'a> {
    pub(crate) fn new(row: &'a Row) -> Self {
        Self { row, placed: BTreeSet::new(), fields: Map::new() }
    }

    /// Sets `path`.
    pub(crate) fn put(&mut self, path: &str, value: impl Into<Value>) {
        set(&mut self.fields, path, value.into());
    }

    /// Sets `path` where there is a value.
    pub(crate) fn put_known(&mut self, path: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.put(path, value);
        }
    }

    /// Places the columns of `placements`, below `prefix` (empty, or ending in a dot).
    pub(crate) fn place(&mut self, prefix: &str, placements: &[Placement]) {
        for (column, path, form) in placements {
            if let Some(value) = self.take(column).and_then(form) {
                set(&mut self.fields, &format!("{prefix}{path}"), value);
            }
        }
    }

    /// The value of `column`, which counts as placed.
    pub(crate) fn take(&mut self, column: &str) -> Option<&'a Value> {
        let (name, value) = self.row.get_key_value(column)?;
        self.placed.insert(name);
        Some(value)
    }

    /// The text of `column`, which counts as placed.
    pub(crate) fn take_text(&mut self, column: &str) -> Option<&'a str> {
        self.take(column)?.as_str()
    }

    /// Leaves out `columns`, each for the reason given with it.
    pub(crate) fn leave_out(&mut self, columns: &[(&str, &str)]) {
        for (column, _) in columns {
            self.take(column);
        }
    }

    /// The value of `column`; it does not count as placed.
    pub(crate) fn see(&self, column: &str) -> Option<&'a Value> {
        self.row.get(column)
    }

    /// The text of `column`; it does not count as placed.
    pub(crate) fn see_text(&self, column: &str) -> Option<&'a str> {
        self.see(column)?.as_str()
    }

    /// The number in `column`; it does not count as placed.
    pub(crate) fn see_number(&self, column: &str) -> Option<i64> {
        self.see(column)?.as_i64()
    }

    /// The document, with every column that was not placed below `rest`, as every receiver can read it.
    pub(crate) fn finish(mut self, rest: &str) -> Value {
        for (column, value) in self.row {
            if !self.placed.contains(column.as_str()) {
                set(&mut self.fields, &format!("{rest}.{column}"), value.clone());
            }
        }
        self.fields.values_mut().for_each(make_portable);
        Value::Object(self.fields)
    }
}

/// Largest number that a receiver reads exactly that reads all numbers as doubles (RFC 8259, section 6).
const MOST_EXACT: u64 = (1 << 53) - 1;

/// Makes larger numbers text, and removes empty texts from lists, which receivers treat as missing.
fn make_portable(value: &mut Value) {
    match value {
        Value::Number(number) if number.as_i64().is_some_and(|number| number.unsigned_abs() > MOST_EXACT) => {
            *value = number.to_string().into();
        }
        Value::Array(items) => {
            items.retain(|item| item.as_str() != Some(""));
            items.iter_mut().for_each(make_portable);
        }
        Value::Object(fields) => fields.values_mut().for_each(make_portable),
        _ => {}
    }
}

fn set(fields: &mut Map<String, Value>, path: &str, value: Value) {
    let (head, tail) = match path.split_once('.') {
        None => {
            fields.insert(path.to_owned(), value);
            return;
        }
        Some(parts) => parts,
    };
    let inner = fields.entry(head).or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(inner) = inner {
        set(inner, tail, value);
    }
}

/// Unchanged.
pub(crate) fn same(value: &Value) -> Option<Value> {
    Some(value.clone())
}

/// A number as text.
pub(crate) fn text(value: &Value) -> Option<Value> {
    Some(value.as_i64()?.to_string().into())
}

/// µs since the epoch as ms.
pub(crate) fn millis(value: &Value) -> Option<Value> {
    Some(value.as_i64()?.div_euclid(1_000).into())
}

/// µs since the epoch as RFC 3339 in UTC, to the µs.
pub(crate) fn rfc3339(value: &Value) -> Option<Value> {
    let time = DateTime::from_timestamp_micros(value.as_i64()?)?;
    Some(time.to_rfc3339_opts(SecondsFormat::Micros, true).into())
}

/// The last part of a path.
pub(crate) fn file_name(value: &Value) -> Option<Value> {
    let path = value.as_str()?;
    let name = path.rsplit('/').find(|part| !part.is_empty()).unwrap_or(path);
    (!name.is_empty()).then(|| name.into())
}

/// Length of a list.
pub(crate) fn length(value: &Value) -> Option<Value> {
    Some(value.as_array()?.len().into())
}

/// A map as a list of `key=value`, as Kubernetes writes labels.
pub(crate) fn equal_signs(value: &Value) -> Option<Value> {
    pairs(value, '=')
}

/// A map as a list of `key:value`, as ECS writes labels.
pub(crate) fn colons(value: &Value) -> Option<Value> {
    pairs(value, ':')
}

fn pairs(value: &Value, between: char) -> Option<Value> {
    let entries = value.as_object()?.iter();
    Some(entries.map(|(key, value)| format!("{key}{between}{}", value.as_str().unwrap_or_default())).collect())
}

/// In lower case.
pub(crate) fn lower(value: &Value) -> Option<Value> {
    Some(value.as_str()?.to_lowercase().into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_have_exact_numbers_and_no_empty_texts_in_lists() {
        let most = 9_007_199_254_740_991_i64;
        let row: Row = serde_json::from_value(json!({
            "a": most, "b": most + 1, "c": -most, "d": i64::MIN, "e": ["", "x", ""], "f": [most + 2], "g": 1.5, "h": "",
        }))
        .unwrap();
        assert_eq!(
            Document::new(&row).finish("rest"),
            json!({"rest": {
                "a": most, "b": "9007199254740992", "c": -most, "d": "-9223372036854775808", "e": ["x"],
                "f": ["9007199254740993"], "g": 1.5, "h": "",
            }})
        );
    }
}

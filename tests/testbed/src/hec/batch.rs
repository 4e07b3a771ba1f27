//! Parses the body of a delivery and checks its events in order.
//!
//! As in Splunk, a refused event ends the batch, and the events before it are indexed.

use serde_json::{Deserializer, Value, json};

use super::reply::{Code, Reply};
use super::token::Token;

/// The events before the first refused one, each with its resolved index, and the reply.
pub(super) struct Batch {
    pub(super) accepted: Vec<(String, Value)>,
    pub(super) reply: Reply,
}

/// Parses concatenated JSON objects. `refuse` is the test's own check; it gets the object with its index filled in.
pub(super) fn events(body: &[u8], token: &Token, refuse: impl Fn(&Value) -> Option<Code>) -> Batch {
    let mut accepted = Vec::new();
    for (position, parsed) in Deserializer::from_slice(body).into_iter::<Value>().enumerate() {
        let checked = parsed.map_err(|_| Code::InvalidDataFormat).and_then(|event| check(event, token, &refuse));
        match checked {
            Ok(event) => accepted.push(event),
            Err(code) => return Batch { accepted, reply: Reply::refused(code, position) },
        }
    }
    let code = if accepted.is_empty() { Code::NoData } else { Code::Success };
    Batch { accepted, reply: code.into() }
}

/// Parses raw text, one event per line; `metadata` comes from the query string and applies to all of them.
pub(super) fn lines(body: &[u8], metadata: &Value, token: &Token, refuse: impl Fn(&Value) -> Option<Code>) -> Batch {
    let Ok(text) = std::str::from_utf8(body) else {
        return Batch { accepted: Vec::new(), reply: Code::InvalidDataFormat.into() };
    };
    let mut accepted = Vec::new();
    for (position, line) in text.lines().filter(|line| !line.trim().is_empty()).enumerate() {
        let mut event = metadata.clone();
        event["event"] = line.into();
        match check(event, token, &refuse) {
            Ok(event) => accepted.push(event),
            Err(code) => return Batch { accepted, reply: Reply::refused(code, position) },
        }
    }
    let code = if accepted.is_empty() { Code::NoData } else { Code::Success };
    Batch { accepted, reply: code.into() }
}

fn check(mut event: Value, token: &Token, refuse: &impl Fn(&Value) -> Option<Code>) -> Result<(String, Value), Code> {
    let object = event.as_object_mut().ok_or(Code::InvalidDataFormat)?;
    match object.get("event") {
        None | Some(Value::Null) => return Err(Code::EventRequired),
        Some(Value::String(text)) if text.trim().is_empty() => return Err(Code::EventBlank),
        Some(_) => {}
    }
    if !object.get("time").is_none_or(is_epoch) {
        return Err(Code::InvalidDataFormat);
    }
    if !["host", "source", "sourcetype", "index"].iter().all(|key| object.get(*key).is_none_or(Value::is_string)) {
        return Err(Code::InvalidDataFormat);
    }
    if !object.get("fields").is_none_or(are_indexed_fields) {
        return Err(Code::IndexedFields);
    }
    let index = object.get("index").and_then(Value::as_str).unwrap_or(&token.default_index).to_owned();
    if !token.allows(&index) {
        return Err(Code::IncorrectIndex);
    }
    let mut seen = event.clone();
    seen["index"] = json!(index);
    refuse(&seen).map_or(Ok((index, event)), Err)
}

/// Seconds since the epoch, with or without a fraction, as a number or as text.
fn is_epoch(time: &Value) -> bool {
    match time {
        Value::Number(_) => true,
        Value::String(text) => text.trim().parse::<f64>().is_ok_and(f64::is_finite),
        _ => false,
    }
}

/// Indexed fields are flat: each value is a scalar or a list of scalars.
fn are_indexed_fields(fields: &Value) -> bool {
    let scalar = |value: &Value| matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_));
    fields.as_object().is_some_and(|object| {
        object.values().all(|value| scalar(value) || value.as_array().is_some_and(|list| list.iter().all(scalar)))
    })
}

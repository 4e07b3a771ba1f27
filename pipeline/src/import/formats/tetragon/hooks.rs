//! What Tetragon's policies watched and no other table is about: calls without a place in `calls.rs`, tracepoints, probes
//! in programs, and loaded libraries. They become rows of `hook_events`.
//!
//! Values are read from the record as it is, not from [`Body`](super::record::Body): whatever an argument is, it is kept.

use std::fmt;

use kerntrail_schemas::tables::HookColumns;
use serde_json::Value;

use self::HookSource::*;
use crate::import::mapping::{ColumnValue, FoundValue, ValueSource, mapping_table};

/// Kinds of events that have no other place than `hook_events`.
pub(super) const HOOK_KINDS: [&str; 4] = ["process_tracepoint", "process_uprobe", "process_usdt", "process_loader"];

mapping_table! {
    /// Hooks, by the kind of event. A call has an entry in `calls.rs` instead where one applies; it is here as well where
    /// its policy or its stack says more.
    HOOKS: HookSource;

    HookColumns "kprobe": ["process_kprobe"] => {
        function: Text(&["function_name"]),
        arguments: Arguments,
        ret: ReturnNumber,
        return_value: Return,
        message: Text(&["message"]),
        tags: Texts("tags"),
        kernel_stack: Stack(&["kernel_stack_trace", "stack_trace"]),
        user_stack: Stack(&["user_stack_trace"]),
    }
    HookColumns "lsm": ["process_lsm"] => {
        function: Text(&["function_name"]),
        arguments: Arguments,
        hash: Text(&["ima_hash"]),
        message: Text(&["message"]),
        tags: Texts("tags"),
        kernel_stack: Stack(&["kernel_stack_trace", "stack_trace"]),
        user_stack: Stack(&["user_stack_trace"]),
    }
    HookColumns "tracepoint": ["process_tracepoint"] => {
        function: Text(&["subsys", "event"]),
        arguments: Arguments,
        message: Text(&["message"]),
        tags: Texts("tags"),
        kernel_stack: Stack(&["kernel_stack_trace", "stack_trace"]),
        user_stack: Stack(&["user_stack_trace"]),
    }
    HookColumns "uprobe": ["process_uprobe"] => {
        function: Text(&["symbol"]),
        path: Text(&["path"]),
        arguments: Arguments,
        ret: ReturnNumber,
        return_value: Return,
        message: Text(&["message"]),
        tags: Texts("tags"),
        kernel_stack: Stack(&["kernel_stack_trace", "stack_trace"]),
        user_stack: Stack(&["user_stack_trace"]),
    }
    HookColumns "usdt": ["process_usdt"] => {
        function: Text(&["provider", "name"]),
        path: Text(&["path"]),
        arguments: Arguments,
        message: Text(&["message"]),
        tags: Texts("tags"),
    }
    HookColumns "loader": ["process_loader"] => {
        path: Text(&["path"]),
        build_id: Text(&["buildid"]),
    }
}

/// Where the value of a column is found in an event.
#[derive(Clone, Copy)]
pub(super) enum HookSource {
    /// These texts, joined by `/`.
    Text(&'static [&'static str]),
    /// A list of texts.
    Texts(&'static str),
    /// `args`, each as it is reported.
    Arguments,
    /// `return`, as it is reported.
    Return,
    /// `return`, where it is a number.
    ReturnNumber,
    /// The first of these stacks.
    Stack(&'static [&'static str]),
}

impl ValueSource for HookSource {
    type Event<'a> = Value;
    type Condition = fn(&Value) -> bool;

    fn holds(condition: &Self::Condition, event: &Value) -> bool {
        condition(event)
    }

    fn find(self, event: &Value) -> FoundValue {
        let list = |name: &str| event[name].as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(match self {
            Self::Text(names) => {
                let texts: Vec<&str> = names.iter().filter_map(|name| event[*name].as_str()).collect();
                text(texts.join("/"))
            }
            Self::Texts(name) => texts(list(name).iter().filter_map(Value::as_str).map(str::to_owned)),
            Self::Arguments => texts(list("args").iter().map(reported)),
            Self::Return => event["return"].as_object().and_then(|_| text(reported(&event["return"]))),
            Self::ReturnNumber => reported(&event["return"]).parse().ok().map(ColumnValue::Number),
            Self::Stack(names) => {
                let stack = names.iter().map(|name| list(name)).find(|stack| !stack.is_empty());
                texts(stack.unwrap_or_default().iter().map(frame))
            }
        })
    }
}

impl fmt::Display for HookSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted =
            |names: &[&str], between| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(between);
        match self {
            Self::Text(names) => f.write_str(&quoted(names, ", ")),
            Self::Texts(name) => write!(f, "`{name}`"),
            Self::Arguments => f.write_str("`args`, each as it is reported"),
            Self::Return => f.write_str("`return`, as it is reported"),
            Self::ReturnNumber => f.write_str("`return`, where it is a number"),
            Self::Stack(names) => f.write_str(&quoted(names, ", else ")),
        }
    }
}

/// Whether a call that has a place says more than its row can hold.
pub(super) fn says_more(event: &Value) -> bool {
    ["message", "tags", "kernel_stack_trace", "stack_trace", "user_stack_trace", "ima_hash"].iter().any(|name| {
        match &event[*name] {
            Value::String(text) => !text.is_empty(),
            Value::Array(items) => !items.is_empty(),
            _ => false,
        }
    })
}

fn text(text: String) -> Option<ColumnValue> {
    (!text.is_empty()).then_some(ColumnValue::Text(text))
}

fn texts(texts: impl Iterator<Item = String>) -> Option<ColumnValue> {
    let texts: Vec<String> = texts.collect();
    (!texts.is_empty()).then_some(ColumnValue::Texts(texts))
}

/// An argument: an object with one value under the name of its type, and sometimes a label.
fn reported(argument: &Value) -> String {
    let values =
        argument.as_object().map(|parts| parts.iter().filter(|(name, _)| *name != "label").collect::<Vec<_>>());
    match values.as_deref() {
        Some([(_, value)]) => plain(value),
        _ => plain(argument),
    }
}

/// A text or number as it is; null as nothing; anything else as JSON.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// `module symbol+offset`, as far as it is known.
fn frame(frame: &Value) -> String {
    let part = |name: &str| Some(plain(&frame[name])).filter(|text| !text.is_empty());
    let place = match (part("symbol").or_else(|| part("address")), part("offset")) {
        (Some(symbol), Some(offset)) => format!("{symbol}+{offset}"),
        (symbol, _) => symbol.unwrap_or_else(|| frame.to_string()),
    };
    part("module").map(|module| format!("{module} {place}")).unwrap_or(place)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn arguments_of_every_kind_are_kept() {
        for (argument, expected) in [
            (json!({"string_arg": "id"}), "id"),
            (json!({"int_arg": -100}), "-100"),
            (json!({"size_arg": "627"}), "627"),
            (json!({"string_arg": "id", "label": "line"}), "id"),
            (json!({"syscall_id": {"id": 101, "abi": "x64"}}), r#"{"abi":"x64","id":101}"#),
            (json!({"one": 1, "two": 2}), r#"{"one":1,"two":2}"#),
            (json!({"string_arg": null}), ""),
            (json!({}), "{}"),
            (json!("bare"), "bare"),
        ] {
            assert_eq!(reported(&argument), expected, "{argument}");
        }
    }

    #[test]
    fn frames_of_stacks() {
        for (stack, expected) in [
            (json!({"symbol": "tcp_connect", "offset": "5"}), "tcp_connect+5"),
            (json!({"symbol": "main", "offset": "16", "module": "/bin/a"}), "/bin/a main+16"),
            (json!({"address": "18446744071562067968"}), "18446744071562067968"),
            (json!({"offset": "1"}), r#"{"offset":"1"}"#),
        ] {
            assert_eq!(frame(&stack), expected);
        }
    }
}

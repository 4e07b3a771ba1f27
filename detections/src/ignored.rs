//! Parts of a rule that the parser ignores silently, although the author meant something by them.

use std::collections::BTreeMap;

use kerntrail_common::suggest::typo_of;
use rsigma_parser::{Detection, DetectionItem, Detections, Modifier, SigmaValue};
use serde::Deserialize;
use serde_yaml_ng::Value;

use crate::compile::CompileError;
use crate::line;

/// Keys of a document. Source: Sigma specification, rules and correlations.
const KEYS: &[&str] = &[
    "title",
    "id",
    "name",
    "related",
    "taxonomy",
    "status",
    "description",
    "license",
    "author",
    "references",
    "date",
    "modified",
    "logsource",
    "detection",
    "fields",
    "falsepositives",
    "level",
    "tags",
    "scope",
    "correlation",
    "generate",
    "filter",
    "kerntrail",
];

/// What a sequence cannot ask of its rules.
pub(crate) const NOT_ALL_RULES: &str = "a condition on the number of rules other than all";

/// Line and reason of invalid YAML, of a `timeframe`, and of a key that looks like a misspelling of one of [`KEYS`].
///
/// Other keys are the author's own, as the specification allows.
pub(crate) fn check(text: &str) -> Result<(), (usize, String)> {
    for document in serde_yaml_ng::Deserializer::from_str(text) {
        let document = Value::deserialize(document)
            .map_err(|error| (error.location().map_or(1, |at| at.line()), format!("not YAML: {error}")))?;
        // The parser of rules reports what is not a mapping.
        if let Ok(document) = serde_yaml_ng::from_value::<BTreeMap<String, Value>>(document) {
            check_keys(text, &document)?;
        }
    }
    Ok(())
}

fn check_keys(text: &str, document: &BTreeMap<String, Value>) -> Result<(), (usize, String)> {
    if document.get("detection").is_some_and(|detection| detection.get("timeframe").is_some()) {
        let reason = "`timeframe` is not supported; a correlation has a `timespan`";
        return Err((line::of_first_key(text, "timeframe"), reason.to_owned()));
    }
    if let Some(correlation) = document.get("correlation")
        && correlation.get("condition").and_then(|condition| condition.get("gte")).and_then(Value::as_u64) == Some(1)
        && correlation.get("rules").and_then(Value::as_sequence).is_some_and(|rules| rules.len() > 1)
        && correlation.get("type").and_then(Value::as_str).is_some_and(|kind| kind.starts_with("temporal"))
    {
        // The parser treats it as no condition, which means all of the rules.
        let reason = CompileError::unsupported(NOT_ALL_RULES).to_string();
        let title = document.get("title").and_then(Value::as_str).unwrap_or_default();
        return Err((line::of_key(text, title, "condition"), reason));
    }
    check_names(text, document)?;
    for key in document.keys().filter(|key| key.len() > 3 && !KEYS.contains(&key.as_str())) {
        if let Some(right) = typo_of(key, KEYS.iter().copied(), 1) {
            let reason = format!("unknown key `{key}`; did you mean `{right}`?");
            return Err((line::of_first_key(text, key), reason));
        }
    }
    Ok(())
}

/// Line and reason of a list of names with something else in it: the parser drops that, and takes no names for all.
fn check_names(text: &str, document: &BTreeMap<String, Value>) -> Result<(), (usize, String)> {
    let title = document.get("title").and_then(Value::as_str).unwrap_or_default();
    for (section, key, is_needed) in
        [("filter", "rules", true), ("correlation", "rules", true), ("correlation", "group-by", false)]
    {
        let Some(section) = document.get(section).filter(|section| section.is_mapping()) else { continue };
        let is_right = match section.get(key) {
            None => !is_needed,
            Some(Value::String(name)) => !name.is_empty(),
            Some(Value::Sequence(names)) => (!names.is_empty() || !is_needed) && names.iter().all(Value::is_string),
            Some(_) => false,
        };
        if !is_right {
            let any = if section.get("type").is_none() { ", or any" } else { "" };
            let reason = format!("`{key}` takes a list of names{any}");
            return Err((line::of_key(text, title, key), reason));
        }
    }
    Ok(())
}

/// A list has values. `exists` asks for true or false; the parser takes anything else for true.
pub(crate) fn check_values(detections: &Detections) -> Result<(), CompileError> {
    detections.named.values().try_for_each(check_detection)
}

fn check_detection(detection: &Detection) -> Result<(), CompileError> {
    match detection {
        Detection::AllOf(items) => items.iter().try_for_each(check_item),
        Detection::AnyOf(parts) | Detection::And(parts) => parts.iter().try_for_each(check_detection),
        Detection::ArrayMatch { body, .. } => check_detection(body),
        Detection::Conditional { named, .. } => named.values().try_for_each(check_detection),
        Detection::Keywords(_) => Ok(()),
    }
}

fn check_item(item: &DetectionItem) -> Result<(), CompileError> {
    if let Some(field) = item.field.name.clone().filter(|_| item.values.is_empty()) {
        return Err(CompileError::Value { field, reason: "an empty list matches nothing".into() });
    }
    if !item.field.has_modifier(Modifier::Exists) {
        return Ok(());
    }
    let is_right = match item.values.as_slice() {
        [SigmaValue::Bool(_)] => true,
        [SigmaValue::String(text)] => {
            text.as_plain().is_some_and(|text| ["true", "yes", "false", "no"].contains(&text.as_str()))
        }
        _ => false,
    };
    let wrong = || CompileError::Value {
        field: item.field.name.clone().unwrap_or_default(),
        reason: "`exists` takes one value, true or false".into(),
    };
    is_right.then_some(()).ok_or_else(wrong)
}

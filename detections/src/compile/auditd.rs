//! Rules for auditd's records, as rules over the tables that hold the same events.
//!
//! A rule is about programs (`EXECVE`, or `SYSCALL` of `execve`), files (`PATH`), or other calls that
//! `kernel_events` has. Source: auditd's record types and fields, as the Linux rules of SigmaHQ use them.

use std::collections::BTreeSet;

use kerntrail_schemas::Table;
use rsigma_parser::{
    ConditionExpr, Detection, DetectionItem, Detections, FieldSpec, Modifier, SigmaRule, SigmaString, SigmaValue,
};

use super::CompileError;

/// The service of such a rule's log source.
const SERVICE: &str = "auditd";

/// auditd's field -> a field of the table.
const FIELDS: &[(&str, &str)] = &[
    ("exe", "process_path"),
    ("comm", "process_name"),
    ("name", "path"),
    ("cwd", "cwd"),
    ("pid", "pid"),
    ("ppid", "parent_pid"),
    ("uid", "uid"),
    ("euid", "euid"),
    ("auid", "login_uid"),
];

/// Call -> activity of `kernel_events`, where their names differ.
const CALLS: &[(&str, &str)] = &[
    ("init_module", "module_load"),
    ("finit_module", "module_load"),
    ("umount2", "umount"),
    ("move_mount", "mount"),
    ("setuid", "set_uid"),
    ("setreuid", "set_uid"),
    ("setresuid", "set_uid"),
    ("setgid", "set_gid"),
    ("setregid", "set_gid"),
    ("setresgid", "set_gid"),
];

/// What a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum About {
    /// Programs that are started.
    Programs,
    /// Files.
    Files,
    /// Other calls.
    Calls,
}

impl About {
    /// Category of the log source, in terms of the tables.
    fn category(self) -> &'static str {
        match self {
            Self::Programs => "process_creation",
            Self::Files => Table::FileEvents.name(),
            Self::Calls => Table::KernelEvents.name(),
        }
    }
}

/// What `rule` is about; `None` if it is not about auditd's records.
///
/// Errors: no table holds the records.
pub(crate) fn about(rule: &SigmaRule) -> Result<Option<About>, CompileError> {
    if rule.logsource.service.as_deref() != Some(SERVICE) {
        return Ok(None);
    }
    let about = of_detections(&rule.detection)?;
    match about.into_iter().collect::<Vec<_>>().as_slice() {
        [] => Ok(Some(About::Programs)),
        [one] => Ok(Some(*one)),
        _ => Err(CompileError::unsupported(
            "a rule about auditd's records of several kinds (programs, files, other calls)",
        )),
    }
}

/// `rule`, with the detections of a rule or filter that is `about` something, over the table that holds it.
///
/// Errors: no table holds the records, or a field of them.
pub(crate) fn translate(rule: &SigmaRule, about: About) -> Result<SigmaRule, CompileError> {
    if of_detections(&rule.detection)?.iter().any(|other| *other != about) {
        return Err(CompileError::unsupported("a filter about other records than its rule"));
    }
    check_negations(&rule.detection)?;
    let mut translated = rule.clone();
    translated.logsource.category = Some(about.category().to_owned());
    translated.logsource.service = None;
    for detection in translated.detection.named.values_mut() {
        in_terms_of(about, detection)?;
    }
    Ok(translated)
}

fn of_detections(detections: &Detections) -> Result<BTreeSet<About>, CompileError> {
    let mut about = BTreeSet::new();
    for detection in detections.named.values() {
        collect(detection, &mut about)?;
    }
    Ok(about)
}

/// Adds what the record types and calls in `detection` are about.
fn collect(detection: &Detection, about: &mut BTreeSet<About>) -> Result<(), CompileError> {
    match detection {
        Detection::AllOf(items) => {
            for item in items {
                let Some(field) = field_of(item) else { continue };
                for value in &item.values {
                    about.extend(of_value(field, value)?);
                }
            }
            Ok(())
        }
        Detection::AnyOf(parts) | Detection::And(parts) => parts.iter().try_for_each(|part| collect(part, about)),
        Detection::ArrayMatch { body, .. } => collect(body, about),
        Detection::Conditional { named, .. } => named.values().try_for_each(|part| collect(part, about)),
        Detection::Keywords(_) => Ok(()),
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum AuditField {
    RecordType,
    Call,
}

fn field_of(item: &DetectionItem) -> Option<AuditField> {
    match item.field.name.as_deref()? {
        "type" => Some(AuditField::RecordType),
        "syscall" | "SYSCALL" => Some(AuditField::Call),
        _ => None,
    }
}

/// A value as auditd writes it.
fn written(value: &SigmaValue) -> String {
    match value {
        SigmaValue::String(text) => text.original.clone(),
        SigmaValue::Integer(number) => number.to_string(),
        SigmaValue::Float(number) => number.to_string(),
        SigmaValue::Bool(value) => value.to_string(),
        SigmaValue::Null => "null".to_owned(),
    }
}

/// The activity of `kernel_events` that a call is.
fn activity_of(call: &str) -> Option<&'static str> {
    let name = CALLS.iter().find(|(name, _)| *name == call).map_or(call, |(_, activity)| *activity);
    Table::KernelEvents.activity(name).map(|activity| activity.name)
}

/// What a record type or call is about; `None` where that depends on other fields.
fn of_value(field: AuditField, value: &SigmaValue) -> Result<Option<About>, CompileError> {
    let text = written(value);
    match (field, text.to_ascii_lowercase().as_str()) {
        (AuditField::RecordType, "execve") | (AuditField::Call, "execve" | "execveat") => Ok(Some(About::Programs)),
        (AuditField::RecordType, "path") => Ok(Some(About::Files)),
        (AuditField::RecordType, "syscall") => Ok(None),
        (AuditField::RecordType, _) => {
            Err(CompileError::unsupported(format!("auditd's record type `{text}`, which no table has,")))
        }
        (AuditField::Call, call) if activity_of(call).is_some() => Ok(Some(About::Calls)),
        (AuditField::Call, _) => {
            Err(CompileError::unsupported(format!("the call `{text}`, which is no activity of kernel_events,")))
        }
    }
}

/// Refuses a condition that excludes by the kind of record alone: all rows of the table are of that kind, or none is.
fn check_negations(detections: &Detections) -> Result<(), CompileError> {
    let only_kinds: Vec<&String> =
        detections.named.iter().filter(|(_, detection)| is_of_kinds_only(detection)).map(|(name, _)| name).collect();
    match detections.conditions.iter().any(|condition| negates(condition, &only_kinds, false)) {
        true => Err(CompileError::unsupported("`not` of a detection of nothing but auditd's `type` or `syscall`")),
        false => Ok(()),
    }
}

fn is_of_kinds_only(detection: &Detection) -> bool {
    match detection {
        Detection::AllOf(items) => items.iter().all(|item| field_of(item).is_some()),
        Detection::AnyOf(parts) | Detection::And(parts) => parts.iter().all(is_of_kinds_only),
        _ => false,
    }
}

fn negates(condition: &ConditionExpr, names: &[&String], is_negated: bool) -> bool {
    match condition {
        ConditionExpr::And(parts) | ConditionExpr::Or(parts) => {
            parts.iter().any(|part| negates(part, names, is_negated))
        }
        ConditionExpr::Not(inner) => negates(inner, names, !is_negated),
        ConditionExpr::Identifier(name) => is_negated && names.contains(&name),
        ConditionExpr::Selector { pattern, .. } => {
            is_negated && names.iter().any(|name| pattern.matches_detection_name(name))
        }
    }
}

fn in_terms_of(about: About, detection: &mut Detection) -> Result<(), CompileError> {
    match detection {
        Detection::AllOf(items) => {
            let is_call = items.iter().any(is_syscall_record);
            items.iter_mut().try_for_each(|item| translate_item(about, is_call, item))
        }
        Detection::AnyOf(parts) | Detection::And(parts) => {
            parts.iter_mut().try_for_each(|part| in_terms_of(about, part))
        }
        Detection::ArrayMatch { body, .. } => in_terms_of(about, body),
        Detection::Conditional { named, .. } => named.values_mut().try_for_each(|part| in_terms_of(about, part)),
        Detection::Keywords(_) => Ok(()),
    }
}

/// Whether it asks for the record of a call, whose `a0` … are numbers.
fn is_syscall_record(item: &DetectionItem) -> bool {
    field_of(item) == Some(AuditField::RecordType)
        && item.values.iter().any(|value| written(value).eq_ignore_ascii_case("syscall"))
}

fn translate_item(about: About, is_call: bool, item: &mut DetectionItem) -> Result<(), CompileError> {
    let Some(name) = item.field.name.clone() else { return Ok(()) };
    match (field_of(item), about) {
        (Some(AuditField::Call), About::Calls) => {
            let activities = item.values.iter().filter_map(|value| activity_of(&written(value).to_ascii_lowercase()));
            item.values = activities.map(|activity| SigmaValue::String(SigmaString::new(activity))).collect();
            item.field = FieldSpec::new(Some("activity".to_owned()), Vec::new());
        }
        // The log source says as much.
        (Some(_), _) => {
            item.field = FieldSpec::new(Some("activity".to_owned()), vec![Modifier::Exists]);
            item.values = vec![SigmaValue::Bool(true)];
        }
        (None, _) => item.field.name = Some(column(about, is_call, &name)?),
    }
    Ok(())
}

fn column(about: About, is_call: bool, name: &str) -> Result<String, CompileError> {
    let unsupported = |what: &str| CompileError::UnsupportedField { field: name.to_owned(), what: what.to_owned() };
    if name == "key" {
        return Err(unsupported("auditd's key, which the machine's own audit rules give to a record,"));
    }
    if is_argument(name) {
        return match about {
            About::Programs if !is_call => Ok(format!("arg{}", &name[1..])),
            _ => Err(unsupported("an argument of a call")),
        };
    }
    let known = FIELDS.iter().find(|(audit, _)| *audit == name);
    known.map(|(_, column)| (*column).to_owned()).ok_or_else(|| unsupported("a field of auditd's that no column holds"))
}

/// `a0`, `a1`, …
fn is_argument(name: &str) -> bool {
    name.strip_prefix('a').is_some_and(|rest| rest.parse::<u8>().is_ok())
}

//! Rules for auditd's records, as rules over the tables that hold the same events.
//!
//! A rule may be about programs (`EXECVE`, or `SYSCALL` of `execve`), files (`PATH`), or other calls that
//! `kernel_events` has. Source: auditd's record types and fields, as the Linux rules of SigmaHQ use them.

use std::collections::BTreeSet;

use kerntrail_schemas::Table;
use rsigma_parser::{Detection, DetectionItem, FieldSpec, Modifier, SigmaRule, SigmaString, SigmaValue};

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

/// What a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum About {
    Programs,
    Files,
    Calls,
}

impl About {
    fn table(self) -> Table {
        match self {
            Self::Programs => Table::ProcessEvents,
            Self::Files => Table::FileEvents,
            Self::Calls => Table::KernelEvents,
        }
    }
}

/// `rule` over the table that holds what it is about; `None` if it is not about auditd's records.
///
/// Errors: no table holds the records, or a field of them.
pub(crate) fn translate(rule: &SigmaRule) -> Result<Option<SigmaRule>, CompileError> {
    if rule.logsource.service.as_deref() != Some(SERVICE) {
        return Ok(None);
    }
    let mut about = BTreeSet::new();
    for detection in rule.detection.named.values() {
        collect(detection, &mut about)?;
    }
    let about = match about.into_iter().collect::<Vec<_>>().as_slice() {
        [] => About::Programs,
        [one] => *one,
        _ => return Err(CompileError::unsupported("a rule about auditd's records of programs and of files together")),
    };
    let mut translated = rule.clone();
    translated.logsource.category = Some(about.table().name().to_owned());
    translated.logsource.service = None;
    for detection in translated.detection.named.values_mut() {
        in_terms_of(about, detection)?;
    }
    Ok(Some(translated))
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

#[derive(Clone, Copy, Debug)]
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

/// What a record type or call is about; `None` where that depends on other fields.
fn of_value(field: AuditField, value: &SigmaValue) -> Result<Option<About>, CompileError> {
    let text = match value {
        SigmaValue::String(text) => text.original.clone(),
        other => format!("{other:?}"),
    };
    match (field, text.to_ascii_lowercase().as_str()) {
        (AuditField::RecordType, "execve") | (AuditField::Call, "execve" | "execveat") => Ok(Some(About::Programs)),
        (AuditField::RecordType, "path") => Ok(Some(About::Files)),
        (AuditField::RecordType, "syscall") => Ok(None),
        (AuditField::RecordType, _) => {
            Err(CompileError::unsupported(format!("auditd's record type `{text}`, which kerntrail does not record,")))
        }
        (AuditField::Call, call) if About::Calls.table().activity(call).is_some() => Ok(Some(About::Calls)),
        (AuditField::Call, _) => {
            Err(CompileError::unsupported(format!("the call `{text}`, which kerntrail does not record,")))
        }
    }
}

fn in_terms_of(about: About, detection: &mut Detection) -> Result<(), CompileError> {
    match detection {
        Detection::AllOf(items) => items.iter_mut().try_for_each(|item| translate_item(about, item)),
        Detection::AnyOf(parts) | Detection::And(parts) => {
            parts.iter_mut().try_for_each(|part| in_terms_of(about, part))
        }
        Detection::ArrayMatch { body, .. } => in_terms_of(about, body),
        Detection::Conditional { named, .. } => named.values_mut().try_for_each(|part| in_terms_of(about, part)),
        Detection::Keywords(_) => Ok(()),
    }
}

fn translate_item(about: About, item: &mut DetectionItem) -> Result<(), CompileError> {
    let Some(name) = item.field.name.clone() else { return Ok(()) };
    match (field_of(item), about) {
        // Of the programs, the records are those of starting one.
        (Some(_), About::Programs) => {
            item.values = vec![SigmaValue::String(SigmaString::new("exec"))];
            item.field.name = Some("activity".to_owned());
        }
        (Some(AuditField::Call), About::Calls) => item.field.name = Some("activity".to_owned()),
        (Some(_), _) => {
            item.field = FieldSpec::new(Some("activity".to_owned()), vec![Modifier::Exists]);
            item.values = vec![SigmaValue::Bool(true)];
        }
        (None, _) => item.field.name = Some(column(about, &name)?),
    }
    Ok(())
}

fn column(about: About, name: &str) -> Result<String, CompileError> {
    let unsupported = |what: &str| CompileError::UnsupportedField { field: name.to_owned(), what: what.to_owned() };
    if name == "key" {
        return Err(unsupported("auditd's key, which the machine's own audit rules give to a record,"));
    }
    if is_argument(name) {
        return match about {
            About::Programs => Ok(format!("arg{}", &name[1..])),
            About::Files | About::Calls => Err(unsupported("an argument of a call")),
        };
    }
    let known = FIELDS.iter().find(|(audit, _)| *audit == name);
    known.map(|(_, column)| (*column).to_owned()).ok_or_else(|| unsupported("a field of auditd's that no column holds"))
}

/// `a0`, `a1`, …
fn is_argument(name: &str) -> bool {
    name.strip_prefix('a').is_some_and(|rest| rest.parse::<u8>().is_ok())
}

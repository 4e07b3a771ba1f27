//! `findings` as alerts.

use serde_json::Value;

use crate::mapping::attack;
use crate::mapping::document::{Document, Placement, rfc3339, same};
use crate::mapping::ecs::{TableMapping, duration};

pub(super) const MAPPING: TableMapping = TableMapping { kind: "alert", columns: COLUMNS, finish };

const COLUMNS: &[Placement] = &[
    ("rule_id", "rule.id", same),
    ("rule_name", "rule.name", same),
    ("rule_version", "rule.version", same),
    ("message", "message", same),
    ("risk_score", "event.risk_score", same),
    ("first_time", "event.start", rfc3339),
    ("last_time", "event.end", rfc3339),
];

/// `event.severity` as Elastic's detection engine counts it, by our `severity`.
const SEVERITIES: &[(&str, i64)] =
    &[("informational", 21), ("low", 21), ("medium", 47), ("high", 73), ("critical", 99)];

fn finish(document: &mut Document<'_>) {
    document.put("rule.ruleset", "kerntrail");
    let severity = document.see_text("severity").and_then(|name| SEVERITIES.iter().find(|(known, _)| *known == name));
    document.put_known("event.severity", severity.map(|(_, number)| *number));
    duration(document, "first_time", "last_time");
    threat(document);
}

fn threat(document: &mut Document<'_>) {
    let texts = |value: Option<&'_ Value>| -> Vec<String> {
        let items = value.and_then(Value::as_array).into_iter().flatten();
        items.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let written = texts(document.take("attack_tactics"));
    let tactics: Vec<attack::Tactic<'_>> = written.iter().map(|tactic| attack::tactic(tactic)).collect();
    let techniques = texts(document.take("attack_techniques"));
    if tactics.is_empty() && techniques.is_empty() {
        return;
    }
    document.put("threat.framework", "MITRE ATT&CK");
    let list = |items: Vec<String>| (!items.is_empty()).then_some(items);
    let mut numbers: Vec<String> = Vec::new();
    let mut sub_numbers = Vec::new();
    for (parent, sub) in techniques.iter().map(|written| attack::technique(written)) {
        if !numbers.contains(&parent) {
            numbers.push(parent);
        }
        sub_numbers.extend(sub);
    }
    document.put_known("threat.tactic.id", list(tactics.iter().filter_map(|t| t.uid).map(str::to_owned).collect()));
    document.put_known("threat.tactic.name", list(tactics.iter().map(|tactic| tactic.name.to_owned()).collect()));
    document.put_known("threat.technique.id", list(numbers));
    document.put_known("threat.technique.subtechnique.id", list(sub_numbers));
}

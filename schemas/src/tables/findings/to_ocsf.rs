//! `findings` as Detection Finding.

use serde_json::{Value, json};

use crate::mapping::document::{Document, Placement, equal_signs, millis, same};
use crate::mapping::ocsf::TableMapping;
use crate::mapping::{Row, attack};

pub(super) const MAPPING: TableMapping = TableMapping { actor_at: "actor.process", columns: COLUMNS, finish };

const COLUMNS: &[Placement] = &[
    ("finding_id", "finding_info.uid", same),
    ("rule_name", "finding_info.title", same),
    ("message", "finding_info.desc", same),
    ("message", "message", same),
    ("first_time", "finding_info.first_seen_time", millis),
    ("first_time", "start_time", millis),
    ("last_time", "finding_info.last_seen_time", millis),
    ("last_time", "end_time", millis),
    ("rule_id", "finding_info.analytic.uid", same),
    ("rule_name", "finding_info.analytic.name", same),
    ("rule_version", "finding_info.analytic.version", same),
    ("risk_score", "risk_score", same),
];

fn finish(event: &mut Document<'_>) {
    event.put("is_alert", true);
    event.put("status_id", 1);
    event.put("status", "New");
    event.put("finding_info.analytic.type_id", 1);
    event.put("finding_info.analytic.type", "Rule");
    event.put_known("finding_info.created_time", event.see("time").and_then(millis));
    let (attacks, related_events) = (attacks(event), related_events(event));
    event.put_known("finding_info.attacks", attacks);
    event.put_known("finding_info.related_events", related_events);
    event.put("resources", resource(event));
}

/// Tactics and techniques are two lists of the rule, so one entry holds all tactics and each technique has its own.
fn attacks(event: &mut Document<'_>) -> Option<Value> {
    let texts = |value: Option<&Value>| -> Vec<String> {
        let items = value.and_then(Value::as_array).into_iter().flatten();
        items.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let tactics: Vec<Value> = texts(event.take("attack_tactics"))
        .iter()
        .map(|written| {
            let tactic = attack::tactic(written);
            tactic.uid.map_or_else(|| json!({"name": tactic.name}), |uid| json!({"name": tactic.name, "uid": uid}))
        })
        .collect();
    let techniques = texts(event.take("attack_techniques"));
    let mut attacks: Vec<Value> = techniques.iter().map(|written| technique(written, &tactics)).collect();
    if attacks.is_empty() {
        attacks.extend(tactics.first().map(|first| json!({"tactic": first, "tactics": tactics})));
    }
    (!attacks.is_empty()).then(|| attacks.into())
}

fn technique(written: &str, tactics: &[Value]) -> Value {
    let (parent, sub) = attack::technique(written);
    let mut attack = json!({"technique": {"uid": parent}});
    if let Some(sub) = sub {
        attack["sub_technique"] = json!({"uid": sub});
    }
    if let Some(first) = tactics.first() {
        attack["tactic"] = first.clone();
        attack["tactics"] = tactics.into();
    }
    attack
}

/// The events that caused the finding, by their `metadata.uid`.
fn related_events(event: &mut Document<'_>) -> Option<Value> {
    let references = event.take("event_refs")?.as_array()?;
    let events = references.iter().filter_map(Value::as_str).map(|reference| match reference.split_once('/') {
        Some((table, uid)) => json!({"uid": uid, "tags": [{"name": "table", "value": table}]}),
        None => json!({"uid": reference}),
    });
    Some(events.collect())
}

/// The pod that the finding is about; the node when it is about a process of the host.
fn resource(event: &Document<'_>) -> Value {
    let fields = match event.see("pod_uid") {
        Some(uid) => [
            ("type", Some(json!("Pod"))),
            ("uid", Some(uid.clone())),
            ("name", event.see("pod_name").cloned()),
            ("namespace", event.see("namespace").cloned()),
            ("labels", event.see("pod_labels").and_then(equal_signs)),
        ],
        None => [
            ("type", Some(json!("Node"))),
            ("name", Some(event.see("node").cloned().unwrap_or_else(|| json!("unknown")))),
            ("hostname", event.see("node").cloned()),
            ("uid", None),
            ("labels", None),
        ],
    };
    let mut resource: Row = fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect();
    resource.insert("role_id".into(), 3.into());
    resource.insert("role".into(), "Affected".into());
    Value::Array(vec![Value::Object(resource)])
}

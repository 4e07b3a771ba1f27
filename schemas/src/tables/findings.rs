//! `findings`: what the rules found.

mod to_ecs;
mod to_ocsf;

use super::{Declaration, Unknown};
use crate::activity::activities;
use crate::cell::Micros;
use crate::columns::columns;
use crate::identity::{FindingId, RuleId};
use crate::mapping::ecs;
use crate::mapping::ocsf;
use crate::sentence::Sentence;

pub(super) static DECLARATION: Declaration = Declaration {
    name: "findings",
    meaning: "What the rules found.",
    number: 5,
    has_actor: true,
    in_timeline: false,
    in_finding: Sentence("[`{command}`]"),
    activities: ACTIVITIES,
    unknown: Unknown {
        ocsf: ocsf::Classification { class: &ocsf::FINDING, activity: ocsf::OTHER },
        ecs_category: &["intrusion_detection"],
        ecs_type: &["info"],
        sentence: Sentence("{activity}"),
    },
    ocsf: to_ocsf::MAPPING,
    ecs: to_ecs::MAPPING,
};

columns! {
    /// Own columns of `findings`; the actor is that of the first event.
    FindingColumns, FindingColumnsBuilder {
        finding_id: FindingId = "hash of rule, group and window or event",
        rule_id: RuleId = "`id` of the Sigma rule",
        rule_name: String = "`title` of the rule",
        rule_version: String = "hash of the rule's text",
        severity: String = "`informational`, `low`, `medium`, `high` or `critical`",
        risk_score: i32 = "0 to 100",
        attack_tactics: Vec<String> = "MITRE ATT&CK tactics",
        attack_techniques: Vec<String> = "MITRE ATT&CK techniques",
        first_time: Micros = "time of the first event, UTC",
        last_time: Micros = "time of the last event, UTC",
        event_refs: Vec<String> = "the events that caused it, in order: `table/event_id`",
        group_key: String = "values by which the events of a sequence belong together",
        message: String = "what happened, in a sentence",
        suppressed_count: i64 = "number of further matches that were merged into this finding",
    }
}

activities! {
    Findings:
    /// A rule found something.
    CREATE = "create" {
        records: &[],
        ocsf: ocsf::Classification { class: &ocsf::FINDING, activity: "Create" },
        ecs: ecs::Classification { category: &["intrusion_detection"], kind: &["info"], action: "create" },
        sigma: &[],
        sentence: Sentence("FINDING {severity|unrated}: {rule|unnamed rule}[ ({techniques})][: {message}] [[{finding_id}]"),
        boundary: None,
    }
    /// A finding counts further events: `suppressed_count` has how many, and the row has the last of them.
    UPDATE = "update" {
        records: &[],
        ocsf: ocsf::Classification { class: &ocsf::FINDING, activity: "Update" },
        ecs: ecs::Classification { category: &["intrusion_detection"], kind: &["info"], action: "update" },
        sigma: &[],
        sentence: Sentence("FINDING {severity|unrated} again: {rule|unnamed rule}[ ({techniques})][: {message}] [[{finding_id}]"),
        boundary: None,
    }
}

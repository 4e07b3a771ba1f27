use std::collections::BTreeSet;

use super::*;
use crate::mapping::ocsf::OTHER;
use crate::sentence::COMPUTED;

/// `event.type` values that ECS 9 allows for an `event.category`
/// (<https://www.elastic.co/docs/reference/ecs/ecs-allowed-values-event-category>).
const ECS_TYPES: &[(&str, &[&str])] = &[
    ("driver", &["change", "end", "info", "start"]),
    ("file", &["access", "change", "creation", "deletion", "info"]),
    ("host", &["access", "change", "end", "info", "start"]),
    ("intrusion_detection", &["allowed", "denied", "info"]),
    ("network", &["access", "allowed", "connection", "denied", "end", "info", "protocol", "start"]),
    ("process", &["access", "change", "end", "info", "start"]),
];

/// Activities without a counterpart in their OCSF class, and why.
const OTHER_IN_OCSF: &[(&str, &str)] = &[
    ("process_events.existing", "Process Activity has nothing for a process that was already there"),
    ("event_loss.ring_full", "Base Event has no activities"),
    ("event_loss.collector_down", "Base Event has no activities"),
    ("event_loss.decode_error", "Base Event has no activities"),
    ("event_loss.not_run", "Base Event has no activities"),
    ("event_loss.table_full", "Base Event has no activities"),
    ("event_loss.not_supported", "Base Event has no activities"),
    ("event_loss.rate_limited", "Base Event has no activities"),
    ("event_loss.throttled", "Base Event has no activities"),
    ("event_loss.not_forwarded", "Base Event has no activities"),
];

fn has_column(table: Table, name: &str) -> bool {
    table.columns().iter().any(|column| column.name == name)
}

#[test]
fn names_and_meanings_are_given_and_unique() {
    for &table in Table::ALL {
        let mut names = BTreeSet::new();
        assert!(!table.activities().is_empty(), "{table}");
        for activity in table.activities() {
            assert_eq!(activity.table, table, "{activity:?}");
            assert!(names.insert(activity.name), "{activity:?} is declared twice");
            assert!(activity.meaning.ends_with('.') && activity.meaning.len() > 10, "{activity:?}");
            assert_eq!(table.activity(activity.name), Some(*activity));
        }
    }
    let numbers: BTreeSet<u8> = Table::ALL.iter().map(|table| table.number()).collect();
    assert_eq!(numbers.len(), Table::ALL.len(), "two tables have the same number");
}

#[test]
fn a_kernel_record_is_one_activity() {
    let mut seen: Vec<(RecordCode, &Activity)> = Vec::new();
    for activity in Activity::all() {
        for code in activity.records {
            assert!(!seen.iter().any(|(other, _)| other == code), "{activity:?} shares {code:?} with another");
            assert_eq!(Activity::of_record(code.kind, code.op), Some(activity));
            seen.push((*code, activity));
        }
    }
    assert_eq!(Activity::of_record(99, 0), None);
}

#[test]
fn every_activity_is_mapped_to_ocsf() {
    for activity in Activity::all() {
        let ocsf::Classification { class, activity: caption } = &activity.ocsf;
        let known = class.activities.iter().any(|(_, known)| known == caption);
        let excepted = OTHER_IN_OCSF.iter().any(|(name, _)| *name == format!("{activity:?}"));
        assert_eq!(*caption == OTHER, excepted, "{activity:?}: {caption}; OTHER_IN_OCSF names those without");
        assert!(known || excepted, "{activity:?}: {} has no activity `{caption}`", class.name);
    }
}

#[test]
fn every_activity_is_mapped_to_ecs() {
    for activity in Activity::all() {
        let ecs::Classification { category, kind, action } = &activity.ecs;
        assert!(!category.is_empty() && !kind.is_empty() && !action.is_empty(), "{activity:?}");
        for category in *category {
            let allowed = ECS_TYPES.iter().find(|(known, _)| known == category).map(|(_, types)| *types);
            let allowed = allowed.unwrap_or_else(|| panic!("{activity:?}: no category `{category}` in ECS_TYPES"));
            assert!(kind.iter().all(|kind| allowed.contains(kind)), "{activity:?}: {category} has not all of {kind:?}");
        }
    }
}

#[test]
fn a_sigma_category_belongs_to_one_table() {
    for category in Activity::all().flat_map(|activity| activity.sigma) {
        let tables: BTreeSet<Table> =
            Activity::of_sigma_category(category).iter().map(|activity| activity.table).collect();
        assert_eq!(tables.len(), 1, "{category}");
        assert!(category.parse::<Table>().is_err(), "{category} is the name of a table");
    }
    assert!(Activity::of_sigma_category("no_such").is_empty());
}

#[test]
fn sentences_and_boundaries_name_existing_columns() {
    for activity in Activity::all() {
        let table = activity.table;
        assert!(!activity.sentence.0.is_empty(), "{activity:?}");
        for name in activity.sentence.names() {
            let computed = COMPUTED.iter().any(|(known, _)| *known == name);
            assert!(computed || has_column(table, name), "{activity:?}: there is no `{name}`");
        }
        match activity.boundary {
            Some(BoundaryEvidence::NewRoot { path } | BoundaryEvidence::Mount { path }) => {
                assert!(has_column(table, path) && has_column(table, "mount_is_host"), "{activity:?}");
            }
            Some(BoundaryEvidence::StateChange) => assert!(has_column(table, "new_mnt_ns"), "{activity:?}"),
            None => {}
        }
    }
}

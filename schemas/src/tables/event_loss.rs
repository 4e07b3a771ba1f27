//! `event_loss`: which events are missing, and why.

mod to_ecs;
mod to_ocsf;

use super::{Declaration, Unknown};
use crate::activity::activities;
use crate::cell::Micros;
use crate::columns::columns;
use crate::mapping::document::Document;
use crate::mapping::ecs;
use crate::mapping::ocsf;
use crate::sentence::Sentence;

pub(super) static DECLARATION: Declaration = Declaration {
    name: "event_loss",
    meaning: "Which events are missing, and why.",
    number: 6,
    has_actor: false,
    in_timeline: false,
    in_finding: Sentence("[`{command}`]"),
    activities: ACTIVITIES,
    unknown: Unknown {
        ocsf: ocsf::Classification { class: &ocsf::BASE, activity: ocsf::OTHER },
        ecs_category: &["host"],
        ecs_type: &["info"],
        sentence: MISSING,
    },
    ocsf: to_ocsf::MAPPING,
    ecs: to_ecs::MAPPING,
};

columns! {
    /// Own columns of `event_loss`.
    LossColumns, LossColumnsBuilder {
        from_seq: i64 = "first number lost",
        to_seq: i64 = "last number lost",
        lost: i64 = "how many events were lost",
        start_time: Micros = "start of the time in which they were lost, UTC",
        end_time: Micros = "end of the time in which they were lost, UTC",
        event_kind: String = "what is missing, where known: kinds of records, activities, or the cgroup; separated by commas",
    }
}

/// The sentence of a timeline for missing events, for any reason.
const MISSING: Sentence =
    Sentence("{lost|some} [{event_kind} ]events are missing until {until} ({activity}[, cpu {cpu}])");

activities! {
    EventLoss:
    /// The kernel's ring buffer was full; the numbers of the lost events are known.
    RING_FULL = "ring_full" {
        records: &[],
        ocsf: ocsf::Classification { class: &ocsf::BASE, activity: ocsf::OTHER },
        ecs: ecs::Classification { category: &["host"], kind: &["info"], action: "ring_full" },
        sigma: &[],
        sentence: MISSING,
        boundary: None,
    }
    /// The collector was not running; how many events happened is not known.
    COLLECTOR_DOWN = "collector_down" {
        records: &[],
        ocsf: ocsf::Classification { class: &ocsf::BASE, activity: ocsf::OTHER },
        ecs: ecs::Classification { category: &["host"], kind: &["info"], action: "collector_down" },
        sigma: &[],
        sentence: MISSING,
        boundary: None,
    }
    /// A record or a message could not be read.
    DECODE_ERROR = "decode_error" {
        records: &[],
        ocsf: ocsf::Classification { class: &ocsf::BASE, activity: ocsf::OTHER },
        ecs: ecs::Classification { category: &["host"], kind: &["info"], action: "decode_error" },
        sigma: &[],
        sentence: MISSING,
        boundary: None,
    }
    /// The kernel skipped the BPF programs, so the events were not numbered.
    NOT_RUN = "not_run" {
        records: &[],
        ocsf: ocsf::Classification { class: &ocsf::BASE, activity: ocsf::OTHER },
        ecs: ecs::Classification { category: &["host"], kind: &["info"], action: "not_run" },
        sigma: &[],
        sentence: MISSING,
        boundary: None,
    }
    /// The process table had no room for `count` processes. No event was lost, but rows of these processes lack ancestry and origin.
    TABLE_FULL = "table_full" {
        records: &[],
        ocsf: ocsf::Classification { class: &ocsf::BASE, activity: ocsf::OTHER },
        ecs: ecs::Classification { category: &["host"], kind: &["info"], action: "table_full" },
        sigma: &[],
        sentence: MISSING,
        boundary: None,
    }
    /// This kernel refuses a program, so the activities in `event_kind` are not reported.
    NOT_SUPPORTED = "not_supported" {
        records: &[],
        ocsf: ocsf::Classification { class: &ocsf::BASE, activity: ocsf::OTHER },
        ecs: ecs::Classification { category: &["host"], kind: &["info"], action: "not_supported" },
        sigma: &[],
        sentence: MISSING,
        boundary: None,
    }
    /// The rate limit of another tool's export left out `lost` events before `end_time`.
    RATE_LIMITED = "rate_limited" {
        records: &[],
        ocsf: ocsf::Classification { class: &ocsf::BASE, activity: ocsf::OTHER },
        ecs: ecs::Classification { category: &["host"], kind: &["info"], action: "rate_limited" },
        sigma: &[],
        sentence: MISSING,
        boundary: None,
    }
    /// A sink did not get `lost` rows before the full event log removed them, or before the sink was forgotten. They are in
    /// the lake, and `kerntrail sinks backfill` sends them.
    NOT_FORWARDED = "not_forwarded" {
        records: &[],
        ocsf: ocsf::Classification { class: &ocsf::BASE, activity: ocsf::OTHER },
        ecs: ecs::Classification { category: &["host"], kind: &["info"], action: "not_forwarded" },
        sigma: &[],
        sentence: Sentence("{lost|some} rows were not sent until {until} ({event_kind|a sink})"),
        boundary: None,
    }
    /// Another tool began or ceased to leave out the events of the cgroup in `event_kind`, which had too many.
    THROTTLED = "throttled" {
        records: &[],
        ocsf: ocsf::Classification { class: &ocsf::BASE, activity: ocsf::OTHER },
        ecs: ecs::Classification { category: &["host"], kind: &["info"], action: "throttled" },
        sigma: &[],
        sentence: MISSING,
        boundary: None,
    }
}

/// What is missing and why, in a sentence for a SIEM.
fn message(row: &Document<'_>) -> String {
    let reason = row.see_text("activity").unwrap_or("unknown");
    let kinds = row.see_text("event_kind").map(|kinds| kinds.replace(',', ", "));
    let lost = row.see_number("lost").map_or_else(|| "An unknown number of".to_owned(), |lost| lost.to_string());
    match kinds {
        Some(activities) if reason == NOT_SUPPORTED.name => {
            let are = if activities.contains(',') { "are" } else { "is" };
            format!("{reason}: {activities} {are} not collected")
        }
        Some(kinds) => format!("{lost} events were lost ({kinds}): {reason}"),
        None => format!("{lost} events were lost: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::mapping::Row;

    #[test]
    fn a_message_names_what_is_missing() {
        let cases = [
            ("ring_full", Some(10), None, "10 events were lost: ring_full"),
            ("ring_full", Some(10), Some("exec,fork"), "10 events were lost (exec, fork): ring_full"),
            ("table_full", Some(0), Some("process context"), "0 events were lost (process context): table_full"),
            ("collector_down", None, None, "An unknown number of events were lost: collector_down"),
            ("not_supported", None, Some("setns"), "not_supported: setns is not collected"),
            ("not_supported", None, Some("mount,setns"), "not_supported: mount, setns are not collected"),
        ];
        for (activity, lost, event_kind, expected) in cases {
            let columns = json!({"activity": activity, "lost": lost, "event_kind": event_kind});
            let row: Row = serde_json::from_value(columns).unwrap();
            assert_eq!(message(&Document::new(&row)), expected);
        }
    }
}

//! `event_loss`: which events are missing, and why.

mod to_ecs;
mod to_ocsf;

use super::{Declaration, Unknown};
use crate::activity::{activities};
use crate::columns::columns;
use crate::cell::Micros;
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
        ocsf: ocsf::Event { class: &ocsf::BASE, activity: ocsf::OTHER },
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
        event_kind: String = "kind of the lost events, where known",
    }
}

/// What a timeline says of events that are missing, whatever the reason.
const MISSING: Sentence =
    Sentence("{lost|some} [{event_kind} ]events are missing until {until} ({activity}[, cpu {cpu}])");

activities! {
    EventLoss:
    /// The kernel's ring buffer was full; the numbers of the lost events are known.
    RING_FULL = "ring_full" {
        records: &[],
        ocsf: ocsf::Event { class: &ocsf::BASE, activity: ocsf::OTHER },
        ecs: ecs::Event { category: &["host"], kind: &["info"], action: "ring_full" },
        sigma: &[],
        sentence: MISSING,
        boundary: None,
    }
    /// The collector was not running; how many events happened is not known.
    COLLECTOR_DOWN = "collector_down" {
        records: &[],
        ocsf: ocsf::Event { class: &ocsf::BASE, activity: ocsf::OTHER },
        ecs: ecs::Event { category: &["host"], kind: &["info"], action: "collector_down" },
        sigma: &[],
        sentence: MISSING,
        boundary: None,
    }
    /// A record or a message could not be read.
    DECODE_ERROR = "decode_error" {
        records: &[],
        ocsf: ocsf::Event { class: &ocsf::BASE, activity: ocsf::OTHER },
        ecs: ecs::Event { category: &["host"], kind: &["info"], action: "decode_error" },
        sigma: &[],
        sentence: MISSING,
        boundary: None,
    }
    /// The kernel skipped the BPF programs, so the events were not numbered.
    NOT_RUN = "not_run" {
        records: &[],
        ocsf: ocsf::Event { class: &ocsf::BASE, activity: ocsf::OTHER },
        ecs: ecs::Event { category: &["host"], kind: &["info"], action: "not_run" },
        sigma: &[],
        sentence: MISSING,
        boundary: None,
    }
    /// The process table had no room for `count` processes. No event was lost, but rows of these processes lack ancestry and origin.
    TABLE_FULL = "table_full" {
        records: &[],
        ocsf: ocsf::Event { class: &ocsf::BASE, activity: ocsf::OTHER },
        ecs: ecs::Event { category: &["host"], kind: &["info"], action: "table_full" },
        sigma: &[],
        sentence: MISSING,
        boundary: None,
    }
    /// This kernel refuses a program, so the activities in `event_kind` are not reported.
    NOT_SUPPORTED = "not_supported" {
        records: &[],
        ocsf: ocsf::Event { class: &ocsf::BASE, activity: ocsf::OTHER },
        ecs: ecs::Event { category: &["host"], kind: &["info"], action: "not_supported" },
        sigma: &[],
        sentence: MISSING,
        boundary: None,
    }
}

/// What is missing and why, in a sentence for a SIEM.
fn message(row: &Document<'_>) -> String {
    let lost = row.see_number("lost").map_or_else(|| "An unknown number of".to_owned(), |lost| lost.to_string());
    let reason = row.see_text("activity").unwrap_or("unknown");
    format!("{lost} events were lost: {reason}")
}

//! Tetragon's JSON export (versions 0.8 to 1.6).
//!
//! Its mapping tables: [`events`], [`calls`] and [`hooks`] (kind of event or kernel function -> table, activity, columns) and
//! [`process`] (process -> actor). [`fields`] has the values that take more than a place among the arguments.

mod args;
mod argument;
mod call;
mod calls;
mod events;
mod fields;
mod hooks;
mod losses;
mod names;
mod process;
mod record;

use std::sync::{Arc, LazyLock};

use kerntrail_schemas::cell::Micros;
use kerntrail_schemas::tables::Envelope;
use serde_json::Value;

use self::argument::{ArgumentSource, TetragonEvent};
use self::call::CallArguments;
use self::calls::CALLS;
use self::events::{CALL_KINDS, EVENTS};
use self::hooks::{HOOK_KINDS, HOOKS, HookSource};
use self::process::ExecId;
use self::record::{Body, Record};
use crate::import::format::{
    EventOrigin, FormatMapping, FormatScope, ImportFormat, ImportedRow, KeyedActor, MappedColumn, Reading,
    RecordRefusal,
};
use crate::import::json::{fit, given, owned};
use crate::import::mapping::{ByName, MakeRow};
use crate::import::time::rfc3339;

/// Tetragon's JSON export.
pub(super) struct Tetragon;

impl ImportFormat for Tetragon {
    fn name(&self) -> &'static str {
        "tetragon"
    }

    fn description(&self) -> &'static str {
        "Tetragon's JSON export (versions 0.8 to 1.6)"
    }

    fn mapping(&self) -> FormatMapping {
        FormatMapping {
            envelope: ENVELOPE.iter().map(|(column, from)| MappedColumn::new(column, *from)).collect(),
            actor: process::describe(),
            rows: EVENTS
                .iter()
                .chain(CALLS)
                .map(|entry| entry.describe())
                .chain(HOOKS.iter().map(|entry| entry.describe()))
                .chain(losses::describe())
                .collect(),
        }
    }

    fn read(&self, text: &str, scope: &mut FormatScope, rows: &mut Vec<ImportedRow>) -> Result<Reading, RecordRefusal> {
        let record: Record<'_> = serde_json::from_str(text)?;
        if let Some(loss) = &record.loss {
            rows.push(losses::row(&record, loss, scope)?);
            return Ok(Reading::Rows);
        }
        let Some((kind, body)) = &record.event else {
            return Ok(record.other.map_or(Reading::OtherFormat, Reading::NoPlace));
        };
        let event = EventContext::new(&record, (*kind, body), scope)?;
        let is_call = CALL_KINDS.contains(kind);
        let entries = if is_call {
            let function = given(&body.function_name);
            let function = function.ok_or_else(|| RecordRefusal::content("a call without function_name"))?;
            CALLS_BY_NAME.entries(without_architecture(function))
        } else {
            EVENTS_BY_NAME.entries(kind)
        };
        let placed = event.row(entries)?;
        if is_call || HOOK_KINDS.contains(kind) {
            rows.extend(placed);
            let whole: Value = serde_json::from_str(text)?;
            if rows.is_empty() || hooks::says_more(&whole[*kind]) {
                rows.push(event.hook(kind, &whole[*kind], scope)?);
            }
            return Ok(Reading::Rows);
        }
        match placed {
            Some(row) => {
                rows.push(row);
                Ok(Reading::Rows)
            }
            None => Ok(Reading::NoPlace((*kind).to_owned())),
        }
    }
}

/// The event of a program that was started.
const EXEC_KIND: &str = "process_exec";

/// Which fields fill the envelope; [`EventContext`] reads them.
const ENVELOPE: &[(&str, &str)] = &[
    ("time", "`time`, else the time in the event, else, of `process_exec`, `process.start_time`"),
    ("cluster", "`cluster_name`, unless the configuration names a cluster"),
    ("node", "`node_name`, else the node in `process.exec_id`"),
    (
        "action",
        "`action`: `killed` for `KPROBE_ACTION_SIGKILL`, `denied` for `KPROBE_ACTION_OVERRIDE`, else `observed`",
    ),
    ("policy", "`policy_name`"),
    ("count", "`aggregation_info.count`"),
];

/// An event with what every row of it has.
struct EventContext<'a> {
    body: &'a Body<'a>,
    origin: Arc<EventOrigin>,
    time: Micros,
    envelope: Envelope,
    actor: KeyedActor,
}

impl<'a> EventContext<'a> {
    fn new(
        record: &Record<'_>,
        (kind, body): (&str, &'a Body<'a>),
        scope: &mut FormatScope,
    ) -> Result<Self, RecordRefusal> {
        let process = body.process.as_ref().ok_or_else(|| RecordRefusal::content("no process"))?;
        let inside = || given(&process.exec_id).and_then(ExecId::read).map(|id| id.node);
        let origin = match given(&record.node_name) {
            Some(name) => scope.node(Some(name)),
            None => scope.node(inside().as_deref()),
        };
        let origin = origin.ok_or_else(|| RecordRefusal::content("no node_name"))?;
        // A process starts when its program does.
        let started = || given(&process.start_time).filter(|_| kind == EXEC_KIND);
        let time = given(&record.time).or(given(&body.time)).or_else(started);
        let time = time_of(time)?;
        let count = record.aggregation_info.as_ref().and_then(|info| info.count);
        let envelope = Envelope {
            cluster: scope.cluster(given(&record.cluster_name)),
            action: Some(match given(&body.action) {
                Some("KPROBE_ACTION_SIGKILL") => "killed",
                Some("KPROBE_ACTION_OVERRIDE") => "denied",
                _ => "observed",
            }),
            policy: owned(&body.policy_name),
            count: fit("aggregation_info.count", count)?,
            ..Envelope::default()
        };
        let actor = scope.actor(&process::content(body, &origin), || process::actor(body, &origin))?;
        Ok(Self { body, origin, time, envelope, actor })
    }

    /// The row that the first of `entries` that applies makes; `None` when none applies.
    fn row(&self, entries: &[&dyn MakeRow<ArgumentSource>]) -> Result<Option<ImportedRow>, RecordRefusal> {
        if entries.is_empty() {
            return Ok(None);
        }
        let Self { body, origin, time, envelope, actor } = self;
        let event = TetragonEvent { body, call: CallArguments::new(body)?, actor: actor.actor(), time: *time };
        let Some(entry) = entries.iter().find(|entry| entry.applies(&event)) else { return Ok(None) };
        let row = entry.make(&event, *time, origin, envelope.clone())?;
        Ok(Some(row.with_actor(actor.clone())))
    }

    /// The row of `hook_events` that `event`, of this `kind`, makes.
    fn hook(&self, kind: &str, event: &Value, scope: &FormatScope) -> Result<ImportedRow, RecordRefusal> {
        let event = scope.masked_texts(event);
        let entry = HOOKS_BY_NAME.entries(kind).first();
        let entry = entry.ok_or_else(|| RecordRefusal::content(format!("{kind} is no hook")))?;
        let row = entry.make(&event, self.time, &self.origin, self.envelope.clone())?;
        Ok(row.with_actor(self.actor.clone()))
    }
}

/// The time that `text` names. Errors: there is none, or it is not a time that can be stored.
fn time_of(text: Option<&str>) -> Result<Micros, RecordRefusal> {
    let text = text.ok_or_else(|| RecordRefusal::content("no time"))?;
    let impossible = || RecordRefusal::content(format!("time {text:?} is not a time between 1970 and 2262"));
    rfc3339(text).ok_or_else(impossible)
}

static EVENTS_BY_NAME: LazyLock<ByName<ArgumentSource>> = LazyLock::new(|| ByName::of(EVENTS));
static CALLS_BY_NAME: LazyLock<ByName<ArgumentSource>> = LazyLock::new(|| ByName::of(CALLS));
static HOOKS_BY_NAME: LazyLock<ByName<HookSource>> = LazyLock::new(|| ByName::of(HOOKS));

/// The kind of event with this name, if it is in a mapping table.
fn kind(name: &str) -> Option<&'static str> {
    EVENTS_BY_NAME.name(name).or_else(|| HOOKS_BY_NAME.name(name))
}

/// The function's name without the architecture: `sys_mount` of `__x64_sys_mount`.
fn without_architecture(function: &str) -> &str {
    let prefixes = ["__x64_", "__arm64_", "__ia32_", "__do_", "__se_"];
    prefixes.iter().find_map(|prefix| function.strip_prefix(prefix)).unwrap_or(function)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An entry behind one that always applies is never taken.
    #[test]
    fn no_entry_is_hidden_by_an_earlier_one() {
        for by_name in [&*EVENTS_BY_NAME, &*CALLS_BY_NAME] {
            for name in by_name.names() {
                let (_, before) = by_name.entries(name).split_last().unwrap();
                assert!(before.iter().all(|entry| !entry.describe().when.is_empty()), "{name}");
            }
        }
        assert!(CALL_KINDS.iter().all(|kind| EVENTS_BY_NAME.entries(kind).is_empty()));
    }
}

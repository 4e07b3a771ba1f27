//! Collects the rows of a story: those of the entity, of its descendants, and what concerns them.
//!
//! These are: rows whose actor is (or was born as) the entity; rows of every descendant of those processes, also where a
//! source does not report origins; calls by others on those processes; findings on all of them; losses of their nodes in
//! that time. Each table contributes at most `max_events` rows, the first or the last; a table that has more is named.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use datafusion::functions_aggregate::expr_fn::min;
use datafusion::logical_expr::{Expr, lit};
use datafusion::prelude::{DataFrame, ident};
use kerntrail_query_engine::{QueryError, Snapshot};
use kerntrail_schemas::Table;
use kerntrail_schemas::tables::event_loss::NOT_FORWARDED;

use super::events::{ACTOR, ENVELOPE, Event, FINDING, Finding, LOSS, Loss, event, finding, loss, own_columns};
use super::read::{distinct, rows};
use super::select::{Selection, actor_tables, scan};
use super::window::{Window, micros};

/// Most processes that are followed.
const MAX_FOLLOWED: usize = 10_000;
/// Most generations that are followed.
const MAX_GENERATIONS: usize = 64;
/// Most losses, and most findings.
const MAX_MARKS: usize = 1_000;
const MARKS: Most = Most { rows: MAX_MARKS, end: End::First };

/// What was collected.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    /// In order of time; ties as [`order`] says.
    pub(crate) events: Vec<Event>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) losses: Vec<Loss>,
    /// The namespaces of each node itself.
    pub(crate) hosts: BTreeMap<String, HostNamespaces>,
    /// What is missing because of a bound.
    pub(crate) cuts: Vec<String>,
}

/// The namespaces that a node's first process is in.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HostNamespaces {
    pub(crate) mnt: Option<i64>,
    pub(crate) pid: Option<i64>,
    pub(crate) net: Option<i64>,
    pub(crate) user: Option<i64>,
}

/// Which rows are kept when there are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The earliest: a story starts at its beginning.
    First,
    /// The latest: of everything, what happens now.
    Last,
}

impl End {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Last => "last",
        }
    }
}

/// How many rows of a table are kept, and which.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Most {
    pub(crate) rows: usize,
    pub(crate) end: End,
}

/// Which rows a story is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Content<'a> {
    /// All rows of these tables.
    Events(&'a [Table]),
    /// Process events, and of each process that has none, the first row of another table that names it.
    Processes,
}

/// Collects what `selection` stands for; `None` selects everything in `window`.
pub(crate) async fn collect(
    snapshot: &Snapshot,
    selection: Option<&Selection>,
    window: &Window,
    content: Content<'_>,
    most: Most,
) -> Result<Collected, QueryError> {
    let mut collected = Collected::default();
    let belongs = match selection {
        Some(selection) => Some(belongs(snapshot, selection, window, &mut collected.cuts).await?),
        None => None,
    };
    let tables = match content {
        Content::Events(tables) => tables,
        Content::Processes => &[Table::ProcessEvents],
    };
    for table in tables {
        let (events, more) = events_of(snapshot, *table, belongs.as_ref(), window, most).await?;
        collected.events.extend(events);
        if more {
            let (end, rows) = (most.end.name(), most.rows);
            collected.cuts.push(format!("{table}: only the {end} {rows} rows are shown; narrow the time"));
        }
    }
    // Where process events are cut, a process that is not among them may have some.
    if matches!(content, Content::Processes) && collected.cuts.is_empty() {
        let mut known: BTreeSet<String> = collected.events.iter().map(|event| event.actor.process.clone()).collect();
        for table in without_process_events() {
            let first = first_of_each(snapshot, table, belongs.as_ref(), window, &known, most).await?;
            known.extend(first.iter().map(|event| event.actor.process.clone()));
            collected.events.extend(first);
        }
    }
    order(&mut collected.events);
    collected.findings = findings(snapshot, belongs.as_ref(), window, &mut collected.cuts).await?;
    if let (Some(first), Some(last)) = (collected.events.first(), collected.events.last()) {
        let span = (first.time, last.time);
        let nodes: BTreeSet<&str> = collected.events.iter().map(|event| event.node.as_str()).collect();
        collected.losses = losses(snapshot, &nodes, span, &mut collected.cuts).await?;
        collected.hosts = hosts(snapshot, &nodes).await?;
    }
    Ok(collected)
}

/// The tables with an actor, other than that of process events.
fn without_process_events() -> impl Iterator<Item = Table> {
    actor_tables().filter(|table| *table != Table::ProcessEvents)
}

/// Sorts `events` by time; ties by node, kernel clock, processor and number. Imported events have no kernel clock, and
/// numbers without an order: at one moment, a parent comes before its children, and a process forks, runs programs, acts
/// and ends in this order.
fn order(events: &mut [Event]) {
    events.sort_by(|one, other| one.key().cmp(&other.key()));
    let at_one_moment =
        |one: &Event, other: &Event| one.time == other.time && one.node == other.node && one.boot_ns == other.boot_ns;
    for tied in events.chunk_by_mut(at_one_moment).filter(|tied| tied.len() > 1) {
        let acting: BTreeSet<String> = tied.iter().map(|event| event.actor.process.clone()).collect();
        let depth = |event: &Event| event.actor.ancestors.iter().filter(|process| acting.contains(*process)).count();
        tied.sort_by_key(|event| (depth(event), event.stage_of_life()));
    }
}

/// The condition for a row of any table with an actor.
struct Belongs {
    actor: Expr,
    /// Processes, as a list of literals.
    processes: Vec<Expr>,
}

async fn belongs(
    snapshot: &Snapshot,
    selection: &Selection,
    window: &Window,
    cuts: &mut Vec<String>,
) -> Result<Belongs, QueryError> {
    let mut known: BTreeSet<String> = selection.processes.iter().cloned().collect();
    if let Some(actor) = &selection.actor {
        for table in actor_tables() {
            let frame = scan(snapshot, table, window).await?.filter(actor.clone())?;
            known.extend(distinct(frame, "process_uid", MAX_FOLLOWED + 1).await?);
        }
    }
    follow(snapshot, window, &mut known).await?;
    if known.len() > MAX_FOLLOWED {
        cuts.push(format!("more than {MAX_FOLLOWED} processes: the last of them are not shown; narrow the time"));
        known = known.into_iter().take(MAX_FOLLOWED).collect();
    }
    let processes = literals(known.iter());
    let one_of_them = ident("process_uid").in_list(processes.clone(), false);
    let actor = selection.actor.iter().cloned().fold(one_of_them, Expr::or);
    Ok(Belongs { actor, processes })
}

fn literals<'a>(texts: impl Iterator<Item = &'a String>) -> Vec<Expr> {
    texts.map(|text| lit(text.as_str())).collect()
}

/// Adds the descendants of `known`, a generation at a time. Almost all of them have process events, so the other tables are
/// read once no process event leads on.
async fn follow(snapshot: &Snapshot, window: &Window, known: &mut BTreeSet<String>) -> Result<(), QueryError> {
    let mut parents = known.clone();
    for _ in 0..MAX_GENERATIONS {
        if known.len() > MAX_FOLLOWED {
            break;
        }
        let mut children = children_in(snapshot, Table::ProcessEvents, window, &parents).await?;
        children.retain(|child| !known.contains(child));
        if children.is_empty() {
            for table in without_process_events() {
                children.extend(children_in(snapshot, table, window, known).await?);
            }
        }
        parents = children.into_iter().filter(|child| known.insert(child.clone())).collect();
        if parents.is_empty() {
            break;
        }
    }
    Ok(())
}

/// The processes in `table` that `parents` forked.
async fn children_in(
    snapshot: &Snapshot,
    table: Table,
    window: &Window,
    parents: &BTreeSet<String>,
) -> Result<Vec<String>, QueryError> {
    if parents.is_empty() {
        return Ok(Vec::new());
    }
    let born_of_them = ident("parent_process_uid").in_list(literals(parents.iter()), false);
    distinct(scan(snapshot, table, window).await?.filter(born_of_them)?, "process_uid", MAX_FOLLOWED + 1).await
}

/// The rows of one end of `frame` in order of time, in that order from the end on, and whether there are more.
async fn rows_of_end<T>(
    frame: DataFrame,
    columns: &[&str],
    most: Most,
    make: impl Fn(&super::read::Values, usize) -> T,
) -> Result<(Vec<T>, bool), QueryError> {
    let order = ["time", "node", "boot_ns", "cpu", "seq", "stream"];
    let first = most.end == End::First;
    let order = order.map(|name| ident(name).sort(first, first)).to_vec();
    let mut made = rows(frame.sort(order)?.limit(0, Some(most.rows + 1))?, columns, make).await?;
    let more = made.len() > most.rows;
    made.truncate(most.rows);
    Ok((made, more))
}

async fn events_of(
    snapshot: &Snapshot,
    table: Table,
    belongs: Option<&Belongs>,
    window: &Window,
    most: Most,
) -> Result<(Vec<Event>, bool), QueryError> {
    let own = own_columns(table);
    let mut frame = scan(snapshot, table, window).await?;
    if let Some(belongs) = belongs {
        let mut condition = belongs.actor.clone();
        if own.contains(&"target_process_uid") {
            condition = condition.or(ident("target_process_uid").in_list(belongs.processes.clone(), false));
        }
        frame = frame.filter(condition)?;
    }
    let columns = [ENVELOPE, ACTOR, &own].concat();
    rows_of_end(frame, &columns, most, |values, row| event(table, values, row)).await
}

/// The first row in `table` of each process that is none of `known`.
async fn first_of_each(
    snapshot: &Snapshot,
    table: Table,
    belongs: Option<&Belongs>,
    window: &Window,
    known: &BTreeSet<String>,
    most: Most,
) -> Result<Vec<Event>, QueryError> {
    let mut frame = scan(snapshot, table, window).await?.filter(ident("process_uid").is_not_null())?;
    if let Some(belongs) = belongs {
        frame = frame.filter(belongs.actor.clone())?;
    }
    if !known.is_empty() {
        frame = frame.filter(ident("process_uid").in_list(literals(known.iter()), true))?;
    }
    let columns = [ENVELOPE, ACTOR].concat();
    let order = ["process_uid", "time", "boot_ns", "cpu", "seq"].map(|name| ident(name).sort(true, true)).to_vec();
    let selected = columns.iter().map(|name| ident(*name)).collect();
    let frame = frame.distinct_on(vec![ident("process_uid")], selected, Some(order))?.limit(0, Some(most.rows))?;
    rows(frame, &columns, |values, row| event(table, values, row)).await
}

async fn findings(
    snapshot: &Snapshot,
    belongs: Option<&Belongs>,
    window: &Window,
    cuts: &mut Vec<String>,
) -> Result<Vec<Finding>, QueryError> {
    let mut frame = scan(snapshot, Table::Findings, window).await?;
    if let Some(belongs) = belongs {
        frame = frame.filter(belongs.actor.clone())?;
    }
    let (mut found, more) = rows_of_end(frame, FINDING, MARKS, finding).await?;
    if more {
        cuts.push(format!("findings: only the first {MAX_MARKS} are shown"));
    }
    found.sort();
    Ok(with_updates(found))
}

/// Each finding once, as it began, with the latest count of its updates.
fn with_updates(found: Vec<Finding>) -> Vec<Finding> {
    let mut place_of: HashMap<String, usize> = HashMap::new();
    let mut findings: Vec<Finding> = Vec::new();
    for finding in found {
        match place_of.get(&finding.finding_id) {
            Some(place) => {
                let count = &mut findings[*place].suppressed_count;
                *count = finding.suppressed_count.max(*count);
            }
            None => {
                place_of.insert(finding.finding_id.clone(), findings.len());
                findings.push(finding);
            }
        }
    }
    findings
}

/// Losses on `nodes` that may have happened inside `span`.
async fn losses(
    snapshot: &Snapshot,
    nodes: &BTreeSet<&str>,
    span: (i64, i64),
    cuts: &mut Vec<String>,
) -> Result<Vec<Loss>, QueryError> {
    let (first, last) = (micros(span.0), micros(span.1));
    let overlaps = ident("start_time").lt_eq(last.clone()).and(ident("end_time").gt_eq(first.clone()));
    let undated = ident("start_time").is_null().and(ident("time").between(first, last));
    let here = ident("node").in_list(nodes.iter().map(|node| lit(*node)).collect(), false);
    // What a sink did not get is in the lake all the same.
    let missing = here.and(ident("activity").is_null().or(ident("activity").not_eq(lit(NOT_FORWARDED.name))));
    let frame = snapshot.table(Table::EventLoss.name()).await?.filter(missing.and(overlaps.or(undated)))?;
    let (mut lost, more) = rows_of_end(frame, LOSS, MARKS, loss).await?;
    if more {
        cuts.push(format!("event_loss: only the first {MAX_MARKS} are shown"));
    }
    lost.sort();
    Ok(lost)
}

async fn hosts(snapshot: &Snapshot, nodes: &BTreeSet<&str>) -> Result<BTreeMap<String, HostNamespaces>, QueryError> {
    let here = ident("node").in_list(nodes.iter().map(|node| lit(*node)).collect(), false);
    let init = ident("pid").eq(lit(1)).and(ident("in_host_mnt_ns")).and(ident("in_host_pid_ns"));
    let columns = ["mnt_ns", "pid_ns", "net_ns", "user_ns"];
    let lowest = columns.map(|name| min(ident(name)).alias(name)).to_vec();
    let frame = snapshot.table(Table::ProcessEvents.name()).await?.filter(here.and(init))?;
    let frame = frame.aggregate(vec![ident("node")], lowest)?;
    let all = ["node", "mnt_ns", "pid_ns", "net_ns", "user_ns"];
    let found = rows(frame, &all, |values, row| {
        let number = |name: &str| values.number(name, row);
        let namespaces = HostNamespaces {
            mnt: number("mnt_ns"),
            pid: number("pid_ns"),
            net: number("net_ns"),
            user: number("user_ns"),
        };
        (values.text("node", row).unwrap_or_default(), namespaces)
    });
    Ok(found.await?.into_iter().collect())
}

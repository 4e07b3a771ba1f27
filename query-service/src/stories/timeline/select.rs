//! Resolves the name of an entity in the history.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::functions::core::expr_fn::coalesce;
use datafusion::functions::string::expr_fn::starts_with;
use datafusion::functions_aggregate::expr_fn::min;
use datafusion::logical_expr::{Expr, lit};
use datafusion::prelude::{DataFrame, ident};
use kerntrail_common::suggest::did_you_mean;
use kerntrail_query_engine::output::escape::visible;
use kerntrail_query_engine::{QueryError, Snapshot};
use kerntrail_schemas::Table;
use kerntrail_schemas::identity::parse_event_id;

use super::entity::Entity;
use super::read::{Values, distinct, rows};
use super::window::{Window, rfc3339};

/// Names searched for a suggestion.
const NAMES: usize = 10_000;
/// Most processes of a finding's events; no sequence has as many steps.
const MOST_REFS: usize = 1_000;
/// Candidates named in an error.
const NAMED: usize = 5;

/// The rows of an entity itself; descendants follow from them.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    /// The full name of what the story is about.
    pub(crate) title: String,
    /// What a reader must know about how it was resolved.
    pub(crate) notes: Vec<String>,
    /// Condition on the actor's columns.
    pub(crate) actor: Option<Expr>,
    /// Processes chosen one by one.
    pub(crate) processes: Vec<String>,
}

/// The rows of `table` inside `window`.
pub(crate) async fn scan(snapshot: &Snapshot, table: Table, window: &Window) -> Result<DataFrame, QueryError> {
    let frame = snapshot.table(table.name()).await?;
    Ok(match window.filter() {
        Some(inside) => frame.filter(inside)?,
        None => frame,
    })
}

/// Finds `entity`. Errors: nothing matches, or more than one entity does.
pub(crate) async fn select(snapshot: &Snapshot, entity: &Entity, window: &Window) -> Result<Selection, QueryError> {
    match entity {
        Entity::Pod { namespace, name } => pod(snapshot, namespace.as_deref(), name, window).await,
        Entity::Container(id) => container(snapshot, id, window).await,
        Entity::Process(uid) => Ok(process(uid.clone(), entity.to_string(), Vec::new())),
        Entity::Pid(pid) => last_with(snapshot, *pid, window).await,
        Entity::Finding(id) => finding(snapshot, id, window).await,
    }
}

fn process(uid: String, title: String, notes: Vec<String>) -> Selection {
    Selection { title, notes, actor: None, processes: vec![uid] }
}

fn is(column: &str, value: &str) -> Expr {
    ident(column).eq(lit(value))
}

async fn pod(
    snapshot: &Snapshot,
    namespace: Option<&str>,
    name: &str,
    window: &Window,
) -> Result<Selection, QueryError> {
    let namespace = match namespace {
        Some(namespace) => namespace.to_owned(),
        None => namespace_of(snapshot, name, window).await?,
    };
    let within = is("pod_name", name).and(is("namespace", &namespace));
    let born = is("origin_pod_name", name).and(is("origin_namespace", &namespace));
    let title = format!("pod {namespace}/{name}");
    Ok(Selection { title, notes: Vec::new(), actor: Some(within.or(born)), processes: Vec::new() })
}

/// The one namespace that has a pod of this name.
async fn namespace_of(snapshot: &Snapshot, name: &str, window: &Window) -> Result<String, QueryError> {
    let mut namespaces = values(snapshot, window, &is("pod_name", name), "namespace", NAMED).await?;
    namespaces.extend(values(snapshot, window, &is("origin_pod_name", name), "origin_namespace", NAMED).await?);
    if namespaces.is_empty() {
        let names = values(snapshot, window, &lit(true), "pod_name", NAMES).await?;
        let hint = did_you_mean(name, names.iter().map(String::as_str));
        return Err(QueryError::user(format!("there is no pod `{}` in that time{hint}", visible(name))));
    }
    if namespaces.len() > 1 {
        let pods: Vec<String> = namespaces.iter().take(NAMED).map(|namespace| format!("{namespace}/{name}")).collect();
        let message = format!("there are several pods of that name: {}", pods.join(", "));
        return Err(QueryError::user(visible(&message).into_owned()));
    }
    Ok(namespaces.pop_first().unwrap_or_default())
}

async fn container(snapshot: &Snapshot, prefix: &str, window: &Window) -> Result<Selection, QueryError> {
    let mut found = BTreeSet::new();
    for column in ["container_id", "origin_container_id"] {
        found.extend(values(snapshot, window, &starts_with(ident(column), lit(prefix)), column, NAMED).await?);
    }
    let found: Vec<String> = found.into_iter().take(NAMED).collect();
    match found.as_slice() {
        [id] => Ok(whole_container(id, format!("container {id}"), Vec::new())),
        [] => Err(QueryError::user(format!("there is no container \"{}\" in that time", visible(prefix)))),
        several => Err(QueryError::user(format!("several container ids start with that: {}", several.join(", ")))),
    }
}

/// The tables whose rows have an actor.
pub(crate) fn actor_tables() -> impl Iterator<Item = Table> {
    Table::ALL.iter().copied().filter(|table| table.has_actor())
}

/// The distinct values of `column`, at most `most` of each table, in all rows with an actor that `condition` selects.
async fn values(
    snapshot: &Snapshot,
    window: &Window,
    condition: &Expr,
    column: &str,
    most: usize,
) -> Result<BTreeSet<String>, QueryError> {
    let mut found = BTreeSet::new();
    for table in actor_tables() {
        let frame = scan(snapshot, table, window).await?.filter(condition.clone())?;
        found.extend(distinct(frame, column, most).await?);
    }
    Ok(found)
}

fn whole_container(id: &str, title: String, notes: Vec<String>) -> Selection {
    let actor = is("container_id", id).or(is("origin_container_id", id));
    Selection { title, notes, actor: Some(actor), processes: Vec::new() }
}

/// The last process with the number `pid`; a note names the others.
async fn last_with(snapshot: &Snapshot, pid: i32, window: &Window) -> Result<Selection, QueryError> {
    let mut found: BTreeMap<String, Option<i64>> = BTreeMap::new();
    for table in actor_tables() {
        let frame = scan(snapshot, table, window).await?.filter(ident("pid").eq(lit(pid)))?;
        let started = coalesce(vec![ident("process_start_time"), ident("time")]);
        let frame = frame.filter(ident("process_uid").is_not_null())?;
        let frame = frame.aggregate(vec![ident("process_uid")], vec![min(started).alias("started")])?;
        let read = |values: &Values, row: usize| (values.text("process_uid", row), values.number("started", row));
        for (uid, started) in rows(frame, &["process_uid", "started"], read).await? {
            let known = found.entry(uid.unwrap_or_default()).or_insert(started);
            // Where a table does not say when it started, its first event there is later.
            *known = started.into_iter().chain(*known).min();
        }
    }
    let mut found: Vec<(Option<i64>, String)> = found.into_iter().map(|(uid, started)| (started, uid)).collect();
    found.sort();
    let Some((_, uid)) = found.pop() else {
        return Err(QueryError::user(format!("there is no process {pid} in that time")));
    };
    let mut notes = Vec::new();
    if !found.is_empty() {
        let earlier =
            found.iter().rev().take(NAMED).map(|(started, uid)| {
                format!("{uid} (started {})", started.map_or_else(|| "unknown".to_owned(), rfc3339))
            });
        let earlier: Vec<String> = earlier.collect();
        let others = if found.len() == 1 { "another process".to_owned() } else { format!("{} others", found.len()) };
        notes.push(format!("pid {pid} was used before by {others}: {}", earlier.join(", ")));
    }
    let title = format!("process {pid} ({uid})");
    Ok(process(uid, title, notes))
}

/// The container in which a finding began, and the processes of all events that caused it.
async fn finding(snapshot: &Snapshot, prefix: &str, window: &Window) -> Result<Selection, QueryError> {
    let frame = scan(snapshot, Table::Findings, window).await?;
    let frame = frame.filter(starts_with(ident("finding_id"), lit(prefix)))?;
    let columns = [
        "finding_id",
        "rule_name",
        "origin_container_id",
        "container_id",
        "process_uid",
        "event_refs",
        "suppressed_count",
    ];
    let mut found = rows(frame, &columns, |values, row| {
        let texts = ["finding_id", "rule_name", "origin_container_id", "container_id", "process_uid"];
        // As it began, before its updates.
        let place = values.number("suppressed_count", row).unwrap_or_default();
        (place, texts.map(|name| values.text(name, row)), values.list("event_refs", row))
    })
    .await?;
    found.sort();
    let ids: BTreeSet<_> = found.iter().filter_map(|(_, texts, _)| texts[0].clone()).collect();
    if ids.len() > 1 {
        let some: Vec<String> = ids.into_iter().take(NAMED).collect();
        return Err(QueryError::user(format!("several finding ids start with that: {}", some.join(", "))));
    }
    let Some((_, [Some(id), rule, origin, container, uid], refs)) = found.into_iter().next() else {
        return Err(QueryError::user(format!("there is no finding \"{}\" in that time", visible(prefix))));
    };
    let mut processes: BTreeSet<String> = uid.iter().cloned().collect();
    processes.extend(processes_of(snapshot, &refs).await?);
    let title = format!("finding {id} ({})", rule.as_deref().unwrap_or("unnamed rule"));
    let selection = match origin.or(container) {
        Some(container) => {
            whole_container(&container, title, vec![format!("the container in which it began: {container}")])
        }
        None if processes.is_empty() => {
            return Err(QueryError::user(format!("finding {id} names neither a container nor a process")));
        }
        None => {
            let some: Vec<&str> = processes.iter().take(NAMED).map(String::as_str).collect();
            let notes = vec![format!("the processes of its events: {}", some.join(", "))];
            Selection { title, notes, actor: None, processes: Vec::new() }
        }
    };
    Ok(Selection { processes: processes.into_iter().collect(), ..selection })
}

/// The processes that acted in the events that a finding refers to (`table/event_id`), whenever they happened.
async fn processes_of(snapshot: &Snapshot, refs: &[String]) -> Result<BTreeSet<String>, QueryError> {
    let mut events: BTreeMap<Table, Vec<Expr>> = BTreeMap::new();
    for (table, id) in refs.iter().filter_map(|event| event.split_once('/')) {
        let (Ok(table), Some((stream, cpu, seq))) = (table.parse::<Table>(), parse_event_id(id)) else { continue };
        let this = is("stream", stream.as_str()).and(ident("cpu").eq(lit(cpu))).and(ident("seq").eq(lit(seq)));
        events.entry(table).or_default().push(this);
    }
    let mut processes = BTreeSet::new();
    for (table, these) in events {
        let Some(any) = these.into_iter().reduce(Expr::or) else { continue };
        let frame = snapshot.table(table.name()).await?.filter(any)?;
        processes.extend(distinct(frame, "process_uid", MOST_REFS).await?);
    }
    Ok(processes)
}

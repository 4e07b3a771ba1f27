//! Sequences: which events of a group complete one.
//!
//! When new rows match a step, the whole time windows around them are read again, so a late row completes a sequence as
//! well as a timely one. Sequences reported before are recognized by rule, group and overlap in time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::error::DataFusionError;
use datafusion::prelude::{Expr, SessionContext, col, lit};
use datafusion::scalar::ScalarValue;
use kerntrail_schemas::Table;

use crate::evaluate::{Mark, Match, marks, matches};
use crate::rules::Sequence;

/// Microseconds of a day.
const DAY_US: i64 = 86_400_000_000;

/// Rows by table.
pub(crate) type RowsOf = BTreeMap<Table, Arc<dyn TableProvider>>;

/// Up to this many groups are filtered while the table is read; more are filtered afterwards.
const MOST_PUSHED: usize = 256;

/// The sequences that `added` rows complete, each with its events in order; `all` has every row, also the added.
pub(crate) async fn completed(
    session: &SessionContext,
    sequence: &Sequence,
    added: &RowsOf,
    all: &RowsOf,
) -> Result<Vec<Vec<Match>>, DataFusionError> {
    let touched = touched_groups(session, sequence, added).await?;
    let Some(window) = window(sequence, &touched) else { return Ok(Vec::new()) };
    // Only a group that every step so far has matched can become a sequence: each step reads less than the one before.
    let mut alive: BTreeSet<Vec<String>> = touched.into_keys().collect();
    let mut by_group: BTreeMap<Vec<String>, Vec<(usize, Mark)>> = BTreeMap::new();
    for (step, (predicate, group)) in sequence.steps.iter().zip(&sequence.groups).enumerate() {
        let Some(rows) = all.get(&predicate.table) else { return Ok(Vec::new()) };
        let also = one_of(group, &alive).into_iter().fold(window.clone(), Expr::and);
        let found = marks(session, Arc::clone(rows), predicate, group, Some(also)).await?;
        let found: Vec<Mark> = found.into_iter().filter(|mark| alive.contains(&mark.group)).collect();
        alive = found.iter().map(|mark| mark.group.clone()).collect();
        if alive.is_empty() {
            return Ok(Vec::new());
        }
        for mark in found {
            by_group.entry(mark.group.clone()).or_default().push((step, mark));
        }
    }
    let mut complete = Vec::new();
    for marks in by_group.into_iter().filter(|(group, _)| alive.contains(group)).map(|(_, marks)| marks) {
        for chain in chains(sequence, marks) {
            complete.extend(whole(session, sequence, all, &chain).await?);
        }
    }
    Ok(complete)
}

/// The time around new rows in which a sequence may be; `None` when there are no new rows.
fn window(sequence: &Sequence, touched: &BTreeMap<Vec<String>, (i64, i64)>) -> Option<Expr> {
    let first = touched.values().map(|span| span.0).min()? - sequence.timespan_us;
    let last = touched.values().map(|span| span.1).max()? + sequence.timespan_us;
    let day = |time_us: i64| lit(ScalarValue::Date32(Some(time_us.div_euclid(DAY_US) as i32)));
    let days = col("date").is_null().or(col("date").gt_eq(day(first)).and(col("date").lt_eq(day(last))));
    Some(col("time").gt_eq(lit(micros(first))).and(col("time").lt_eq(lit(micros(last)))).and(days))
}

/// A filter for the groups `alive`, if they are few.
fn one_of(group: &[Expr], alive: &BTreeSet<Vec<String>>) -> Vec<Expr> {
    if alive.len() > MOST_PUSHED {
        return Vec::new();
    }
    let values = |place: usize| -> BTreeSet<&String> { alive.iter().filter_map(|parts| parts.get(place)).collect() };
    let is_one = |(place, part): (usize, &Expr)| {
        part.clone().in_list(values(place).into_iter().map(|value| lit(value.as_str())).collect(), false)
    };
    group.iter().enumerate().map(is_one).collect()
}

/// The rows of a chain; `None` when one of them has been removed meanwhile.
async fn whole(
    session: &SessionContext,
    sequence: &Sequence,
    all: &RowsOf,
    chain: &[(usize, Mark)],
) -> Result<Option<Vec<Match>>, DataFusionError> {
    let mut events = Vec::new();
    for (step, mark) in chain {
        let (predicate, group) = (&sequence.steps[*step], &sequence.groups[*step]);
        let Some(rows) = all.get(&predicate.table) else { return Ok(None) };
        let this = col("time")
            .eq(lit(micros(mark.order.time_us)))
            .and(col("stream").eq(lit(mark.stream.as_str())))
            .and(col("cpu").eq(lit(mark.order.cpu)))
            .and(col("seq").eq(lit(mark.order.seq)));
        events.extend(matches(session, Arc::clone(rows), predicate, group, Some(this)).await?.into_iter().take(1));
    }
    Ok((events.len() == chain.len()).then_some(events))
}

fn micros(time_us: i64) -> ScalarValue {
    ScalarValue::TimestampMicrosecond(Some(time_us), Some("UTC".into()))
}

/// Groups that new rows belong to, with the first and last time of those rows.
async fn touched_groups(
    session: &SessionContext,
    sequence: &Sequence,
    added: &RowsOf,
) -> Result<BTreeMap<Vec<String>, (i64, i64)>, DataFusionError> {
    let mut touched: BTreeMap<Vec<String>, (i64, i64)> = BTreeMap::new();
    for (step, group) in sequence.steps.iter().zip(&sequence.groups) {
        let Some(rows) = added.get(&step.table) else { continue };
        for mark in marks(session, Arc::clone(rows), step, group, None).await? {
            let time = mark.order.time_us;
            let span = touched.entry(mark.group).or_insert((time, time));
            *span = (span.0.min(time), span.1.max(time));
        }
    }
    Ok(touched)
}

/// A chain's events, each with its step.
type Chain = Vec<(usize, Mark)>;

/// Chains of one event per step within the timespan; no event is part of two chains.
fn chains(sequence: &Sequence, mut events: Vec<(usize, Mark)>) -> Vec<Chain> {
    events.sort_by(|a, b| a.1.order.cmp(&b.1.order).then(a.0.cmp(&b.0)));
    let mut complete = Vec::new();
    let mut open = Open::new(sequence);
    for (step, event) in events {
        if let Some(chain) = open.take(step, event) {
            complete.push(chain);
            open = Open::new(sequence);
        }
    }
    complete
}

/// Chains that are not complete yet.
struct Open<'a> {
    sequence: &'a Sequence,
    /// Ordered: for each length, the chain that began last, since it can wait longest.
    prefixes: Vec<Option<Chain>>,
    /// Unordered: the last event of each step.
    latest: Vec<Option<Mark>>,
}

impl<'a> Open<'a> {
    fn new(sequence: &'a Sequence) -> Self {
        let steps = sequence.steps.len();
        Self { sequence, prefixes: vec![None; steps], latest: vec![None; steps] }
    }

    fn take(&mut self, step: usize, event: Mark) -> Option<Chain> {
        if self.sequence.ordered { self.take_in_order(step, event) } else { self.take_any(step, event) }
    }

    fn take_in_order(&mut self, step: usize, event: Mark) -> Option<Chain> {
        let mut chain = match step.checked_sub(1) {
            None => Vec::new(),
            Some(before) => self.prefixes[before].clone()?,
        };
        let earliest = event.order.time_us - self.sequence.timespan_us;
        let in_time = chain.first().is_none_or(|(_, first)| first.order.time_us >= earliest);
        let used = chain.iter().any(|(_, have)| have.order == event.order && have.stream == event.stream);
        if !in_time || used {
            return None;
        }
        chain.push((step, event));
        if chain.len() == self.sequence.steps.len() {
            return Some(chain);
        }
        self.prefixes[step] = Some(chain);
        None
    }

    fn take_any(&mut self, step: usize, event: Mark) -> Option<Chain> {
        let earliest = event.order.time_us - self.sequence.timespan_us;
        self.latest[step] = Some(event);
        let in_time = |held: &&Mark| held.order.time_us >= earliest;
        let steps = self.latest.iter().enumerate();
        let mut chain: Chain =
            steps.map(|(step, held)| Some((step, held.as_ref().filter(in_time).cloned()?))).collect::<Option<_>>()?;
        chain.sort_by_key(|(_, event)| event.order);
        Some(chain)
    }
}

//! Sequences: which events of one group make one.
//!
//! When new rows match a step, the windows around them are read again whole, so a late row completes a sequence as a
//! timely one does. What was reported already is told apart by rule, group and overlap in time.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::error::DataFusionError;
use datafusion::prelude::{SessionContext, col, lit};
use datafusion::scalar::ScalarValue;
use kerntrail_schemas::Table;

use crate::evaluate::{Match, matches};
use crate::rules::Sequence;

/// Rows by table.
pub(crate) type RowsOf = BTreeMap<Table, Arc<dyn TableProvider>>;

/// The sequences that `added` rows complete, each with its events in order; `all` has every row, also the added.
pub(crate) async fn completed(
    session: &SessionContext,
    sequence: &Sequence,
    added: &RowsOf,
    all: &RowsOf,
) -> Result<Vec<Vec<Match>>, DataFusionError> {
    let touched = touched_groups(session, sequence, added).await?;
    if touched.is_empty() {
        return Ok(Vec::new());
    }
    let first = touched.values().map(|span| span.0).min().unwrap_or_default() - sequence.timespan_us;
    let last = touched.values().map(|span| span.1).max().unwrap_or_default() + sequence.timespan_us;
    let mut by_group: BTreeMap<String, Vec<(usize, Match)>> = BTreeMap::new();
    for (step, (predicate, group)) in sequence.steps.iter().zip(&sequence.groups).enumerate() {
        let Some(rows) = all.get(&predicate.table) else { return Ok(Vec::new()) };
        let window = col("time").gt_eq(lit(micros(first))).and(col("time").lt_eq(lit(micros(last))));
        for found in matches(session, Arc::clone(rows), predicate, group, Some(window)).await? {
            if touched.contains_key(&found.group) {
                by_group.entry(found.group.clone()).or_default().push((step, found));
            }
        }
    }
    Ok(by_group.into_values().flat_map(|events| chains(sequence, events)).collect())
}

fn micros(time_us: i64) -> ScalarValue {
    ScalarValue::TimestampMicrosecond(Some(time_us), Some("UTC".into()))
}

/// Groups that new rows belong to, with the first and last time of those rows.
async fn touched_groups(
    session: &SessionContext,
    sequence: &Sequence,
    added: &RowsOf,
) -> Result<BTreeMap<String, (i64, i64)>, DataFusionError> {
    let mut touched: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for (step, group) in sequence.steps.iter().zip(&sequence.groups) {
        let Some(rows) = added.get(&step.table) else { continue };
        for found in matches(session, Arc::clone(rows), step, group, None).await? {
            let time = found.order.time_us;
            let span = touched.entry(found.group).or_insert((time, time));
            *span = (span.0.min(time), span.1.max(time));
        }
    }
    Ok(touched)
}

/// Chains of one event per step within the timespan; no event is part of two chains.
fn chains(sequence: &Sequence, mut events: Vec<(usize, Match)>) -> Vec<Vec<Match>> {
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
    prefixes: Vec<Option<Vec<Match>>>,
    /// Unordered: the last event of each step.
    latest: Vec<Option<Match>>,
}

impl<'a> Open<'a> {
    fn new(sequence: &'a Sequence) -> Self {
        let steps = sequence.steps.len();
        Self { sequence, prefixes: vec![None; steps], latest: vec![None; steps] }
    }

    fn take(&mut self, step: usize, event: Match) -> Option<Vec<Match>> {
        if self.sequence.ordered { self.take_in_order(step, event) } else { self.take_any(step, event) }
    }

    fn take_in_order(&mut self, step: usize, event: Match) -> Option<Vec<Match>> {
        let mut chain = match step.checked_sub(1) {
            None => Vec::new(),
            Some(before) => self.prefixes[before].clone()?,
        };
        let in_time =
            chain.first().is_none_or(|first| event.order.time_us - first.order.time_us <= self.sequence.timespan_us);
        let used = chain.iter().any(|have| have.event_id == event.event_id);
        if !in_time || used {
            return None;
        }
        chain.push(event);
        if chain.len() == self.sequence.steps.len() {
            return Some(chain);
        }
        self.prefixes[step] = Some(chain);
        None
    }

    fn take_any(&mut self, step: usize, event: Match) -> Option<Vec<Match>> {
        let earliest = event.order.time_us - self.sequence.timespan_us;
        self.latest[step] = Some(event);
        let in_time = |held: &&Match| held.order.time_us >= earliest;
        let mut chain: Vec<Match> =
            self.latest.iter().map(|held| held.as_ref().filter(in_time).cloned()).collect::<Option<_>>()?;
        chain.sort_by_key(|event| event.order);
        Some(chain)
    }
}

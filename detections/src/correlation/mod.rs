//! Correlations: which events of a group belong together.
//!
//! When new rows match a step, the whole time windows around them are read again, so a late row counts as
//! well as a timely one. What was found before is recognized by rule, group and overlap in time.

mod compile;
mod sequence;
mod threshold;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::error::DataFusionError;
use datafusion::prelude::{Expr, SessionContext, col, lit};
use datafusion::scalar::ScalarValue;
use kerntrail_schemas::Table;

pub(crate) use self::compile::compile;
use self::sequence::{Chain, chains};
use self::threshold::{Measured, reached};
use crate::evaluate::{Events, Mark, Match, Order, marks, matches};
use crate::rules::{Condition, Correlation, Measure, Threshold};

/// Microseconds of a day.
const DAY_US: i64 = 86_400_000_000;

/// Rows by table.
pub(crate) type RowsOf = BTreeMap<Table, Arc<dyn TableProvider>>;

/// Up to this many groups are filtered while the table is read; more are filtered afterwards.
const MOST_PUSHED: usize = 256;

/// A group, by the parts of its key.
type Group = Vec<String>;

/// Whether an event of a group is part of what was found before.
pub(crate) type IsFound<'a> = &'a (dyn Fn(&str, Order) -> bool + Sync);

/// What `added` rows complete; `all` has every row, also the added.
pub(crate) async fn completed(
    session: &SessionContext,
    correlation: &Correlation,
    added: &RowsOf,
    all: &RowsOf,
    is_found: IsFound<'_>,
) -> Result<Vec<Events>, DataFusionError> {
    let touched = touched_groups(session, correlation, added).await?;
    let Some(window) = window(correlation, &touched) else { return Ok(Vec::new()) };
    let groups: BTreeSet<Group> = touched.into_keys().collect();
    let reading = Reading { session, correlation, all, window };
    match &correlation.condition {
        Condition::Sequence { ordered } => reading.sequences(groups, *ordered).await,
        Condition::Threshold(threshold) => reading.thresholds(&groups, threshold, is_found).await,
    }
}

/// The key of a group, as findings have it.
pub(crate) fn key(group: &[String]) -> String {
    group.join("|")
}

struct Reading<'a> {
    session: &'a SessionContext,
    correlation: &'a Correlation,
    all: &'a RowsOf,
    /// The time to read.
    window: Expr,
}

impl Reading<'_> {
    async fn sequences(&self, mut alive: BTreeSet<Group>, ordered: bool) -> Result<Vec<Events>, DataFusionError> {
        // Only a group that every step so far has matched can become a sequence: each step reads less than the one before.
        let mut by_group: BTreeMap<Group, Vec<(usize, Mark)>> = BTreeMap::new();
        for step in 0..self.correlation.steps.len() {
            let found = self.events(step, &[], &alive).await?;
            alive = found.iter().map(|event| event.mark.group.clone()).collect();
            if alive.is_empty() {
                return Ok(Vec::new());
            }
            for Measured { mark, .. } in found {
                by_group.entry(mark.group.clone()).or_default().push((step, mark));
            }
        }
        let alive = by_group.into_iter().filter(|(group, _)| alive.contains(group));
        let found: Vec<Chain> = alive
            .flat_map(|(_, marks)| chains(self.correlation.steps.len(), self.correlation.timespan_us, ordered, marks))
            .collect();
        let rows = self.rows(found.iter().flatten().cloned()).await?;
        Ok(found.iter().filter_map(|chain| whole(&rows, chain)).map(Events::each).collect())
    }

    async fn thresholds(
        &self,
        groups: &BTreeSet<Group>,
        threshold: &Threshold,
        is_found: IsFound<'_>,
    ) -> Result<Vec<Events>, DataFusionError> {
        let mut by_group: BTreeMap<Group, Vec<Measured>> = BTreeMap::new();
        for step in 0..self.correlation.steps.len() {
            for event in self.events(step, &threshold.values[step], groups).await? {
                if !is_found(&key(&event.mark.group), event.mark.order) {
                    by_group.entry(event.mark.group.clone()).or_default().push(event);
                }
            }
        }
        let found: Vec<Vec<Measured>> = by_group
            .into_values()
            .flat_map(|events| reached(threshold, self.correlation.timespan_us, self.once(events)))
            .collect();
        let ends = |events: &[Measured]| -> Vec<(usize, Mark)> {
            let ends = events.first().into_iter().chain(events.last().filter(|_| events.len() > 1));
            ends.map(|event| (event.step, event.mark.clone())).collect()
        };
        let rows = self.rows(found.iter().flat_map(|events| ends(events))).await?;
        Ok(found.iter().filter_map(|events| self.summary(threshold, events, whole(&rows, &ends(events))?)).collect())
    }

    /// `events` in order, each once where several steps match it.
    fn once(&self, mut events: Vec<Measured>) -> Vec<Measured> {
        let table = |event: &Measured| self.correlation.steps[event.step].table;
        let identity = |event: &Measured| (event.mark.order, event.mark.stream.clone(), table(event));
        events.sort_by_cached_key(|event| (identity(event), event.step));
        events.dedup_by(|one, other| identity(one) == identity(other));
        events
    }

    /// The events of the step with this number that are of one of `groups`, with the `values` that are to be measured.
    async fn events(
        &self,
        step: usize,
        values: &[Expr],
        groups: &BTreeSet<Group>,
    ) -> Result<Vec<Measured>, DataFusionError> {
        let (predicate, group) = (&self.correlation.steps[step], &self.correlation.groups[step]);
        let Some(rows) = self.all.get(&predicate.table) else { return Ok(Vec::new()) };
        let also = one_of(group, groups).into_iter().fold(self.window.clone(), Expr::and);
        let parts: Vec<Expr> = group.iter().chain(values).cloned().collect();
        let found = marks(self.session, Arc::clone(rows), predicate, &parts, Some(also)).await?;
        let measured = found.into_iter().map(|mut mark| {
            let values = mark.group.split_off(group.len());
            Measured { step, mark, values }
        });
        Ok(measured.filter(|event| groups.contains(&event.mark.group)).collect())
    }

    /// What a finding says of many events, of which `ends` are the first and the last.
    fn summary(&self, threshold: &Threshold, events: &[Measured], ends: Vec<Match>) -> Option<Events> {
        let (first, last) = (events.first()?, events.last()?);
        let ids = events
            .iter()
            .map(|event| format!("{}/{}", self.correlation.steps[event.step].table, event.mark.event_id()));
        let within_us = last.mark.order.time_us - first.mark.order.time_us;
        Some(Events::summary(ends, ids.collect(), describe(threshold, events, within_us)))
    }

    /// The rows of `events`, as far as they are still there.
    async fn rows(&self, events: impl Iterator<Item = (usize, Mark)>) -> Result<Rows, DataFusionError> {
        let mut by_step: BTreeMap<usize, Vec<Mark>> = BTreeMap::new();
        events.for_each(|(step, mark)| by_step.entry(step).or_default().push(mark));
        let mut rows = Rows::new();
        for (step, marks) in by_step {
            let (predicate, group) = (&self.correlation.steps[step], &self.correlation.groups[step]);
            let Some(all) = self.all.get(&predicate.table) else { continue };
            for marks in marks.chunks(MOST_PUSHED) {
                let times: BTreeSet<i64> = marks.iter().map(|mark| mark.order.time_us).collect();
                let numbers: BTreeSet<i64> = marks.iter().map(|mark| mark.order.seq).collect();
                let these = col("time")
                    .in_list(times.into_iter().map(|time_us| lit(micros(time_us))).collect(), false)
                    .and(col("seq").in_list(numbers.into_iter().map(lit).collect(), false));
                let found = matches(self.session, Arc::clone(all), predicate, group, Some(these)).await?;
                rows.extend(found.into_iter().map(|row| ((step, row.event_id.clone()), row)));
            }
        }
        Ok(rows)
    }
}

/// Rows by step and id of their event.
type Rows = HashMap<(usize, String), Match>;

/// The rows of `events`; `None` when one of them has been removed meanwhile.
fn whole(rows: &Rows, events: &[(usize, Mark)]) -> Option<Vec<Match>> {
    events.iter().map(|(step, mark)| rows.get(&(*step, mark.event_id())).cloned()).collect()
}

/// "12 events within 40s".
fn describe(threshold: &Threshold, events: &[Measured], within_us: i64) -> String {
    let count = kerntrail_common::words::counted(events.len(), "event");
    let of = &threshold.field;
    let what = match threshold.measure {
        Measure::Events => count,
        Measure::Values => {
            let different: BTreeSet<_> = events.iter().map(|event| &event.values).collect();
            format!("{} of {of} in {count}", kerntrail_common::words::counted(different.len(), "different value"))
        }
        Measure::Sum => format!("the sum of {of} in {count}"),
        Measure::Average => format!("the mean of {of} in {count}"),
        Measure::Percentile(percent) => format!("percentile {percent} of {of} in {count}"),
    };
    let within = std::time::Duration::from_micros(within_us.unsigned_abs());
    format!("{what} within {within:.1?}")
}

/// The time around new rows in which what they complete may be; `None` when there are no new rows.
fn window(correlation: &Correlation, touched: &BTreeMap<Group, (i64, i64)>) -> Option<Expr> {
    let first = touched.values().map(|span| span.0).min()?.saturating_sub(correlation.timespan_us);
    let last = touched.values().map(|span| span.1).max()?.saturating_add(correlation.timespan_us);
    let day = |time_us: i64| lit(ScalarValue::Date32(Some(time_us.div_euclid(DAY_US) as i32)));
    let days = col("date").is_null().or(col("date").gt_eq(day(first)).and(col("date").lt_eq(day(last))));
    Some(col("time").gt_eq(lit(micros(first))).and(col("time").lt_eq(lit(micros(last)))).and(days))
}

/// A filter for `groups`, if they are few.
fn one_of(group: &[Expr], groups: &BTreeSet<Group>) -> Vec<Expr> {
    if groups.len() > MOST_PUSHED {
        return Vec::new();
    }
    let values = |place: usize| -> BTreeSet<&String> { groups.iter().filter_map(|parts| parts.get(place)).collect() };
    let is_one = |(place, part): (usize, &Expr)| {
        part.clone().in_list(values(place).into_iter().map(|value| lit(value.as_str())).collect(), false)
    };
    group.iter().enumerate().map(is_one).collect()
}

fn micros(time_us: i64) -> ScalarValue {
    ScalarValue::TimestampMicrosecond(Some(time_us), Some("UTC".into()))
}

/// Groups that new rows belong to, with the first and last time of those rows.
async fn touched_groups(
    session: &SessionContext,
    correlation: &Correlation,
    added: &RowsOf,
) -> Result<BTreeMap<Group, (i64, i64)>, DataFusionError> {
    let mut touched: BTreeMap<Group, (i64, i64)> = BTreeMap::new();
    for (step, group) in correlation.steps.iter().zip(&correlation.groups) {
        let Some(rows) = added.get(&step.table) else { continue };
        for mark in marks(session, Arc::clone(rows), step, group, None).await? {
            let time = mark.order.time_us;
            let span = touched.entry(mark.group).or_insert((time, time));
            *span = (span.0.min(time), span.1.max(time));
        }
    }
    Ok(touched)
}

//! Thresholds: when a measure of a group's events reaches its bounds.

use std::collections::{HashMap, VecDeque};

use rsigma_parser::ConditionOperator;

use crate::evaluate::Mark;
use crate::rules::{Measure, Threshold};

/// An event, with its values.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    pub(super) step: usize,
    pub(super) mark: Mark,
    pub(super) values: Vec<String>,
}

/// Those of `events`, which are of one group and in order, that reach the bounds within `timespan_us`; no event is in two of
/// them.
pub(super) fn reached(threshold: &Threshold, timespan_us: i64, events: Vec<Measured>) -> Vec<Vec<Measured>> {
    let mut reached = Vec::new();
    let mut window = Window::new(threshold);
    for event in events {
        window.forget_until(event.mark.order.time_us - timespan_us);
        window.add(event);
        if window.is_within_bounds() {
            reached.push(Vec::from(std::mem::replace(&mut window, Window::new(threshold)).events));
        }
    }
    reached
}

/// The events of the time before the last one.
struct Window<'a> {
    threshold: &'a Threshold,
    events: VecDeque<Measured>,
    /// How often each value is among them.
    counts: HashMap<Vec<String>, usize>,
    /// Their values as numbers, in order of size; of [`Measure::Percentile`] only.
    numbers: Vec<f64>,
    sum: f64,
}

impl<'a> Window<'a> {
    fn new(threshold: &'a Threshold) -> Self {
        Self { threshold, events: VecDeque::new(), counts: HashMap::new(), numbers: Vec::new(), sum: 0.0 }
    }

    fn add(&mut self, event: Measured) {
        match self.threshold.measure {
            Measure::Events => {}
            Measure::Values => *self.counts.entry(event.values.clone()).or_default() += 1,
            // What is no number is not measured.
            Measure::Sum | Measure::Average | Measure::Percentile(_) => match number(&event) {
                Some(number) if matches!(self.threshold.measure, Measure::Percentile(_)) => {
                    self.numbers.insert(self.place(number), number);
                }
                Some(number) => self.sum += number,
                None => return,
            },
        }
        self.events.push_back(event);
    }

    /// Removes the events up to this time.
    fn forget_until(&mut self, time_us: i64) {
        while let Some(event) = self.events.pop_front_if(|event| event.mark.order.time_us < time_us) {
            match (self.threshold.measure, number(&event)) {
                (Measure::Percentile(_), Some(number)) => drop(self.numbers.remove(self.place(number))),
                (Measure::Sum | Measure::Average, Some(number)) => self.sum -= number,
                _ => {}
            }
            if let Some(count) = self.counts.get_mut(&event.values) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&event.values);
                }
            }
        }
    }

    fn place(&self, number: f64) -> usize {
        self.numbers.partition_point(|other| *other < number)
    }

    fn is_within_bounds(&self) -> bool {
        let Some(measure) = self.measure() else { return false };
        self.threshold.bounds.iter().all(|(operator, bound)| {
            let bound = *bound as f64;
            match operator {
                ConditionOperator::Lt => measure < bound,
                ConditionOperator::Lte => measure <= bound,
                ConditionOperator::Gt => measure > bound,
                ConditionOperator::Gte => measure >= bound,
                ConditionOperator::Eq => measure == bound,
                ConditionOperator::Neq => measure != bound,
            }
        })
    }

    /// `None` where there is nothing to measure.
    fn measure(&self) -> Option<f64> {
        let count = self.events.len();
        match self.threshold.measure {
            Measure::Events => Some(count as f64),
            Measure::Values => Some(self.counts.len() as f64),
            _ if count == 0 => None,
            Measure::Sum => Some(self.sum),
            Measure::Average => Some(self.sum / count as f64),
            // The nearest rank.
            Measure::Percentile(percent) => {
                let rank = (percent as f64 / 100.0 * count as f64).ceil() as usize;
                self.numbers.get(rank.saturating_sub(1)).copied()
            }
        }
    }
}

fn number(event: &Measured) -> Option<f64> {
    event.values.first()?.parse().ok().filter(|number: &f64| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Events at these seconds with these values.
    fn events(of: &[(i64, &str)]) -> Vec<Measured> {
        let event = |(seq, (second, value)): (usize, &(i64, &str))| Measured {
            step: 0,
            mark: Mark::at(second * 1_000_000, seq as i64),
            values: vec![(*value).to_owned()],
        };
        of.iter().enumerate().map(event).collect()
    }

    #[test]
    fn each_measure_reaches_its_bounds_once_for_the_same_events() {
        use ConditionOperator::{Eq, Gt, Gte, Lt};
        type Case<'a> = (Measure, &'a [(ConditionOperator, u64)], &'a [(i64, &'a str)], &'a [usize]);
        let cases: &[Case<'_>] = &[
            (Measure::Events, &[(Gte, 3)], &[(0, ""), (5, ""), (10, "")], &[3]),
            (Measure::Events, &[(Gte, 3)], &[(0, ""), (5, ""), (11, "")], &[]),
            (Measure::Events, &[(Gte, 2)], &[(0, ""), (0, ""), (1, ""), (1, ""), (2, "")], &[2, 2]),
            (Measure::Events, &[(Gt, 2), (Lt, 4)], &[(0, ""), (1, ""), (2, ""), (3, "")], &[3]),
            (Measure::Values, &[(Gte, 2)], &[(0, "a"), (1, "a"), (2, "b")], &[3]),
            (Measure::Values, &[(Gte, 2)], &[(0, "a"), (11, "b")], &[]),
            (Measure::Values, &[(Eq, 2)], &[(0, "a"), (1, "b"), (2, "c")], &[2]),
            (Measure::Sum, &[(Gte, 10)], &[(0, "4"), (1, "x"), (2, "6")], &[2]),
            (Measure::Sum, &[(Gte, 10)], &[(0, "4"), (20, "6")], &[]),
            (Measure::Average, &[(Lt, 5)], &[(0, "9"), (1, "1"), (2, "2")], &[3]),
            (Measure::Percentile(50), &[(Gte, 5)], &[(0, "1"), (1, "2"), (2, "9"), (3, "8"), (4, "7")], &[5]),
            (Measure::Percentile(100), &[(Gte, 9)], &[(0, "1"), (1, "9")], &[2]),
        ];
        for (measure, bounds, of, expected) in cases {
            let threshold =
                Threshold { measure: *measure, values: Vec::new(), field: String::new(), bounds: bounds.to_vec() };
            let found: Vec<usize> = reached(&threshold, 10_000_000, events(of)).iter().map(Vec::len).collect();
            assert_eq!(found, *expected, "{measure:?} {bounds:?} {of:?}");
        }
    }
}

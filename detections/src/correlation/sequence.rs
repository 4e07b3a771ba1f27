//! Sequences: chains of one event of each step.

use crate::evaluate::Mark;

/// A chain's events, each with its step.
pub(super) type Chain = Vec<(usize, Mark)>;

/// Chains of one event per step within the timespan; no event is part of two chains.
pub(super) fn chains(steps: usize, timespan_us: i64, ordered: bool, mut events: Vec<(usize, Mark)>) -> Vec<Chain> {
    events.sort_by(|a, b| a.1.order.cmp(&b.1.order).then(a.0.cmp(&b.0)));
    let mut complete = Vec::new();
    let mut open = Open::new(steps, timespan_us);
    for (step, event) in events {
        let chain = if ordered { open.take_in_order(step, event) } else { open.take_any(step, event) };
        if let Some(chain) = chain {
            complete.push(chain);
            open = Open::new(steps, timespan_us);
        }
    }
    complete
}

/// Chains that are not complete yet.
struct Open {
    timespan_us: i64,
    /// Ordered: for each length, the chain that began last, since it can wait longest.
    prefixes: Vec<Option<Chain>>,
    /// Unordered: the last event of each step.
    latest: Vec<Option<Mark>>,
}

impl Open {
    fn new(steps: usize, timespan_us: i64) -> Self {
        Self { timespan_us, prefixes: vec![None; steps], latest: vec![None; steps] }
    }

    fn take_in_order(&mut self, step: usize, event: Mark) -> Option<Chain> {
        let mut chain = match step.checked_sub(1) {
            None => Vec::new(),
            Some(before) => self.prefixes[before].clone()?,
        };
        let earliest = event.order.time_us - self.timespan_us;
        let in_time = chain.first().is_none_or(|(_, first)| first.order.time_us >= earliest);
        let used = chain.iter().any(|(_, have)| have.order == event.order && have.stream == event.stream);
        if !in_time || used {
            return None;
        }
        chain.push((step, event));
        if chain.len() == self.prefixes.len() {
            return Some(chain);
        }
        self.prefixes[step] = Some(chain);
        None
    }

    fn take_any(&mut self, step: usize, event: Mark) -> Option<Chain> {
        let earliest = event.order.time_us - self.timespan_us;
        self.latest[step] = Some(event);
        let in_time = |held: &&Mark| held.order.time_us >= earliest;
        let steps = self.latest.iter().enumerate();
        let mut chain: Chain =
            steps.map(|(step, held)| Some((step, held.as_ref().filter(in_time).cloned()?))).collect::<Option<_>>()?;
        chain.sort_by_key(|(_, event)| event.order);
        Some(chain)
    }
}

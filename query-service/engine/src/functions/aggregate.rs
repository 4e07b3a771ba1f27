//! Bounds for aggregates that keep their input, or make a large value for every row.
//!
//! `string_agg`, `array_agg`, `median` and `percentile_cont` keep what they read, and hold it several times while they
//! grow, are merged and end; DataFusion 55 reserves it once, afterwards. Over a window, `string_agg(name, ',') over (order by
//! time)` makes half the square of what it reads.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{Array, ArrayRef, BooleanArray};
use datafusion::common::{Result, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::function::{AccumulatorArgs, AggregateFunctionSimplification};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF};

use super::inner::says_what_inner_says;
use crate::error::{ErrorKind, QueryError};

/// Aggregates that keep their input, or hundreds of numbers of each group; and how often they hold it at most: as they keep
/// it, copied while it grows or is merged, and as a value. A digest's numbers become values of 64 bytes each.
pub(super) const KEEPING: [(&str, usize); 7] = [
    ("approx_median", 10),
    ("approx_percentile_cont", 10),
    ("approx_percentile_cont_with_weight", 10),
    ("array_agg", 3),
    ("median", 3),
    ("percentile_cont", 3),
    ("string_agg", 3),
];

/// An aggregate that reserves for its copies, and whose results over a window are bounded.
#[derive(Debug)]
pub(super) struct BoundedAggregate {
    inner: Arc<AggregateUDF>,
    /// As in [`KEEPING`].
    copies: usize,
    /// `None`: not over a window.
    made: Option<Made>,
}

/// What has been made in one query.
#[derive(Clone, Debug)]
struct Made {
    bytes: Arc<AtomicUsize>,
    most: usize,
    /// Whether one result is that of all rows of its frame.
    is_same_for_all: bool,
}

impl Made {
    /// Counts `value`, a result of `rows` rows of the function `name`.
    fn count(&self, name: &str, value: &ScalarValue, rows: usize) -> Result<()> {
        let copies = if self.is_same_for_all { rows.max(1) } else { 1 };
        let size = value.size().saturating_mul(copies);
        let made = self.bytes.fetch_add(size, Ordering::Relaxed).saturating_add(size);
        if made <= self.most {
            return Ok(());
        }
        let text = format!("{name}() over a window would make {made} bytes; at most {} are allowed", self.most);
        Err(DataFusionError::from(QueryError::new(ErrorKind::Limit, text)))
    }
}

impl BoundedAggregate {
    /// One that keeps its input.
    pub(super) fn keeping(inner: Arc<AggregateUDF>, copies: usize) -> Self {
        Self { inner, copies, made: None }
    }

    /// One over a window, whose results are at most `most` bytes together. `is_same_for_all`: a frame is the whole partition,
    /// so that one result is that of each of its rows.
    pub(super) fn over_window(inner: Arc<AggregateUDF>, most: usize, is_same_for_all: bool) -> Self {
        Self { inner, copies: 1, made: Some(Made { bytes: Arc::default(), most, is_same_for_all }) }
    }

    fn most(&self) -> Option<usize> {
        self.made.as_ref().map(|made| made.most)
    }

    /// `inner` with the same bound.
    fn again(&self, inner: AggregateUDF) -> Self {
        Self { inner: Arc::new(inner), copies: self.copies, made: self.made.clone() }
    }

    fn counted(&self, inner: Box<dyn Accumulator>) -> Box<dyn Accumulator> {
        Box::new(Counted { inner, copies: self.copies, made: self.made.clone(), rows: 0, name: self.name().to_owned() })
    }
}

impl PartialEq for BoundedAggregate {
    fn eq(&self, other: &Self) -> bool {
        self.inner == other.inner && self.most() == other.most()
    }
}

impl Eq for BoundedAggregate {}

impl Hash for BoundedAggregate {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
        self.most().hash(state);
    }
}

impl AggregateUDFImpl for BoundedAggregate {
    says_what_inner_says!();

    fn supports_null_handling_clause(&self) -> bool {
        self.inner.supports_null_handling_clause()
    }

    fn supports_within_group_clause(&self) -> bool {
        self.inner.supports_within_group_clause()
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.inner.order_sensitivity()
    }

    fn with_beneficial_ordering(self: Arc<Self>, is_ordered: bool) -> Result<Option<Arc<dyn AggregateUDFImpl>>> {
        let ordered = AggregateUDF::clone(&self.inner).with_beneficial_ordering(is_ordered)?;
        Ok(ordered.map(|inner| Arc::new(self.again(inner)) as Arc<dyn AggregateUDFImpl>))
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        match self.inner.reverse_udf() {
            ReversedUDAF::Reversed(inner) => {
                let reversed = self.again(AggregateUDF::clone(&inner));
                ReversedUDAF::Reversed(Arc::new(AggregateUDF::new_from_impl(reversed)))
            }
            other => other,
        }
    }

    fn simplify(&self) -> Option<AggregateFunctionSimplification> {
        self.inner.simplify()
    }

    fn accumulator(&self, arguments: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(self.counted(self.inner.accumulator(arguments)?))
    }

    fn create_sliding_accumulator(&self, arguments: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(self.counted(self.inner.create_sliding_accumulator(arguments)?))
    }

    fn groups_accumulator_supported(&self, arguments: AccumulatorArgs) -> bool {
        self.inner.groups_accumulator_supported(arguments)
    }

    fn create_groups_accumulator(&self, arguments: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Groups { inner: self.inner.create_groups_accumulator(arguments)?, copies: self.copies }))
    }
}

/// An accumulator that reserves for its copies, and whose results over a window count.
#[derive(Debug)]
struct Counted {
    inner: Box<dyn Accumulator>,
    copies: usize,
    made: Option<Made>,
    /// That it is of.
    rows: usize,
    name: String,
}

impl Accumulator for Counted {
    fn evaluate(&mut self) -> Result<ScalarValue> {
        let value = self.inner.evaluate()?;
        self.made.iter().try_for_each(|made| made.count(&self.name, &value, self.rows))?;
        Ok(value)
    }

    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.rows += values.first().map_or(0, |values| values.len());
        self.inner.update_batch(values)
    }

    fn size(&self) -> usize {
        self.inner.size().saturating_mul(self.copies)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.rows = self.rows.saturating_sub(values.first().map_or(0, |values| values.len()));
        self.inner.retract_batch(values)
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }
}

/// The accumulators of many groups, which reserve for their copies.
struct Groups {
    inner: Box<dyn GroupsAccumulator>,
    copies: usize,
}

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        count: usize,
    ) -> Result<()> {
        self.inner.update_batch(values, groups, filter, count)
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        self.inner.evaluate(emit)
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        self.inner.state(emit)
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], count: usize) -> Result<()> {
        self.inner.merge_batch(values, groups, count)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        self.inner.convert_to_state(values, filter)
    }

    fn size(&self) -> usize {
        self.inner.size().saturating_mul(self.copies)
    }
}

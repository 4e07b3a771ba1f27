//! A bound for aggregates over windows, which make a value for every row: `string_agg(name, ',') over (order by time)` makes
//! half the square of what it reads.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature};

use crate::error::{ErrorKind, QueryError};

/// An aggregate whose results over a window are at most `most` bytes together.
#[derive(Debug)]
pub(super) struct BoundedOverWindow {
    inner: Arc<AggregateUDF>,
    made: Made,
}

/// What has been made in one query.
#[derive(Clone, Debug)]
struct Made {
    bytes: Arc<AtomicUsize>,
    most: usize,
    /// Whether one result is that of all rows of its frame.
    is_same_for_all: bool,
}

impl BoundedOverWindow {
    /// `is_same_for_all`: a frame is the whole partition, so that one result is that of each of its rows.
    pub(super) fn new(inner: Arc<AggregateUDF>, most: usize, is_same_for_all: bool) -> Self {
        Self { inner, made: Made { bytes: Arc::default(), most, is_same_for_all } }
    }

    fn counted(&self, inner: Box<dyn Accumulator>) -> Box<dyn Accumulator> {
        Box::new(Counted { inner, made: self.made.clone(), rows: 0, name: self.name().to_owned() })
    }
}

impl PartialEq for BoundedOverWindow {
    fn eq(&self, other: &Self) -> bool {
        self.inner == other.inner && self.made.most == other.made.most
    }
}

impl Eq for BoundedOverWindow {}

impl Hash for BoundedOverWindow {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
        self.made.most.hash(state);
    }
}

impl AggregateUDFImpl for BoundedOverWindow {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arguments)
    }

    fn return_field(&self, arguments: &[FieldRef]) -> Result<FieldRef> {
        self.inner.return_field(arguments)
    }

    fn is_nullable(&self) -> bool {
        self.inner.is_nullable()
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(arguments)
    }

    fn state_fields(&self, arguments: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        self.inner.state_fields(arguments)
    }

    fn default_value(&self, data_type: &DataType) -> Result<ScalarValue> {
        self.inner.default_value(data_type)
    }

    fn supports_null_handling_clause(&self) -> bool {
        self.inner.supports_null_handling_clause()
    }

    fn accumulator(&self, arguments: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(self.counted(self.inner.accumulator(arguments)?))
    }

    fn create_sliding_accumulator(&self, arguments: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(self.counted(self.inner.create_sliding_accumulator(arguments)?))
    }
}

/// An accumulator whose results count.
#[derive(Debug)]
struct Counted {
    inner: Box<dyn Accumulator>,
    made: Made,
    /// That it is of.
    rows: usize,
    name: String,
}

impl Accumulator for Counted {
    fn evaluate(&mut self) -> Result<ScalarValue> {
        let value = self.inner.evaluate()?;
        let copies = if self.made.is_same_for_all { self.rows.max(1) } else { 1 };
        let size = value.size().saturating_mul(copies);
        let made = self.made.bytes.fetch_add(size, Ordering::Relaxed).saturating_add(size);
        if made > self.made.most {
            let text = format!(
                "{}() over a window would make {made} bytes; at most {} are allowed",
                self.name, self.made.most
            );
            return Err(DataFusionError::from(QueryError::new(ErrorKind::Limit, text)));
        }
        Ok(value)
    }

    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.rows += values.first().map_or(0, |values| values.len());
        self.inner.update_batch(values)
    }

    fn size(&self) -> usize {
        self.inner.size()
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

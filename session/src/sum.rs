//! `sum()` of integers that ends with an error where DataFusion 55 continues with a wrong number
//! (apache/datafusion#17539, #21318): it adds with 128 bits, and the sum has to fit into 64 at the end.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, BooleanArray, Decimal128Array};
use datafusion::arrow::datatypes::{
    ArrowPrimitiveType, DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, Field, FieldRef, Int64Type, UInt64Type,
};
use datafusion::arrow::error::ArrowError;
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator, ReversedUDAF,
    SetMonotonicity, Signature, StatisticsArgs,
};

/// The type in which integers are added.
const WIDE: DataType = DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0);

/// DataFusion's `sum()`, with wide sums of integers.
pub(crate) fn exact_sum() -> AggregateUDF {
    AggregateUDF::new_from_impl(ExactSum(sum_udaf()))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ExactSum(Arc<AggregateUDF>);

fn is_integer(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Int64 | DataType::UInt64)
}

fn wide_field(field: &Field) -> FieldRef {
    Arc::new(field.clone().with_data_type(WIDE))
}

/// The arguments of an accumulator of wide integers.
fn wide_arguments(arguments: AccumulatorArgs<'_>) -> AccumulatorArgs<'_> {
    AccumulatorArgs { return_field: wide_field(&arguments.return_field), ..arguments }
}

impl AggregateUDFImpl for ExactSum {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.0.return_type(arguments)
    }

    fn accumulator(&self, arguments: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let narrow = arguments.return_field.data_type().clone();
        if !is_integer(&narrow) {
            return self.0.accumulator(arguments);
        }
        Ok(Box::new(WideSum { inner: self.0.accumulator(wide_arguments(arguments))?, narrow }))
    }

    fn create_sliding_accumulator(&self, arguments: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let narrow = arguments.return_field.data_type().clone();
        // DataFusion has a sliding sum of distinct values only for Int64; the query engine refuses it.
        if !is_integer(&narrow) || arguments.is_distinct {
            return self.0.create_sliding_accumulator(arguments);
        }
        Ok(Box::new(WideSum { inner: self.0.create_sliding_accumulator(wide_arguments(arguments))?, narrow }))
    }

    fn state_fields(&self, arguments: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        if !is_integer(arguments.return_type()) {
            return self.0.state_fields(arguments);
        }
        self.0.state_fields(StateFieldsArgs { return_field: wide_field(&arguments.return_field), ..arguments })
    }

    fn groups_accumulator_supported(&self, arguments: AccumulatorArgs) -> bool {
        self.0.groups_accumulator_supported(arguments)
    }

    fn create_groups_accumulator(&self, arguments: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        let narrow = arguments.return_field.data_type().clone();
        if !is_integer(&narrow) {
            return self.0.create_groups_accumulator(arguments);
        }
        Ok(Box::new(WideSums { inner: self.0.create_groups_accumulator(wide_arguments(arguments))?, narrow }))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.0.order_sensitivity()
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn value_from_stats(&self, arguments: &StatisticsArgs) -> Option<ScalarValue> {
        self.0.inner().value_from_stats(arguments)
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.0.inner().set_monotonicity(data_type)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.0.documentation()
    }
}

/// Integers, as wide ones.
fn widen(values: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
    let wide = values.iter().map(|array| {
        let wide: Decimal128Array = match array.data_type() {
            DataType::Int64 => array.as_primitive::<Int64Type>().unary::<_, Decimal128Type>(i128::from),
            DataType::UInt64 => array.as_primitive::<UInt64Type>().unary::<_, Decimal128Type>(i128::from),
            other => return internal_err!("sum of {other} as integers"),
        };
        Ok(Arc::new(wide.with_data_type(WIDE)) as ArrayRef)
    });
    wide.collect()
}

fn narrow_array<T: ArrowPrimitiveType>(wide: &ArrayRef) -> Result<ArrayRef>
where
    T::Native: TryFrom<i128>,
{
    let narrow = wide.as_primitive::<Decimal128Type>().try_unary::<_, T, _>(|sum| {
        T::Native::try_from(sum).map_err(|_| {
            let text = format!("the sum {sum} does not fit into 64 bits; write sum(cast(... as decimal(38, 0)))");
            ArrowError::ArithmeticOverflow(text)
        })
    });
    Ok(Arc::new(narrow?))
}

/// Wide sums as `data_type`.
///
/// Errors: one does not fit.
fn narrow(wide: &ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    match data_type {
        DataType::UInt64 => narrow_array::<UInt64Type>(wide),
        _ => narrow_array::<Int64Type>(wide),
    }
}

#[derive(Debug)]
struct WideSum {
    inner: Box<dyn Accumulator>,
    narrow: DataType,
}

impl Accumulator for WideSum {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.update_batch(&widen(values)?)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let sum = narrow(&self.inner.evaluate()?.to_array()?, &self.narrow)?;
        ScalarValue::try_from_array(&sum, 0)
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.inner.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.retract_batch(&widen(values)?)
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }
}

struct WideSums {
    inner: Box<dyn GroupsAccumulator>,
    narrow: DataType,
}

impl GroupsAccumulator for WideSums {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        count: usize,
    ) -> Result<()> {
        self.inner.update_batch(&widen(values)?, groups, filter, count)
    }

    fn evaluate(&mut self, groups: EmitTo) -> Result<ArrayRef> {
        narrow(&self.inner.evaluate(groups)?, &self.narrow)
    }

    fn state(&mut self, groups: EmitTo) -> Result<Vec<ArrayRef>> {
        self.inner.state(groups)
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], count: usize) -> Result<()> {
        self.inner.merge_batch(values, groups, count)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        self.inner.convert_to_state(&widen(values)?, filter)
    }

    fn size(&self) -> usize {
        self.inner.size()
    }
}

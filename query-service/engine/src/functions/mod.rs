//! Bounds for functions that make a large value from small ones.
//!
//! A function's result is allocated outside of the query's memory pool, so `range(0, 100000000000)` would end the
//! whole process, not the query. The size of such a result is estimated before it is computed ([`sizes`]).

mod aggregate;
mod concat;
mod distinct;
mod inner;
mod rule;
mod sizes;

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::compute::concat;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};
use datafusion::prelude::SessionContext;

pub(crate) use self::rule::BoundFunctions;
use self::sizes::{GROWING, Size};
use crate::error::{ErrorKind, QueryError};

/// Replaces these functions of `session` by ones that refuse to make more than `most` bytes at a time, so that arguments
/// of table functions are bounded, which are computed while a statement is planned.
pub(crate) fn bound(session: &SessionContext, most: usize) {
    let state = session.state();
    for (name, size) in GROWING {
        if let Some(function) = state.scalar_functions().get(name) {
            let bounded = Bounded { inner: Arc::clone(function), size, most };
            session.register_udf(ScalarUDF::new_from_impl(bounded));
        }
    }
}

/// A function whose result is estimated before it is computed.
#[derive(Debug)]
struct Bounded {
    inner: Arc<ScalarUDF>,
    size: Size,
    most: usize,
}

impl Bounded {
    /// The result, a part of the rows at a time where all rows together might make too much.
    fn invoke(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue, DataFusionError> {
        let constant = arguments.args.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { arguments.number_rows };
        let arrays = arguments.args.iter().map(|value| value.to_array(rows)).collect::<Result<Vec<_>, _>>()?;
        let sizes: Vec<i128> = (0..rows).map(|row| self.size.of(&arrays, row).max(0)).collect();
        let all = sizes.iter().sum::<i128>();
        if all <= self.most as i128 {
            return self.inner.invoke_with_args(arguments).map_err(|error| self.blame_arguments(error));
        }
        if matches!(self.size, Size::Exact(_)) || constant {
            return Err(self.too_much(all));
        }
        self.in_parts(&arguments, &arrays, &sizes)
    }

    /// For an estimate that is too high for most rows: computes parts of the rows that make at most `most` bytes each,
    /// as long as all of them together make no more.
    fn in_parts(
        &self,
        arguments: &ScalarFunctionArgs,
        arrays: &[ArrayRef],
        sizes: &[i128],
    ) -> Result<ColumnarValue, DataFusionError> {
        let (mut made, mut parts, mut start) = (0, Vec::new(), 0);
        while start < sizes.len() {
            let end = end_of_part(sizes, start, self.most as i128).ok_or_else(|| self.too_much(sizes[start]))?;
            let part = ScalarFunctionArgs {
                args: arrays.iter().map(|array| ColumnarValue::Array(array.slice(start, end - start))).collect(),
                arg_fields: arguments.arg_fields.clone(),
                number_rows: end - start,
                return_field: Arc::clone(&arguments.return_field),
                config_options: Arc::clone(&arguments.config_options),
            };
            let part = self.inner.invoke_with_args(part)?.to_array(end - start)?;
            made += part.get_array_memory_size() as i128;
            if made > self.most as i128 {
                return Err(self.too_much(made));
            }
            parts.push(part);
            start = end;
        }
        let parts: Vec<_> = parts.iter().map(AsRef::as_ref).collect();
        Ok(ColumnarValue::Array(concat(&parts)?))
    }

    /// Some of these functions call an argument out of their range a fault of their own.
    fn blame_arguments(&self, error: DataFusionError) -> DataFusionError {
        match error {
            DataFusionError::Internal(text) => {
                let reason = text.lines().next().unwrap_or_default();
                QueryError::user(format!("{}() refuses its arguments: {reason}", self.name())).into()
            }
            other => other,
        }
    }

    fn too_much(&self, bytes: i128) -> DataFusionError {
        let message = format!("{}() would make {bytes} bytes at once; at most {} are allowed", self.name(), self.most);
        QueryError::new(ErrorKind::Limit, message).into()
    }
}

/// The end of the rows from `start` that make at most `most` bytes; `None` when the first makes more.
fn end_of_part(sizes: &[i128], start: usize, most: i128) -> Option<usize> {
    let mut bytes = 0;
    let fit = sizes[start..].iter().take_while(|size| {
        bytes += **size;
        bytes <= most
    });
    Some(fit.count()).filter(|count| *count > 0).map(|count| start + count)
}

impl PartialEq for Bounded {
    fn eq(&self, other: &Self) -> bool {
        self.inner == other.inner && self.most == other.most
    }
}

impl Eq for Bounded {}

impl Hash for Bounded {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
        self.most.hash(state);
    }
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType, DataFusionError> {
        self.inner.return_type(arguments)
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef, DataFusionError> {
        self.inner.return_field_from_args(arguments)
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>, DataFusionError> {
        self.inner.coerce_types(arguments)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue, DataFusionError> {
        self.invoke(arguments)
    }
}

//! Makes every operator stoppable.
//!
//! DataFusion stops a plan by dropping it, which an operator notices only where it waits. Joins can compute for hours
//! without waiting: their output is larger than their input by orders, and a filter may let none of it out. So each
//! join gives its thread back between batches ([`CooperativeExec`]), and each join filter asks whether to go on.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::config::ConfigOptions;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use datafusion::physical_expr::ScalarFunctionExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder};

/// Operators that make much of little.
const MULTIPLYING: [&str; 7] = [
    "CrossJoinExec",
    "NestedLoopJoinExec",
    "HashJoinExec",
    "SortMergeJoinExec",
    "PiecewiseMergeJoinExec",
    "UnnestExec",
    "RecursiveQueryExec",
];

/// Tells the operators of one query to stop.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(crate) fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// `plan`, so that it ends soon after [`Stop::stop`].
    pub(crate) fn guard(&self, plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let guarded = plan.transform_up(|node| {
            if !MULTIPLYING.contains(&node.name()) {
                return Ok(Transformed::no(node));
            }
            let node = self.with_filter(&node)?.unwrap_or(node);
            Ok(Transformed::yes(Arc::new(CooperativeExec::new(node)) as Arc<dyn ExecutionPlan>))
        })?;
        Ok(guarded.data)
    }

    /// A join whose filter asks first; `None` for what has no filter.
    fn with_filter(&self, node: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>, DataFusionError> {
        if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>()
            && let Some(filter) = join.filter()
        {
            let (left, right) = (Arc::clone(join.left()), Arc::clone(join.right()));
            let built = NestedLoopJoinExecBuilder::new(left, right, *join.join_type())
                .with_projection_ref(join.projection().clone())
                .with_filter(Some(self.asking(filter)?))
                .build()?;
            return Ok(Some(Arc::new(built)));
        }
        if let Some(join) = node.downcast_ref::<HashJoinExec>()
            && let Some(filter) = join.filter()
        {
            return join.builder().with_filter(Some(self.asking(filter)?)).build_exec().map(Some);
        }
        Ok(None)
    }

    fn asking(&self, filter: &JoinFilter) -> Result<JoinFilter, DataFusionError> {
        let ask = Arc::new(ScalarUDF::new_from_impl(Ask::new(self.clone())));
        let inner = vec![Arc::clone(filter.expression())];
        let asking = ScalarFunctionExpr::try_new(ask, inner, filter.schema(), Arc::new(ConfigOptions::default()))?;
        Ok(JoinFilter::new(Arc::new(asking), filter.column_indices().to_vec(), Arc::clone(filter.schema())))
    }
}

/// A function that gives back its argument, until it is told to stop.
#[derive(Debug)]
struct Ask {
    signature: Signature,
    stop: Stop,
}

impl Ask {
    fn new(stop: Stop) -> Self {
        Self { signature: Signature::any(1, Volatility::Volatile), stop }
    }
}

impl PartialEq for Ask {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.stop.0, &other.stop.0)
    }
}

impl Eq for Ask {}

impl Hash for Ask {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.stop.0).hash(state);
    }
}

impl ScalarUDFImpl for Ask {
    fn name(&self) -> &str {
        "unless_stopped"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType, DataFusionError> {
        let given = arguments.first().cloned();
        given.ok_or_else(|| DataFusionError::Internal("unless_stopped takes an argument".to_owned()))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue, DataFusionError> {
        if self.stop.0.load(Ordering::Relaxed) {
            return Err(DataFusionError::Execution("the query was stopped".to_owned()));
        }
        let given = arguments.args.into_iter().next();
        given.ok_or_else(|| DataFusionError::Internal("unless_stopped takes an argument".to_owned()))
    }
}

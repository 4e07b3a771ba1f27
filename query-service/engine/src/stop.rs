//! Makes every operator stoppable.
//!
//! DataFusion stops a plan by dropping it, which an operator notices only where it yields. DataFusion itself makes the
//! leaves of a plan yield; an operator that makes many batches from one, such as a join, can still compute for hours in
//! between, and a filter may let none of its rows out. So every such operator yields between its batches
//! ([`CooperativeExec`]), and the filter of a join checks whether to continue.

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
use datafusion::physical_plan::execution_plan::{CardinalityEffect, SchedulingType};
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder};

/// The switch that stops the operators of one query.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(crate) fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// `plan`, so that it ends soon after [`Stop::stop`].
    pub(crate) fn guard(&self, plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let guarded = plan.transform_up(|node| {
            if !runs_long(node.as_ref()) {
                return Ok(Transformed::no(node));
            }
            let node = self.with_filter(&node)?.unwrap_or(node);
            Ok(Transformed::yes(Arc::new(CooperativeExec::new(node)) as Arc<dyn ExecutionPlan>))
        })?;
        Ok(guarded.data)
    }

    /// A join whose filter checks first; `None` for an operator without such a filter.
    fn with_filter(&self, node: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>, DataFusionError> {
        if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>()
            && let Some(filter) = join.filter()
        {
            let (left, right) = (Arc::clone(join.left()), Arc::clone(join.right()));
            let built = NestedLoopJoinExecBuilder::new(left, right, *join.join_type())
                .with_projection_ref(join.projection().clone())
                .with_filter(Some(self.checking(filter)?))
                .build()?;
            return Ok(Some(Arc::new(built)));
        }
        if let Some(join) = node.downcast_ref::<HashJoinExec>()
            && let Some(filter) = join.filter()
        {
            return join.builder().with_filter(Some(self.checking(filter)?)).build_exec().map(Some);
        }
        Ok(None)
    }

    fn checking(&self, filter: &JoinFilter) -> Result<JoinFilter, DataFusionError> {
        let check = Arc::new(ScalarUDF::new_from_impl(Check::new(self.clone())));
        let inner = vec![Arc::clone(filter.expression())];
        let checking = ScalarFunctionExpr::try_new(check, inner, filter.schema(), Arc::new(ConfigOptions::default()))?;
        Ok(JoinFilter::new(Arc::new(checking), filter.column_indices().to_vec(), Arc::clone(filter.schema())))
    }
}

/// Whether `node` may compute for long without yielding: it does not yield by itself, and may make more rows than it
/// takes. An operator without inputs yields already, by DataFusion's rule `EnsureCooperative`.
fn runs_long(node: &dyn ExecutionPlan) -> bool {
    let bounded = matches!(node.cardinality_effect(), CardinalityEffect::Equal | CardinalityEffect::LowerEqual);
    let yields = node.properties().scheduling_type == SchedulingType::Cooperative;
    !bounded && !yields && !node.children().is_empty()
}

/// A function that returns its argument until it is stopped.
#[derive(Debug)]
struct Check {
    signature: Signature,
    stop: Stop,
}

impl Check {
    fn new(stop: Stop) -> Self {
        Self { signature: Signature::any(1, Volatility::Volatile), stop }
    }
}

impl PartialEq for Check {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.stop.0, &other.stop.0)
    }
}

impl Eq for Check {}

impl Hash for Check {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.stop.0).hash(state);
    }
}

impl ScalarUDFImpl for Check {
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

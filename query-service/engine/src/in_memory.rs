//! Joins that must not spill.
//!
//! A join by a condition other than equality that keeps rows without a match loses some of them once DataFusion 55 lets it
//! spill (apache/datafusion#24745). Such a join sees a runtime without temporary files, and ends with an error when it needs
//! more memory than its query may use; what is below it spills as usual.

use std::fmt;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::JoinType;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::joins::NestedLoopJoinExec;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan};

use crate::pass_through::pass_through;

/// `plan`, whose joins that would lose rows by spilling do not spill; everything else uses `runtime`.
pub(crate) fn keep_joins_in_memory(
    plan: Arc<dyn ExecutionPlan>,
    runtime: &Arc<RuntimeEnv>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let loses_rows = |node: &Arc<dyn ExecutionPlan>| {
        node.downcast_ref::<NestedLoopJoinExec>().is_some_and(|join| *join.join_type() != JoinType::Inner)
    };
    let kept = plan.transform_up(|node| {
        if !loses_rows(&node) {
            return Ok(Transformed::no(node));
        }
        let inputs = node.children().into_iter().map(|input| on(input, runtime)).collect();
        let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
        let without_files = RuntimeEnvBuilder::from_runtime_env(runtime).with_disk_manager_builder(disk).build_arc()?;
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        Ok(Transformed::yes(on(&node.replace_children(inputs, options)?, &without_files)))
    });
    kept.data()
}

fn on(input: &Arc<dyn ExecutionPlan>, runtime: &Arc<RuntimeEnv>) -> Arc<dyn ExecutionPlan> {
    Arc::new(OnRuntime { input: Arc::clone(input), runtime: Arc::clone(runtime) })
}

/// Runs its input with another runtime.
#[derive(Debug)]
struct OnRuntime {
    input: Arc<dyn ExecutionPlan>,
    runtime: Arc<RuntimeEnv>,
}

impl DisplayAs for OnRuntime {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name())
    }
}

impl ExecutionPlan for OnRuntime {
    fn name(&self) -> &str {
        if self.runtime.disk_manager.tmp_files_enabled() { "MaySpill" } else { "InMemory" }
    }

    pass_through!(input);

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match children.as_slice() {
            [input] => Ok(on(input, &self.runtime)),
            other => Err(DataFusionError::Internal(format!("{} over {} inputs", self.name(), other.len()))),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let context = TaskContext::new(
            context.task_id(),
            context.session_id(),
            context.session_config().clone(),
            context.scalar_functions().clone(),
            context.higher_order_functions().clone(),
            context.aggregate_functions().clone(),
            context.window_functions().clone(),
            Arc::clone(&self.runtime),
        );
        self.input.execute(partition, Arc::new(context))
    }
}

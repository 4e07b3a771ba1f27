//! Batches of a bounded number of rows.
//!
//! Some operators of DataFusion 55 make one batch of any number of rows: a window over all rows, `unnest` of a long list.
//! What is computed from it would be as large, at once. So such a batch is passed on in pieces.

use std::fmt;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::unnest::UnnestExec;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan};
use futures::{StreamExt, stream};

use crate::pass_through::pass_through;

/// `plan`, whose lists are unnested in pieces.
pub(crate) fn unnest_in_pieces(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let in_pieces = plan.transform_up(|node| match node.downcast_ref::<UnnestExec>() {
        Some(_) => Ok(Transformed::yes(Pieces::of(node))),
        None => Ok(Transformed::no(node)),
    });
    in_pieces.data()
}

/// The rows of its input, in batches of the session's size at most.
#[derive(Debug)]
pub(crate) struct Pieces(Arc<dyn ExecutionPlan>);

impl Pieces {
    /// Those of `input`.
    pub(crate) fn of(input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        Arc::new(Self(input))
    }
}

fn pieces(batch: &RecordBatch, rows: usize) -> Vec<RecordBatch> {
    let starts = (0..batch.num_rows()).step_by(rows.max(1));
    starts.map(|start| batch.slice(start, rows.min(batch.num_rows() - start))).collect()
}

impl DisplayAs for Pieces {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name())
    }
}

impl ExecutionPlan for Pieces {
    fn name(&self) -> &str {
        "Pieces"
    }

    pass_through!(0);

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match children.as_slice() {
            [input] => Ok(Self::of(Arc::clone(input))),
            other => Err(DataFusionError::Internal(format!("{} of {} inputs", self.name(), other.len()))),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let rows = context.session_config().batch_size();
        let batches = self.0.execute(partition, context)?.flat_map(move |batch| {
            let pieces = match batch {
                Ok(batch) => pieces(&batch, rows).into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            };
            stream::iter(pieces)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }
}

//! Batches of a bounded number of rows, and for readers, of bytes.
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

use crate::error::{ErrorKind, QueryError};
use crate::pass_through::pass_through;
use crate::size;

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

/// Rows and bytes that a reader takes at once.
const MOST_READ: (usize, usize) = (1_024, 1 << 20);
/// Bytes of one row that a reader takes.
const LARGEST_ROW: usize = 16 << 20;

/// `batch` in pieces for a reader, who writes each as a whole: one row of any size, or several of at most 1 MiB together.
///
/// Errors: `limit` for a row of more than 16 MiB.
pub(crate) fn for_reader(batch: &RecordBatch) -> Result<Vec<RecordBatch>> {
    let (rows, most) = MOST_READ;
    let small = by_bytes(batch, rows, most);
    match small.iter().filter(|piece| piece.num_rows() == 1).map(bytes_of).max() {
        Some(bytes) if bytes > LARGEST_ROW => {
            let text = format!("a row has {bytes} bytes; at most {LARGEST_ROW} are allowed");
            Err(QueryError::new(ErrorKind::Limit, text).into())
        }
        _ => Ok(small),
    }
}

/// Bytes of the values of `batch`, wherever they are.
pub(crate) fn bytes_of(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(size::of).sum()
}

/// `batch` in pieces of one row of any size, or of several, at most `rows`, that have at most `most` bytes together.
pub(crate) fn by_bytes(batch: &RecordBatch, rows: usize, most: usize) -> Vec<RecordBatch> {
    if batch.num_rows() <= rows && bytes_of(batch) <= most {
        return vec![batch.clone()];
    }
    let mut small = Vec::new();
    let mut left: Vec<_> = pieces(batch, rows);
    left.reverse();
    while let Some(piece) = left.pop() {
        let half = piece.num_rows() / 2;
        if half == 0 || bytes_of(&piece) <= most {
            small.push(piece);
        } else {
            left.push(piece.slice(half, piece.num_rows() - half));
            left.push(piece.slice(0, half));
        }
    }
    small
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

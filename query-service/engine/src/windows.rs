//! Memory of window functions, which DataFusion 55 does not account for.
//!
//! A window keeps its input until it can compute: all of it, or as much as a frame needs. So what goes in is reserved from
//! the query's memory, and freed by as many rows as come out. Its input passes through [`Side::In`], its output, in pieces
//! ([`Pieces`]), through [`Side::Out`], which share a reservation for each partition.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::utils::memory::get_record_batch_memory_size;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan};
use futures::StreamExt;

use crate::pass_through::pass_through;
use crate::pieces::{Pieces, bytes_of};

/// `plan`, whose windows reserve what they keep.
pub(crate) fn account_for_windows(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let accounted = plan.transform_up(|node| {
        let keeps = match (node.downcast_ref::<WindowAggExec>(), node.downcast_ref::<BoundedWindowAggExec>()) {
            // One that needs all rows also copies them into one batch.
            (Some(window), _) => Keeps { copies: 2, results: window.window_expr().len() },
            (None, Some(window)) => Keeps { copies: 1, results: window.window_expr().len() },
            (None, None) => return Ok(Transformed::no(node)),
        };
        let kept = Kept::default();
        let side = |side, node| Arc::new(Accounted { side, node, keeps, kept: kept.clone() }) as Arc<dyn ExecutionPlan>;
        let inputs = node.children().into_iter().map(|input| side(Side::In, Arc::clone(input))).collect();
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        let window = Pieces::of(node.replace_children(inputs, options)?);
        Ok(Transformed::yes(side(Side::Out, window)))
    });
    accounted.data()
}

/// What a window keeps of its input.
#[derive(Clone, Copy, Debug)]
struct Keeps {
    /// How often each batch is in memory.
    copies: usize,
    /// Results of each row.
    results: usize,
}

/// Bytes of a result, while it is a value and then an item of a column.
const RESULT: usize = 16;

impl Keeps {
    fn bytes(self, batch: &RecordBatch) -> usize {
        // What a function makes of values that share their memory does not share it.
        let bytes = get_record_batch_memory_size(batch).max(bytes_of(batch));
        bytes * self.copies + batch.num_rows() * self.results * RESULT
    }
}

/// What one window keeps, by its partitions.
#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<HashMap<usize, Arc<Rows>>>>);

impl Kept {
    /// Begins to account for `partition`.
    fn begin(&self, partition: usize, context: &TaskContext) -> Arc<Rows> {
        let reservation = MemoryConsumer::new("window").register(context.memory_pool());
        let rows = Arc::new(Rows { reservation, count: Mutex::default() });
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(partition, Arc::clone(&rows));
        rows
    }

    /// What [`Kept::begin`] made.
    fn of(&self, partition: usize) -> Option<Arc<Rows>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&partition)
    }
}

#[derive(Debug)]
struct Rows {
    reservation: MemoryReservation,
    /// Rows that have gone in, and not yet come out.
    count: Mutex<usize>,
}

impl Rows {
    fn keep(&self, batch: &RecordBatch, keeps: Keeps) -> Result<()> {
        self.reservation.try_grow(keeps.bytes(batch))?;
        *self.count.lock().unwrap_or_else(PoisonError::into_inner) += batch.num_rows();
        Ok(())
    }

    /// Frees the part of the memory that `rows` are of all rows kept.
    fn release(&self, rows: usize) {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        let left = count.saturating_sub(rows);
        let bytes = self.reservation.size() as u128 * left as u128;
        self.reservation.resize(bytes.checked_div(*count as u128).map_or(0, |bytes| bytes as usize));
        *count = left;
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Side {
    In,
    Out,
}

/// One side of a window.
#[derive(Debug)]
struct Accounted {
    side: Side,
    node: Arc<dyn ExecutionPlan>,
    keeps: Keeps,
    kept: Kept,
}

impl DisplayAs for Accounted {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name())
    }
}

impl ExecutionPlan for Accounted {
    fn name(&self) -> &str {
        match self.side {
            Side::In => "WindowInput",
            Side::Out => "WindowOutput",
        }
    }

    pass_through!(node);

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match children.as_slice() {
            [node] => Ok(Arc::new(Self { node: Arc::clone(node), kept: self.kept.clone(), ..*self })),
            other => Err(DataFusionError::Internal(format!("{} over {} inputs", self.name(), other.len()))),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (keeps, side) = (self.keeps, self.side);
        let rows = match side {
            Side::Out => Some(self.kept.begin(partition, &context)),
            Side::In => self.kept.of(partition),
        };
        let Some(rows) = rows else {
            return Err(DataFusionError::Internal(format!("nothing accounts for partition {partition} of a window")));
        };
        let counted = self.node.execute(partition, context)?.map(move |batch| {
            let batch = batch?;
            match side {
                Side::In => rows.keep(&batch, keeps)?,
                Side::Out => rows.release(batch.num_rows()),
            }
            Ok(batch)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), counted)))
    }
}

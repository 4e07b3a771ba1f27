//! The bound on what queries hold, beyond what their operators reserve.
//!
//! DataFusion 55 reserves what sorts, joins and aggregations keep, not the batches between them, the values that an
//! aggregate ends with, or what a function makes. So whatever enters an operator that may keep it is let in only while
//! the query holds little more than it reserved, and all of them together no more than they may ([`crate::heap`]). When
//! they do, the query that holds most ends, and the others wait for its memory.
//!
//! That is looked at between batches. So that a single batch does not pass the bound, an operator gets values of few bytes
//! at once, also where they share their memory ([`Portion`]); and what copies its rows, a join or `unnest`, gets no large
//! ones.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, PiecewiseMergeJoinExec, SortMergeJoinExec, SymmetricHashJoinExec,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::unnest::UnnestExec;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan};
use futures::{StreamExt, stream};
use tokio::time::Instant;

use crate::error::{ErrorKind, QueryError};
use crate::heap::Account;
use crate::limits::Capacity;
use crate::memory::{QueryMemory, SMALL};
use crate::pass_through::pass_through;
use crate::pieces;
use crate::size;

/// Longest wait for the memory of other queries.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes from which the allocator of a query's threads may keep much for itself afterwards.
const LARGE: usize = 16 << 20;
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(5);

/// What all running queries hold.
#[derive(Debug)]
pub(crate) struct Holdings {
    /// Bytes of all of them together.
    most: usize,
    /// Bytes of one that are not reserved.
    most_unreserved: usize,
    /// Bytes of the process that are in memory: more than what is held, as its allocator has blocks of few sizes.
    most_resident: Option<usize>,
    running: Mutex<Vec<Since>>,
}

/// An account since a query uses it.
#[derive(Clone, Copy, Debug)]
struct Since {
    account: &'static Account,
    /// What it held before, such as footers of files.
    before: isize,
}

impl Since {
    fn bytes(self) -> usize {
        usize::try_from(self.account.bytes() - self.before).unwrap_or_default()
    }
}

impl Holdings {
    /// None yet, of an engine with `capacity`.
    pub(crate) fn new(capacity: &Capacity) -> Arc<Self> {
        Arc::new(Self {
            most: capacity.held_memory.get(),
            most_unreserved: capacity.unreserved_memory.get(),
            most_resident: capacity.resident_memory.map(NonZeroUsize::get),
            running: Mutex::default(),
        })
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Vec<Since>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of all queries together, and of the one that holds most.
    fn bytes(&self) -> (usize, usize) {
        let running = self.running();
        running.iter().fold((0, 0), |(all, largest), query| {
            let bytes = query.bytes();
            (all + bytes, largest.max(bytes))
        })
    }
}

/// Bytes of this process that are in memory: `VmRSS` of `/proc/self/status` (proc_pid_status(5)), in KiB.
fn resident() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let of_process = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: usize = of_process.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// What one query holds. Dropping it ends the query.
#[derive(Debug)]
pub(crate) struct Held {
    query: Since,
    reserved: Arc<QueryMemory>,
    of_all: Arc<Holdings>,
}

/// What a query may do as things are.
enum Verdict {
    GoOn,
    /// Others hold so much.
    Wait(QueryError),
    End(QueryError),
}

impl Held {
    /// Of the query that begins now, whose threads belong to `account`.
    pub(crate) fn begin(account: &'static Account, reserved: Arc<QueryMemory>, of_all: Arc<Holdings>) -> Arc<Self> {
        let query = Since { account, before: account.bytes() };
        of_all.running().push(query);
        Arc::new(Self { query, reserved, of_all })
    }

    fn verdict(&self) -> Verdict {
        let (own, reserved) = (self.query.bytes(), self.reserved.bytes());
        if own > LARGE {
            self.query.account.note_large();
        }
        let (all, largest) = self.of_all.bytes();
        let Holdings { most, most_unreserved, most_resident, .. } = *self.of_all;
        let unreserved = own.saturating_sub(reserved);
        let error = |what: String| {
            QueryError::new(ErrorKind::Limit, format!("{what}; make shorter texts and lists, or fewer of them"))
        };
        if unreserved > most_unreserved {
            return Verdict::End(error(format!(
                "the query holds {unreserved} bytes beyond the {reserved} that its operators reserved; at most \
                 {most_unreserved} are allowed"
            )));
        }
        // Small ones do not pay for large ones.
        if own <= most / SMALL {
            return Verdict::GoOn;
        }
        let error = if all > most {
            error(format!("all queries hold {all} bytes, this one {own}; at most {most} are allowed"))
        } else {
            // What the allocator has not given back is no reason while queries hold little.
            let bound = most_resident.filter(|_| all > most / 4);
            let resident = bound.zip(resident()).filter(|(most, bytes)| bytes > most);
            let Some((most, bytes)) = resident else { return Verdict::GoOn };
            error(format!("queries took {bytes} bytes of memory, this one {own}; at most {most} are allowed"))
        };
        if own >= largest { Verdict::End(error) } else { Verdict::Wait(error) }
    }

    /// Waits until the query may hold more.
    ///
    /// Errors: it holds too much, or the others do and go on to.
    async fn wait(&self) -> Result<()> {
        let began = Instant::now();
        loop {
            match self.verdict() {
                Verdict::GoOn => return Ok(()),
                Verdict::Wait(_) if began.elapsed() < PATIENCE => tokio::time::sleep(LOOK).await,
                Verdict::Wait(error) | Verdict::End(error) => return Err(error.into()),
            }
        }
    }

    /// `plan`, whose operators take nothing in while the query holds too much, and little at once. `rows` is the size of
    /// its batches.
    pub(crate) fn guard(self: &Arc<Self>, plan: Arc<dyn ExecutionPlan>, rows: usize) -> Result<Arc<dyn ExecutionPlan>> {
        let guarded = plan.transform_up(|node| {
            let portion = Portion::of(node.as_ref(), rows, self.of_all.most_unreserved / COPIED);
            let is_join = is_join(node.as_ref());
            let inputs: Vec<_> =
                node.children().into_iter().map(|input| self.check(Arc::clone(input), portion.clone())).collect();
            let node = if inputs.is_empty() {
                node
            } else {
                node.replace_children(inputs, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))?
            };
            // Below it, the portions of its inputs have batches of the usual size again.
            Ok(Transformed::yes(if is_join { self.check(node, Portion::all_of(JOINED_ROWS)) } else { node }))
        });
        Ok(self.check(guarded.data()?, Portion::all_of(rows)))
    }

    fn check(self: &Arc<Self>, input: Arc<dyn ExecutionPlan>, portion: Portion) -> Arc<dyn ExecutionPlan> {
        Arc::new(Checked { input, held: Arc::clone(self), portion })
    }
}

/// Bytes of values that an operator takes at once; a larger value comes alone.
const TAKEN: usize = 4 << 20;
/// Rows that a join makes at once.
const JOINED_ROWS: usize = 2_048;
/// Of what a query may hold unreserved, the part that one batch of an operator that copies rows may be: a half.
const COPIED: usize = 2;

/// What an operator takes of an input at once.
#[derive(Clone, Debug)]
struct Portion {
    /// Size of the input's own batches.
    made: usize,
    rows: usize,
    copies: Copies,
}

/// How an operator copies the rows that it takes.
#[derive(Clone, Debug)]
enum Copies {
    /// Not at all, or as often as its functions say.
    No,
    /// As often as it finds partners for them: a row has at most these bytes.
    Joined(usize),
    /// As often as these columns have items: the copies of a row have at most these bytes.
    Unnested(Arc<[usize]>, usize),
}

impl Portion {
    fn all_of(rows: usize) -> Self {
        Self { made: rows, rows, copies: Copies::No }
    }

    /// Of the inputs of `node`, which have batches of `rows`; `most` are the bytes of one batch of copies.
    fn of(node: &dyn ExecutionPlan, rows: usize, most: usize) -> Self {
        if is_join(node) {
            // These make a row for each of a batch at once; others stop at the size of a batch.
            let is_product = node.is::<CrossJoinExec>() || node.is::<NestedLoopJoinExec>();
            let taken = if is_product { JOINED_ROWS } else { rows };
            return Self { made: rows, rows: taken, copies: Copies::Joined(most / JOINED_ROWS) };
        }
        match node.downcast_ref::<UnnestExec>() {
            Some(unnest) => {
                let lists = unnest.list_column_indices().iter().map(|list| list.index_in_input_schema).collect();
                Self { made: rows, rows, copies: Copies::Unnested(lists, most) }
            }
            None => Self::all_of(rows),
        }
    }

    /// `batch` in pieces that are taken one after the other.
    ///
    /// Errors: a row of it is too large to be copied.
    fn pieces(&self, batch: &RecordBatch) -> Result<Vec<RecordBatch>> {
        let pieces = pieces::by_bytes(batch, self.rows, TAKEN);
        for piece in &pieces {
            self.copies.check(piece)?;
        }
        Ok(pieces)
    }
}

impl Copies {
    fn check(&self, batch: &RecordBatch) -> Result<()> {
        let text = match self {
            Self::No => return Ok(()),
            Self::Joined(most) => {
                let bytes: usize = batch.columns().iter().map(size::of_largest).sum();
                if bytes <= *most {
                    return Ok(());
                }
                format!(
                    "a row that is joined has {bytes} bytes; at most {most} are allowed: select fewer or shorter columns before the join"
                )
            }
            Self::Unnested(lists, most) => {
                let Some(bytes) = largest_copies(batch, lists).filter(|bytes| bytes > most) else { return Ok(()) };
                format!(
                    "a row would have {bytes} bytes once its lists are unnested; at most {most} are allowed: select fewer or shorter columns beside the lists"
                )
            }
        };
        Err(QueryError::new(ErrorKind::Limit, text).into())
    }
}

/// Bytes of the columns beside `lists`, once for each item of the longest list, in the row where they are most.
fn largest_copies(batch: &RecordBatch, lists: &[usize]) -> Option<usize> {
    let others: Vec<&ArrayRef> = batch
        .columns()
        .iter()
        .enumerate()
        .filter(|(index, _)| !lists.contains(index))
        .map(|(_, column)| column)
        .collect();
    let lists: Vec<&ArrayRef> = lists.iter().filter_map(|index| batch.columns().get(*index)).collect();
    let items = |row: usize| lists.iter().map(|list| length(list, row)).max().unwrap_or_default();
    let longest = (0..batch.num_rows()).map(items).max()?;
    let largest: usize = others.iter().map(|column| size::of_largest(column)).sum();
    Some(largest.saturating_mul(longest))
}

/// Items of a list.
fn length(list: &ArrayRef, row: usize) -> usize {
    match list.data_type() {
        DataType::List(_) => list.as_list::<i32>().value_length(row) as usize,
        DataType::LargeList(_) => list.as_list::<i64>().value_length(row) as usize,
        DataType::FixedSizeList(_, length) => *length as usize,
        _ => 1,
    }
}

/// Whether `node` pairs rows of its inputs. DataFusion has no capability that says so.
fn is_join(node: &dyn ExecutionPlan) -> bool {
    node.is::<HashJoinExec>()
        || node.is::<NestedLoopJoinExec>()
        || node.is::<CrossJoinExec>()
        || node.is::<SortMergeJoinExec>()
        || node.is::<PiecewiseMergeJoinExec>()
        || node.is::<SymmetricHashJoinExec>()
}

/// `context` with batches of `rows`.
fn with_batches_of(context: Arc<TaskContext>, rows: usize) -> Arc<TaskContext> {
    if context.session_config().batch_size() == rows {
        return context;
    }
    Arc::new(TaskContext::new(
        context.task_id(),
        context.session_id(),
        context.session_config().clone().with_batch_size(rows),
        context.scalar_functions().clone(),
        context.higher_order_functions().clone(),
        context.aggregate_functions().clone(),
        context.window_functions().clone(),
        context.runtime_env(),
    ))
}

impl Drop for Held {
    fn drop(&mut self) {
        self.of_all.running().retain(|query| !std::ptr::eq(query.account, self.query.account));
    }
}

/// The rows of its input, while the query does not hold too much.
#[derive(Debug)]
struct Checked {
    input: Arc<dyn ExecutionPlan>,
    held: Arc<Held>,
    portion: Portion,
}

impl DisplayAs for Checked {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name())
    }
}

impl ExecutionPlan for Checked {
    fn name(&self) -> &str {
        "MemoryCheck"
    }

    pass_through!(input);

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match children.as_slice() {
            [input] => Ok(self.held.check(Arc::clone(input), self.portion.clone())),
            other => Err(DataFusionError::Internal(format!("{} of {} inputs", self.name(), other.len()))),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (held, portion) = (Arc::clone(&self.held), self.portion.clone());
        let input = self.input.execute(partition, with_batches_of(context, portion.made))?;
        let pieces = input.flat_map(move |batch| {
            let pieces = batch.and_then(|batch| portion.pieces(&batch));
            stream::iter(match pieces {
                Ok(pieces) => pieces.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            })
        });
        let checked = pieces.then(move |piece| {
            let held = Arc::clone(&held);
            async move {
                held.wait().await?;
                piece
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), checked)))
    }
}

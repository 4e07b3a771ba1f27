//! The bound on what queries hold, beyond what their operators reserve.
//!
//! DataFusion 55 reserves what sorts, joins and aggregations keep, not the batches between them, the values that an
//! aggregate ends with, or what a function makes. So whatever enters an operator that may keep it is let in only while
//! the query holds little more than it reserved, and all of them together no more than they may ([`crate::heap`]). When
//! they do, the query that holds most ends, and the others wait for its memory.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, EmissionType, ReplaceChildrenOptions};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan};
use futures::StreamExt;
use tokio::time::Instant;

use crate::error::{ErrorKind, QueryError};
use crate::heap::Account;
use crate::limits::Capacity;
use crate::memory::{QueryMemory, SMALL};
use crate::pass_through::pass_through;

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

    /// `plan`, whose operators take nothing in while the query holds too much. `runs_long` says which operators may make
    /// many rows of a few.
    pub(crate) fn guard(
        self: &Arc<Self>,
        plan: Arc<dyn ExecutionPlan>,
        runs_long: impl Fn(&dyn ExecutionPlan) -> bool,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let guarded = plan.transform_up(|node| {
            let node = if gathers(node.as_ref()) {
                let inputs = node.children().into_iter().map(|input| self.check(Arc::clone(input))).collect();
                node.replace_children(inputs, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))?
            } else {
                node
            };
            let makes_rows = node.children().is_empty() || runs_long(node.as_ref());
            Ok(Transformed::yes(if makes_rows { self.check(node) } else { node }))
        });
        guarded.data()
    }

    fn check(self: &Arc<Self>, node: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        if node.is::<Checked>() { node } else { Arc::new(Checked { input: node, held: Arc::clone(self) }) }
    }
}

/// Whether `node` keeps what it reads before it yields its first row.
fn gathers(node: &dyn ExecutionPlan) -> bool {
    !node.children().is_empty() && node.properties().emission_type != EmissionType::Incremental
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
            [input] => Ok(Arc::new(Self { input: Arc::clone(input), held: Arc::clone(&self.held) })),
            other => Err(DataFusionError::Internal(format!("{} of {} inputs", self.name(), other.len()))),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let held = Arc::clone(&self.held);
        let checked = self.input.execute(partition, context)?.then(move |batch| {
            let held = Arc::clone(&held);
            async move {
                held.wait().await?;
                batch
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), checked)))
    }
}

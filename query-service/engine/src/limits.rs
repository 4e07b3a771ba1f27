//! What one query may use, and what all of them share.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use kerntrail_common::period::Period;
use kerntrail_common::settings::{checked, more_than_zero};
use kerntrail_common::size::Size;
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::turns::with_firsts;

/// `[query]`: what one query may use; each principal has its own.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Maximum memory of one query, at least 1MiB; 8 run at a time. Beyond it, sorts, joins and aggregations spill to
    /// disk, or the query ends with an error.
    #[serde(rename = "memory", deserialize_with = "read_memory", serialize_with = "write_memory")]
    #[schemars(with = "Size")]
    pub memory_bytes: NonZeroUsize,
    /// Longest duration of one query, from the request to the last row, including planning and waiting for a slow
    /// reader.
    pub timeout: Period,
    /// Maximum rows of one result; a larger result ends with an error.
    #[serde(deserialize_with = "more_than_zero")]
    #[schemars(range(min = 1))]
    pub max_rows: usize,
}

fn read_memory<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NonZeroUsize, D::Error> {
    let size = checked(deserializer, Size::at_least(1 << 20))?;
    usize::try_from(size.0).ok().and_then(NonZeroUsize::new).ok_or_else(|| D::Error::custom("it is too large"))
}

fn write_memory<S: Serializer>(bytes: &NonZeroUsize, serializer: S) -> Result<S::Ok, S::Error> {
    Size(bytes.get() as u64).serialize(serializer)
}

/// 512 MiB.
const MEMORY_BYTES: NonZeroUsize = NonZeroUsize::MIN.saturating_add((512 << 20) - 1);

impl Default for Limits {
    /// 512 MiB, 60 s, 1,000,000 rows.
    fn default() -> Self {
        Self { memory_bytes: MEMORY_BYTES, timeout: Period::seconds(60), max_rows: 1_000_000 }
    }
}

impl Limits {
    /// The narrower of these limits and what a request asks for.
    pub(crate) fn within(self, bounds: &Bounds) -> Self {
        Self {
            timeout: bounds.timeout.map_or(self.timeout, |asked| Period(asked.min(self.timeout.0))),
            max_rows: bounds.max_rows.map_or(self.max_rows, |asked| asked.min(self.max_rows)),
            ..self
        }
    }
}

/// Narrower limits that one request asks for; wider ones than the principal's [`Limits`] have no effect.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds {
    /// Instead of [`Limits::timeout`].
    pub timeout: Option<Duration>,
    /// Instead of [`Limits::max_rows`].
    pub max_rows: Option<usize>,
}

/// What all queries of an engine share.
#[derive(Clone, Debug)]
pub struct Capacity {
    /// Queries that run at a time; one more waits, unless its principal has none running (four and more: as many again).
    pub max_running: NonZeroUsize,
    /// Longest wait for a slot among them, within the query's timeout; then the query is refused.
    pub patience: Duration,
    /// Where queries spill, a folder of their own; `None` is the system's temporary folder. Created when absent.
    pub spill_dir: Option<PathBuf>,
    /// Disk space of all spills together, in bytes.
    pub spill_bytes: u64,
    /// Memory that operators of all queries reserve together, in bytes. A query that finds it taken spills to disk, or ends
    /// with an error.
    pub total_memory: NonZeroUsize,
    /// What one query may hold beyond what it reserved, in bytes: batches on their way, results of functions and aggregates.
    /// Beyond it, it ends with an error. Known only to a program whose allocator is [`crate::Tallied`].
    pub unreserved_memory: NonZeroUsize,
    /// What all queries may hold, reserved or not, in bytes. Beyond it, the one that holds most ends with an error, and the
    /// others wait. Known only to a program whose allocator is [`crate::Tallied`].
    pub held_memory: NonZeroUsize,
    /// Memory of the process, in bytes. Beyond it, the same happens.
    pub resident_memory: Option<NonZeroUsize>,
    /// Threads of each query, apart from those of the caller's runtime.
    pub threads: NonZeroUsize,
}

impl Capacity {
    /// Bytes that the stacks of all threads take, mostly unused.
    pub fn stack_bytes(&self) -> u64 {
        (with_firsts(self.max_running) * self.threads.get() * STACK_BYTES) as u64
    }
}

/// Of a thread that plans and executes: planners recurse once for each operator of a chain, whose length is bounded.
pub(crate) const STACK_BYTES: usize = 64 << 20;

/// 4 GiB: of each of the queries that may run at a time, what it may use by default.
const TOTAL_MEMORY: NonZeroUsize = NonZeroUsize::MIN.saturating_add((4 << 30) - 1);

/// 1 GiB.
const UNRESERVED_MEMORY: NonZeroUsize = NonZeroUsize::MIN.saturating_add((1 << 30) - 1);

/// 8.
const MAX_RUNNING: NonZeroUsize = NonZeroUsize::MIN.saturating_add(7);

impl Default for Capacity {
    /// 8 at a time, 10 s of waiting, 8 GiB of spills, 4 GiB of memory, a query 1 GiB beyond what it reserved, a thread per
    /// processor.
    fn default() -> Self {
        Self {
            max_running: MAX_RUNNING,
            patience: Duration::from_secs(10),
            spill_dir: None,
            spill_bytes: 8 << 30,
            total_memory: TOTAL_MEMORY,
            unreserved_memory: UNRESERVED_MEMORY,
            held_memory: TOTAL_MEMORY,
            resident_memory: None,
            threads: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
        }
    }
}

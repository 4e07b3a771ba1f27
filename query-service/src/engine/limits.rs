//! What one query may use.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

/// What one query may use, and how many may run. The most memory in use is `memory_bytes * max_running`.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Memory of one query in bytes; what sorts, joins and aggregations need beyond it goes to `spill_dir`.
    pub memory_bytes: NonZeroUsize,
    /// From the question to the last row, planning and slow reading included.
    pub timeout: Duration,
    /// Rows of one answer; more end it with an error.
    pub max_rows: usize,
    /// Queries at a time; one more waits.
    pub max_running: NonZeroUsize,
    /// Longest wait for a place among them, within the timeout; then the query is refused.
    pub patience: Duration,
    /// Where queries spill, a folder of their own; `None` is the system's temporary folder. Created when absent.
    pub spill_dir: Option<PathBuf>,
    /// Disk space of all spills together, in bytes.
    pub spill_bytes: u64,
    /// Threads of each query, apart from those of the caller's runtime.
    pub threads: NonZeroUsize,
}

/// 512 MiB.
const MEMORY_BYTES: NonZeroUsize = NonZeroUsize::MIN.saturating_add((512 << 20) - 1);
/// 8.
const MAX_RUNNING: NonZeroUsize = NonZeroUsize::MIN.saturating_add(7);

impl Default for Limits {
    /// 512 MiB, 60 s, 1,000,000 rows, 8 at a time, 10 s for a place, 8 GiB of spill, a thread per processor.
    fn default() -> Self {
        Self {
            memory_bytes: MEMORY_BYTES,
            timeout: Duration::from_secs(60),
            max_rows: 1_000_000,
            max_running: MAX_RUNNING,
            patience: Duration::from_secs(10),
            spill_dir: None,
            spill_bytes: 8 << 30,
            threads: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
        }
    }
}

/// Narrower bounds that a client asks for; wider ones than the [`Limits`] have no effect.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds {
    /// Instead of [`Limits::timeout`].
    pub timeout: Option<Duration>,
    /// Instead of [`Limits::max_rows`].
    pub max_rows: Option<usize>,
}

impl Limits {
    /// The timeout that holds for a query with `bounds`.
    pub(crate) fn timeout(&self, bounds: &Bounds) -> Duration {
        bounds.timeout.map_or(self.timeout, |asked| asked.min(self.timeout))
    }

    /// The row limit that holds for a query with `bounds`.
    pub(crate) fn max_rows(&self, bounds: &Bounds) -> usize {
        bounds.max_rows.map_or(self.max_rows, |asked| asked.min(self.max_rows))
    }
}

//! The buffers, and the commit of one: one table's rows with the progress of their partitions.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use kerntrail_common::backoff::Backoff;
use kerntrail_common::error::chain;
use kerntrail_lake::{Lake, LakeError, Progress};
use kerntrail_schemas::Table;
use kerntrail_transport::Partition;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::metrics::COMMIT_SECONDS;
use crate::quarantine::now_micros;
use crate::take::stamp;

/// Bounds of the first and of any wait before a commit is tried again when the store fails.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// Attempts after which a commit is given up while the pipeline stops: a second and a half on average.
const LAST_ATTEMPTS: usize = 6;

/// Rows taken and not yet being committed.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    batches: Vec<(Partition, RecordBatch)>,
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
    /// When the oldest news came: rows, or progress alone.
    pub(crate) since: Option<Instant>,
}

impl Buffer {
    pub(crate) fn push(&mut self, partition: &Partition, rows: RecordBatch) {
        self.rows += rows.num_rows();
        self.bytes += rows.get_array_memory_size();
        self.batches.push((partition.clone(), rows));
    }

    /// Drops the rows of `partition`.
    pub(crate) fn drop_rows_of(&mut self, partition: &Partition) {
        self.batches.retain(|(of, _)| of != partition);
        self.rows = self.batches.iter().map(|(_, rows)| rows.num_rows()).sum();
        self.bytes = self.batches.iter().map(|(_, rows)| rows.get_array_memory_size()).sum();
    }

    pub(crate) fn take(&mut self) -> Vec<RecordBatch> {
        std::mem::take(self).batches.into_iter().map(|(_, rows)| rows).collect()
    }
}

/// The buffers of all tables.
#[derive(Debug, Default)]
pub(crate) struct Buffers(HashMap<Table, Buffer>);

impl Buffers {
    pub(crate) fn of(&mut self, table: Table) -> &mut Buffer {
        self.0.entry(table).or_default()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.0.values().map(|buffer| buffer.bytes).sum()
    }

    /// The table with the most bytes.
    pub(crate) fn largest(&self) -> Option<Table> {
        self.0.iter().max_by_key(|(_, buffer)| buffer.bytes).map(|(table, _)| *table)
    }
}

/// A commit in commit.
pub(crate) struct RunningCommit {
    pub(crate) table: Table,
    pub(crate) rows: Vec<RecordBatch>,
    pub(crate) progress: Vec<Progress>,
}

/// How a commit ended.
pub(crate) struct FinishedCommit {
    pub(crate) table: Table,
    pub(crate) rows: usize,
    pub(crate) outcome: Result<(), LakeError>,
}

impl RunningCommit {
    /// Commits, with retries while only the store fails; `ending` limits them.
    pub(crate) async fn run(self, lake: Arc<Lake>, ending: CancellationToken) -> FinishedCommit {
        let table = self.table;
        let rows = self.rows.iter().map(RecordBatch::num_rows).sum();
        let outcome = self.commit(&lake, &ending).await;
        FinishedCommit { table, rows, outcome }
    }

    async fn commit(self, lake: &Lake, ending: &CancellationToken) -> Result<(), LakeError> {
        let now = now_micros();
        let stamped = self.rows.into_iter().map(|rows| stamp(self.table, rows, now));
        let refused =
            |cause: arrow::error::ArrowError| LakeError::Refused { table: self.table, reason: cause.to_string() };
        let rows = stamped.collect::<Result<Vec<_>, _>>().map_err(refused)?;
        let (mut backoff, mut attempts) = (Backoff::new(RETRY.0, RETRY.1), 0);
        loop {
            let started = Instant::now();
            let error = match append(lake, self.table, rows.clone(), &self.progress).await {
                Ok(()) => {
                    let seconds = started.elapsed().as_secs_f64();
                    metrics::histogram!(COMMIT_SECONDS, "table" => self.table.name()).record(seconds);
                    return Ok(());
                }
                Err(error @ LakeError::Store { .. }) => error,
                Err(error) => return Err(error),
            };
            attempts += usize::from(ending.is_cancelled());
            if attempts >= LAST_ATTEMPTS {
                return Err(error);
            }
            warn!(table = %self.table, error = chain(&error), "cannot commit; retrying");
            tokio::select! {
                () = tokio::time::sleep(backoff.after_failure()) => {}
                () = ending.cancelled(), if !ending.is_cancelled() => {}
            }
        }
    }
}

async fn append(lake: &Lake, table: Table, rows: Vec<RecordBatch>, progress: &[Progress]) -> Result<(), LakeError> {
    lake.table(table).await?.append(rows, progress).await.map(|_| ())
}

//! The rows of an answer as they arrive.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::error::{ErrorKind, QueryError};
use crate::explain::without_paths;
use crate::metrics::{answered, failed};
use crate::pieces::for_reader;
use crate::slots::Slot;

/// Batches that the query may be ahead of the reader.
const AHEAD: usize = 2;
/// How long a reader may take for a piece while other queries wait for the slot.
const UNREAD: Duration = Duration::from_secs(10);

/// What holds for one answer.
pub(crate) struct ResultLimits {
    pub(crate) deadline: Instant,
    /// The time that `deadline` allowed, for the error.
    pub(crate) timeout: Duration,
    pub(crate) max_rows: usize,
    /// Whether the rows describe a plan.
    pub(crate) explain: bool,
}

/// The rows of an answer. Ends after the last row or after an error; dropping it stops the query.
///
/// An answer with more rows than allowed yields the allowed ones, then an error of kind `limit`.
pub struct QueryStream {
    schema: SchemaRef,
    batches: mpsc::Receiver<Result<RecordBatch, DataFusionError>>,
    deadline: Pin<Box<Sleep>>,
    terms: ResultLimits,
    rows_left: usize,
    /// Cancelled when the query was ended, since nobody read while others waited.
    unread: CancellationToken,
    /// Whether rows beyond the limit were seen.
    more: bool,
    running: Running,
    /// Whether the last row or an error was given.
    ended: bool,
    /// Ends the query at its deadline, even while nobody reads the result.
    _watchdog: AbortOnDropHandle<()>,
}

/// A running query and its slot; `None` once the result has ended or the time is over.
#[derive(Clone)]
struct Running(Arc<Mutex<Option<(AbortOnDropHandle<()>, Slot)>>>);

impl Running {
    fn new(pump: AbortOnDropHandle<()>, slot: Slot) -> Self {
        Self(Arc::new(Mutex::new(Some((pump, slot)))))
    }

    fn end(&self) {
        let running = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(running);
    }

    /// Whether the query came to its end; it may have panicked instead.
    fn poll(&self, context: &mut Context<'_>) -> Poll<Result<(), QueryError>> {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some((pump, _)) => Pin::new(pump).poll(context).map_err(QueryError::internal),
            None => Poll::Ready(Ok(())),
        }
    }
}

/// The batches of `rows`, in pieces.
fn pieces(
    rows: &mut SendableRecordBatchStream,
) -> impl Stream<Item = Result<RecordBatch, DataFusionError>> + Send + '_ {
    rows.flat_map(|batch| {
        let pieces = batch.and_then(|batch| for_reader(&batch));
        futures::stream::iter(
            pieces.map_or_else(|error| vec![Err(error)], |pieces| pieces.into_iter().map(Ok).collect()),
        )
    })
}

impl QueryStream {
    pub(crate) fn start(
        slot: Slot,
        mut rows: SendableRecordBatchStream,
        terms: ResultLimits,
    ) -> Result<Self, QueryError> {
        let schema = rows.schema();
        let (sender, batches) = mpsc::channel(AHEAD);
        let (unread, is_wanted) = (CancellationToken::new(), slot.is_wanted());
        let given_up = unread.clone();
        let pump = slot.run(async move {
            let mut rows = std::pin::pin!(pieces(&mut rows));
            while let Some(piece) = rows.next().await {
                let room = loop {
                    match tokio::time::timeout(UNREAD, sender.reserve()).await {
                        Ok(Ok(room)) => break room,
                        Ok(Err(_)) => return,
                        Err(_) if is_wanted.as_ref().is_some_and(|is_wanted| is_wanted()) => return given_up.cancel(),
                        Err(_) => {}
                    }
                };
                room.send(piece);
            }
        });
        let pump = pump.ok_or_else(|| QueryError::new(ErrorKind::Busy, "the server is stopping"))?;
        let running = Running::new(pump, slot);
        let (watched, deadline, given_up) = (running.clone(), terms.deadline, unread.clone());
        let watchdog = tokio::spawn(async move {
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => {}
                () = given_up.cancelled() => {}
            }
            watched.end();
        });
        Ok(Self {
            schema,
            batches,
            deadline: Box::pin(tokio::time::sleep_until(terms.deadline)),
            rows_left: terms.max_rows,
            terms,
            unread,
            more: false,
            running,
            ended: false,
            _watchdog: AbortOnDropHandle::new(watchdog),
        })
    }

    /// Schema of every batch.
    pub fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.schema)
    }

    fn end(&mut self) {
        self.ended = true;
        self.running.end();
    }

    /// Ends the answer with `error`.
    fn fail(&mut self, error: QueryError) -> QueryError {
        self.end();
        failed(error.kind());
        error
    }

    /// The next batch with rows, before the row limit.
    fn poll_batch(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<RecordBatch, QueryError>>> {
        if self.deadline.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err(QueryError::timeout(self.terms.timeout))));
        }
        loop {
            match ready!(self.batches.poll_recv(context)) {
                Some(Ok(batch)) if batch.num_rows() == 0 => {}
                Some(batch) => return Poll::Ready(Some(batch.map_err(QueryError::from))),
                None if self.unread.is_cancelled() => {
                    let message = format!("the next rows were not read within {UNREAD:?} while other queries waited");
                    return Poll::Ready(Some(Err(QueryError::new(ErrorKind::Busy, message))));
                }
                None => return self.running.poll(context).map(|end| end.err().map(Err)),
            }
        }
    }

    /// The rows of `batch` within the row limit.
    fn within_limit(&mut self, batch: RecordBatch) -> Result<RecordBatch, QueryError> {
        if self.rows_left == 0 {
            return Err(self.too_many());
        }
        let taken = batch.num_rows().min(self.rows_left);
        self.more = taken < batch.num_rows();
        self.rows_left -= taken;
        answered(taken);
        let batch = batch.slice(0, taken);
        Ok(if self.terms.explain { without_paths(&batch) } else { batch })
    }

    fn too_many(&self) -> QueryError {
        let rows = self.terms.max_rows;
        let message =
            format!("the result has more than {rows} rows and was truncated; add a LIMIT or a narrower WHERE");
        QueryError::new(ErrorKind::Limit, message)
    }
}

impl Stream for QueryStream {
    type Item = Result<RecordBatch, QueryError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let next = if self.more { Some(Err(self.too_many())) } else { ready!(self.poll_batch(context)) };
        let next = next.map(|batch| batch.and_then(|batch| self.within_limit(batch)));
        Poll::Ready(match next {
            None => {
                self.end();
                None
            }
            Some(batch) => Some(batch.map_err(|error| self.fail(error))),
        })
    }
}

impl Drop for QueryStream {
    fn drop(&mut self) {
        self.running.end();
    }
}

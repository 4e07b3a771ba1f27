//! The main loop: poll, take rows, start commits.
//!
//! Each table has at most one commit in commit; different tables commit concurrently. Polling pauses while twice
//! `flush_size` are buffered: backpressure on the log. A poll is never dropped before it ends: it may have messages.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use kerntrail_common::backoff::Backoff;
use kerntrail_common::error::chain;
use kerntrail_lake::{LakeError, Progress};
use kerntrail_schemas::Table;
use kerntrail_transport::{
    Codec, Consumer, Delivered, Group, LogError, Message, Newer, Partition, Polled, Position, ReaderHolds,
};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::error::PipelineError;
use crate::flush::{Buffers, FinishedCommit, RunningCommit};
use crate::late;
use crate::metrics::{
    CONFLICTS_TOTAL, EVENTS_IN_TOTAL, EVENTS_OUT_TOTAL, MESSAGES_MISSING_TOTAL, MESSAGES_RESENT_TOTAL,
};
use crate::pipeline::{GROUP, Pipeline};
use crate::progress::{MessageVerdict, Tracker};
use crate::quarantine::{Quarantine, Rejection};
use crate::take;

/// Messages of one poll, each at most 1 MiB.
const MOST_POLLED: usize = 128;
/// Longest wait of one poll: also how late a cancel or a finished commit can be noticed.
const LONGEST_POLL: Duration = Duration::from_millis(100);
/// Bounds of the first and of any wait after a failure of the log or the lake.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// How often, and after which wait, the end offset of a log is queried again when it seems to precede the progress in
/// the lake: a new leader may lag.
const END_ATTEMPTS: usize = 10;
const END_AGAIN: Duration = Duration::from_millis(100);
/// Interval at which streams whose progress has expired in the lake are removed.
const FORGET_EVERY: Duration = Duration::from_secs(3600);

pub(crate) async fn run(pipeline: &Pipeline, cancel: &CancellationToken) -> Result<(), PipelineError> {
    pipeline.topics().iter().for_each(|topic| crate::metrics::begin(topic.table));
    let mut backoff = retry();
    let consumer = loop {
        match pipeline.log.subscribe(&Group(GROUP.to_owned()), &pipeline.topics()).await {
            Ok(consumer) => break consumer,
            // Nothing was read, so nothing is held.
            Err(_) if cancel.is_cancelled() => return Ok(()),
            Err(error) => wait_out(error, &mut backoff, cancel).await?,
        }
    };
    let mut run = Run {
        pipeline,
        consumer,
        tracker: Tracker::default(),
        buffers: Buffers::default(),
        commits: JoinSet::new(),
        committing: HashMap::new(),
        forgot: HashMap::new(),
        quarantine: Quarantine::new(pipeline.config.rejected_dir.clone(), pipeline.lake.clone()),
        holds: pipeline.holds.of(GROUP),
        cancel,
    };
    run.until_cancelled().await?;
    run.finish().await
}

/// Waits before the log is polled again, or returns the error if it is permanent.
async fn wait_out(error: LogError, backoff: &mut Backoff, cancel: &CancellationToken) -> Result<(), PipelineError> {
    match error {
        LogError::Failed { retriable: true, .. } if !cancel.is_cancelled() => {
            warn!(error = chain(&error), "the event log failed; retrying");
            rest(backoff, cancel).await;
            Ok(())
        }
        error => Err(PipelineError::Log(error)),
    }
}

fn retry() -> Backoff {
    Backoff::new(RETRY.0, RETRY.1)
}

/// Waits after one more failure, or until the pipeline is cancelled.
async fn rest(backoff: &mut Backoff, cancel: &CancellationToken) {
    tokio::select! {
        () = tokio::time::sleep(backoff.after_failure()) => {}
        () = cancel.cancelled() => {}
    }
}

/// What the lake has of `partition`. A store or a log that fails for a while is waited for.
async fn recorded(
    pipeline: &Pipeline,
    partition: &Partition,
    cancel: &CancellationToken,
) -> Result<Progress, PipelineError> {
    let mut backoff = retry();
    let mut replaced = 0;
    loop {
        let recorded = match ask_lake(pipeline, partition).await {
            Ok(recorded) => recorded,
            Err(error @ LakeError::Store { .. }) if !cancel.is_cancelled() => {
                warn!(%partition, error = chain(&error), "the lake failed; retrying");
                rest(&mut backoff, cancel).await;
                continue;
            }
            Err(source) => return Err(PipelineError::Lake { table: partition.topic.table.name(), source }),
        };
        let end = match pipeline.log.end(&partition.topic).await {
            Ok(ends) => ends.iter().find(|end| end.partition == *partition).map_or(0, |end| end.next),
            Err(error) => {
                wait_out(error, &mut backoff, cancel).await?;
                continue;
            }
        };
        if recorded.next_offset <= end {
            return Ok(recorded);
        }
        replaced += 1;
        if replaced >= END_ATTEMPTS || cancel.is_cancelled() {
            let (partition, taken) = (partition.clone(), recorded.next_offset);
            return Err(PipelineError::LogReplaced { partition, end, taken });
        }
        tokio::time::sleep(END_AGAIN).await;
    }
}

async fn ask_lake(pipeline: &Pipeline, partition: &Partition) -> Result<Progress, LakeError> {
    let name = partition.to_string();
    Ok(match pipeline.lake.existing(partition.topic.table).await? {
        Some(lake) => lake.progress(&name)?,
        None => Progress { partition: name, ..Progress::default() },
    })
}

/// The result of a task; a panic of the task is resumed here.
fn joined<T>(outcome: Result<T, JoinError>) -> Result<T, PipelineError> {
    outcome.map_err(|error| match error.try_into_panic() {
        Ok(reason) => std::panic::resume_unwind(reason),
        Err(_) => PipelineError::Ended,
    })
}

/// Why a message has no rows.
enum Unreadable {
    /// A newer release wrote it.
    Newer(Newer),
    /// Its bytes are not a message.
    Damaged(String),
}

fn decode(codec: &Codec, delivered: &Delivered) -> Result<RecordBatch, Unreadable> {
    let Message { headers, payload } = &delivered.message;
    codec.check_version(headers.schema_version, payload).map_err(Unreadable::Newer)?;
    take::rows(codec, delivered.partition.topic.table, headers, payload).map_err(Unreadable::Damaged)
}

struct Run<'a> {
    pipeline: &'a Pipeline,
    consumer: Box<dyn Consumer>,
    tracker: Tracker,
    buffers: Buffers,
    commits: JoinSet<FinishedCommit>,
    /// Bytes of each commit in commit.
    committing: HashMap<Table, usize>,
    /// When streams of a table were last forgotten.
    forgot: HashMap<Table, Instant>,
    quarantine: Quarantine,
    holds: ReaderHolds,
    cancel: &'a CancellationToken,
}

impl Run<'_> {
    async fn until_cancelled(&mut self) -> Result<(), PipelineError> {
        let mut backoff = retry();
        while !self.cancel.is_cancelled() {
            while let Some(finished) = self.commits.try_join_next() {
                self.settle(finished).await?;
            }
            self.holds.remind();
            self.cut_what_is_due();
            if self.is_full() {
                if let Some(finished) = self.commits.join_next().await {
                    self.settle(finished).await?;
                }
                continue;
            }
            let patience = self.patience();
            match self.consumer.poll(MOST_POLLED, patience).await {
                Ok(Polled::Messages(messages)) => self.take(messages).await?,
                Ok(Polled::Assigned(partitions)) => match self.assign(partitions).await {
                    // Messages not yet taken stay in the log; buffered rows are committed.
                    Err(_) if self.cancel.is_cancelled() => break,
                    assigned => assigned?,
                },
                Ok(Polled::Revoked(partitions)) => self.revoke(&partitions),
                Err(LogError::Damaged { partition, offset, reason }) => {
                    self.reject(Rejection { partition, offset, message: None, reason }).await?;
                }
                Err(LogError::Newer { partition, offset, newer }) => {
                    self.hold(Position { partition, next: offset }, newer).await;
                }
                Err(_) if self.cancel.is_cancelled() => break,
                Err(error) => {
                    wait_out(error, &mut backoff, self.cancel).await?;
                    continue;
                }
            }
            backoff.reset();
        }
        Ok(())
    }

    /// Commits all buffered rows.
    async fn finish(mut self) -> Result<(), PipelineError> {
        loop {
            for &table in Table::ALL {
                self.cut(table);
            }
            match self.commits.join_next().await {
                Some(finished) => self.settle(finished).await?,
                None => return Ok(()),
            }
        }
    }

    /// Whether the buffers are full, so that reading pauses until a commit ends.
    fn is_full(&self) -> bool {
        let held = self.buffers.bytes() + self.committing.values().sum::<usize>();
        held >= 2 * self.pipeline.config.flush_size.bytes() && !self.commits.is_empty()
    }

    fn is_draining(&self) -> bool {
        self.pipeline.draining.load(std::sync::atomic::Ordering::SeqCst) > 0
    }

    /// How long a poll may wait.
    fn patience(&mut self) -> Duration {
        if self.is_draining() || !self.commits.is_empty() {
            return Duration::from_millis(5);
        }
        let interval = self.pipeline.config.flush_interval.0;
        let due = Table::ALL.iter().filter_map(|&table| self.buffers.of(table).since).min();
        due.map_or(LONGEST_POLL, |since| (since + interval).saturating_duration_since(Instant::now()).min(LONGEST_POLL))
    }

    fn cut_what_is_due(&mut self) {
        let config = &self.pipeline.config;
        let draining = self.is_draining();
        let largest = (self.buffers.bytes() >= config.flush_size.bytes()).then(|| self.buffers.largest()).flatten();
        for &table in Table::ALL {
            let buffer = self.buffers.of(table);
            let waited = buffer.since.is_some_and(|since| draining || since.elapsed() >= config.flush_interval.0);
            if waited || buffer.rows >= config.flush_rows || largest == Some(table) {
                self.cut(table);
            }
        }
    }

    /// Starts the commit of the buffered rows of `table`, unless one is in commit.
    fn cut(&mut self, table: Table) {
        if self.committing.contains_key(&table) {
            return;
        }
        if !self.tracker.has_news(table) {
            self.buffers.of(table).since = None;
            return;
        }
        let bytes = self.buffers.of(table).bytes;
        let rows = self.buffers.of(table).take();
        let commit = RunningCommit { table, rows, progress: self.tracker.cut(table) };
        self.committing.insert(table, bytes);
        self.commits.spawn(commit.run(self.pipeline.lake.clone(), self.cancel.clone()));
    }

    async fn settle(&mut self, finished: Result<FinishedCommit, JoinError>) -> Result<(), PipelineError> {
        let finished = joined(finished)?;
        let table = finished.table;
        self.committing.remove(&table);
        match finished.outcome {
            Ok(()) => {
                let positions = self.tracker.committed(table);
                metrics::counter!(EVENTS_OUT_TOTAL, "table" => table.name()).increment(finished.rows as u64);
                self.pipeline.wake();
                self.commit_group(&positions).await;
                self.forget_streams(table).await;
                Ok(())
            }
            // Another writer got ahead; a newer one too, then the partitions are held.
            Err(conflict @ (LakeError::Conflict { .. } | LakeError::NewerProgress { .. })) => {
                info!(%table, %conflict, "resuming from the progress in the lake");
                metrics::counter!(CONFLICTS_TOTAL, "table" => table.name()).increment(1);
                self.buffers.of(table).take();
                let partitions = self.tracker.forget(table);
                self.assign(partitions).await
            }
            Err(source) => Err(PipelineError::Lake { table: table.name(), source }),
        }
    }

    /// Removes the streams of `table` whose progress has expired in the lake, every [`FORGET_EVERY`].
    async fn forget_streams(&mut self, table: Table) {
        if self.forgot.get(&table).is_some_and(|last| last.elapsed() < FORGET_EVERY) {
            return;
        }
        self.forgot.insert(table, Instant::now());
        let Some(partition) = self.tracker.partitions(table).first().cloned() else { return };
        match ask_lake(self.pipeline, &partition).await {
            Ok(recorded) => self.tracker.keep_streams(table, &recorded.batches),
            Err(error) => warn!(%table, error = chain(&error), "cannot read from the lake which streams have expired"),
        }
    }

    /// Stores what the lake has as the group's offsets; an embedded log removes what every group has passed.
    async fn commit_group(&mut self, positions: &[Position]) {
        if let Err(error) = self.consumer.commit(positions).await {
            warn!(error = chain(&error), "cannot store the group's offsets; the lake has them");
        }
    }

    /// Resumes reading `partitions` from the progress in the lake.
    async fn assign(&mut self, partitions: Vec<Partition>) -> Result<(), PipelineError> {
        let mut taken = Vec::new();
        self.check_alone().await?;
        for partition in partitions {
            self.buffers.of(partition.topic.table).drop_rows_of(&partition);
            let recorded = match recorded(self.pipeline, &partition, self.cancel).await {
                Err(PipelineError::Lake { source: LakeError::NewerProgress { found, known, .. }, .. }) => {
                    self.hold_all_of(partition, Newer { of: "progress", version: found, known }).await;
                    continue;
                }
                recorded => recorded?,
            };
            self.holds.release(std::slice::from_ref(&partition));
            let position = self.tracker.assign(partition, recorded);
            let mut backoff = retry();
            while let Err(error) = self.consumer.seek(&position).await {
                wait_out(error, &mut backoff, self.cancel).await?;
            }
            taken.extend((position.next > 0).then_some(position));
        }
        // An earlier life may have been cut off before it could.
        if !taken.is_empty() {
            self.commit_group(&taken).await;
        }
        Ok(())
    }

    /// Errors: another pipeline stores topics of this one in another lake.
    async fn check_alone(&self) -> Result<(), PipelineError> {
        let own = &self.pipeline.config.lake_id;
        for topic in self.pipeline.topics() {
            let mut backoff = retry();
            let readers = loop {
                match self.pipeline.log.readers(&Group(GROUP.to_owned()), &topic).await {
                    Ok(readers) => break readers,
                    Err(error) => wait_out(error, &mut backoff, self.cancel).await?,
                }
            };
            if let Some(other) = readers.into_iter().find(|reader| reader != own) {
                return Err(PipelineError::OtherLake { topic, other, own: own.clone() });
            }
        }
        Ok(())
    }

    fn revoke(&mut self, partitions: &[Partition]) {
        self.holds.release(partitions);
        for partition in partitions {
            self.tracker.revoke(partition);
            self.buffers.of(partition.topic.table).drop_rows_of(partition);
        }
    }

    async fn take(&mut self, messages: Vec<Delivered>) -> Result<(), PipelineError> {
        let wanted =
            messages.into_iter().filter(|message| self.judge(message) != MessageVerdict::Stray).collect::<Vec<_>>();
        if wanted.is_empty() {
            return Ok(());
        }
        let codec = self.pipeline.codec.clone();
        let decoded = tokio::task::spawn_blocking(move || {
            wanted.into_iter().map(|message| (decode(&codec, &message), message)).collect::<Vec<_>>()
        });
        let mut rejected = Vec::new();
        // In order: a message may be a duplicate of the one before it, or be held with it.
        for (rows, message) in joined(decoded.await)? {
            match (self.judge_rows(&message, rows.as_ref().ok()).await?, rows) {
                (MessageVerdict::Stray, _) => {}
                (MessageVerdict::Known, _) => self.skip_known(&message),
                (MessageVerdict::Take, Ok(rows)) => self.take_rows(rows, &message),
                (MessageVerdict::Take, Err(Unreadable::Newer(newer))) => {
                    self.hold(Position { partition: message.partition, next: message.offset }, newer).await;
                }
                (MessageVerdict::Take, Err(Unreadable::Damaged(reason))) => {
                    self.skip(&message);
                    rejected.push(Rejection::of(&message, reason));
                }
            }
        }
        // Counted before the next cut, so that they are counted before the offsets after them are committed.
        if rejected.is_empty() { Ok(()) } else { self.quarantine.keep(&rejected).await }
    }

    fn judge(&self, message: &Delivered) -> MessageVerdict {
        let headers = &message.message.headers;
        self.tracker.judge(&message.partition, message.offset, headers.stream.as_str(), headers.batch)
    }

    /// Like [`Run::judge`], but also recognizes a message by its rows: see [`late`].
    async fn judge_rows(
        &self,
        message: &Delivered,
        rows: Option<&RecordBatch>,
    ) -> Result<MessageVerdict, PipelineError> {
        let (verdict, stream) = (self.judge(message), &message.message.headers.stream);
        let Some(rows) = rows else { return Ok(verdict) };
        if verdict != MessageVerdict::Take || self.tracker.has_stream(&message.partition, stream.as_str()) {
            return Ok(verdict);
        }
        let (table, mut backoff) = (message.partition.topic.table, retry());
        loop {
            match late::is_held(&self.pipeline.lake, table, stream, rows).await {
                Ok(false) => return Ok(MessageVerdict::Take),
                Ok(true) => {
                    warn!(%table, %stream, offset = message.offset, "dropped a late resend of a message that is in the lake");
                    return Ok(MessageVerdict::Known);
                }
                Err(error @ LakeError::Store { .. }) if !self.cancel.is_cancelled() => {
                    warn!(%table, error = chain(&error), "the lake failed; retrying");
                    rest(&mut backoff, self.cancel).await;
                }
                Err(source) => return Err(PipelineError::Lake { table: table.name(), source }),
            }
        }
    }

    fn take_rows(&mut self, rows: RecordBatch, message: &Delivered) {
        let headers = &message.message.headers;
        let table = message.partition.topic.table;
        metrics::counter!(EVENTS_IN_TOTAL, "table" => table.name()).increment(rows.num_rows() as u64);
        self.buffers.of(table).push(&message.partition, rows);
        let missing = self.tracker.take(&message.partition, message.offset, headers.stream.as_str(), headers.batch);
        self.note(message, missing);
    }

    fn skip_known(&mut self, message: &Delivered) {
        let table = message.partition.topic.table;
        metrics::counter!(MESSAGES_RESENT_TOTAL, "table" => table.name()).increment(1);
        self.skip(message);
    }

    fn skip(&mut self, message: &Delivered) {
        let missing = self.tracker.skip(&message.partition, message.offset);
        self.note(message, missing);
    }

    /// Notes that a message was taken or skipped, before which the log left out `missing`.
    fn note(&mut self, message: &Delivered, missing: i64) {
        let table = message.partition.topic.table;
        self.note_news(table);
        if missing > 0 {
            warn!(partition = %message.partition, before = message.offset, missing, "the log no longer has these messages");
            metrics::counter!(MESSAGES_MISSING_TOTAL, "table" => table.name()).increment(missing as u64);
        }
    }

    /// Stops before a message that a newer release wrote; the other partitions continue.
    async fn hold(&mut self, position: Position, newer: Newer) {
        self.tracker.hold(&position.partition);
        self.holds.hold(&position, newer);
        self.pipeline.wake();
        // Messages of it that still arrive are dropped.
        if let Err(error) = self.consumer.pause(&position.partition).await {
            warn!(partition = %position.partition, error = chain(&error), "cannot pause a partition");
        }
    }

    /// Takes nothing of `partition`: a newer release recorded how far the lake has taken it, in a form not known here.
    async fn hold_all_of(&mut self, partition: Partition, newer: Newer) {
        // For the message of the hold only; nothing is read from there.
        let committed = self.pipeline.log.committed(&Group(GROUP.to_owned()), &partition.topic).await;
        let committed = committed.unwrap_or_default().into_iter().find(|position| position.partition == partition);
        let next = committed.map_or(0, |position| position.next);
        let recorded = Progress { partition: partition.to_string(), next_offset: next, ..Progress::default() };
        let position = self.tracker.assign(partition, recorded);
        self.hold(position, newer).await;
    }

    /// Rejects a message whose headers cannot be read, and continues after it.
    async fn reject(&mut self, rejection: Rejection) -> Result<(), PipelineError> {
        if self.holds.holds(&rejection.partition) {
            return Ok(());
        }
        let position = Position { partition: rejection.partition.clone(), next: rejection.offset + 1 };
        self.quarantine.keep(&[rejection]).await?;
        self.tracker.skip(&position.partition, position.next - 1);
        self.note_news(position.partition.topic.table);
        self.consumer.seek(&position).await.map_err(PipelineError::Log)
    }

    fn note_news(&mut self, table: Table) {
        self.buffers.of(table).since.get_or_insert_with(Instant::now);
    }
}

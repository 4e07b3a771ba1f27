//! Reads the event log as a member of the sink's consumer group, and commits what is settled.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use kerntrail_common::backoff::Backoff;
use kerntrail_common::error::chain;
use kerntrail_schemas::Table;
use kerntrail_transport::{
    Codec, Consumer, Delivered, EventLog, Group, Headers, Holds, LogError, Message, Newer, Partition, Polled, Position,
    ReaderHolds, Topic,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::delivered_batches::{DeliveredBatches, TopicOffsets};
use super::gaps::OffsetGaps;
use super::in_flight::{Done, InFlight};
use super::row_progress::{MessageKey, RowProgress};
use crate::config::Settings;
use crate::destination::Destination;
use crate::metrics;

/// Longest wait of one poll while no message is in flight.
const IDLE: Duration = Duration::from_millis(500);
/// Time between two measurements of the lag.
const LAG_INTERVAL: Duration = Duration::from_secs(5);
/// Maximum messages of one poll; each has at most 1 MiB.
const MESSAGES: usize = 16;

/// What is read, and as which consumer group.
#[derive(Clone, Copy)]
pub(super) struct LogSource<'a> {
    pub(super) settings: &'a Settings,
    pub(super) log: &'a dyn EventLog,
    pub(super) topics: &'a [Topic],
    pub(super) group: &'a Group,
    pub(super) codec: &'a Codec,
    pub(super) holds: &'a Holds,
}

/// A member of the sink's consumer group.
pub(super) struct Reader<'a> {
    source: LogSource<'a>,
    consumer: Box<dyn Consumer>,
    /// Polled messages that do not fit into the current round of requests.
    polled: VecDeque<Delivered>,
    batches: DeliveredBatches,
    /// Rows that are settled of messages that are not.
    rows: RowProgress,
    gaps: OffsetGaps,
    /// Partitions whose next message a newer release wrote.
    held: ReaderHolds,
}

impl<'a> Reader<'a> {
    /// Joins the group; `None` when cancelled before.
    ///
    /// Errors: the event log failed permanently.
    pub(super) async fn join(
        source: LogSource<'a>,
        dlq_dir: &Path,
        cancel: &CancellationToken,
    ) -> Result<Option<Self>, LogError> {
        let mut backoff = source.backoff();
        while !cancel.is_cancelled() {
            match source.join(dlq_dir).await {
                Ok((consumer, batches)) => {
                    let (polled, gaps, held) =
                        (VecDeque::new(), OffsetGaps::default(), source.holds.of(source.group.0.as_str()));
                    let rows = RowProgress::open(dlq_dir, &source.settings.name);
                    return Ok(Some(Self { source, consumer, polled, batches, rows, gaps, held }));
                }
                Err(error) => source.wait_after(error, &mut backoff, cancel).await?,
            }
        }
        Ok(None)
    }

    /// Reads messages until there are enough, the first has waited for `batch_wait_ms`, or `cancel`.
    ///
    /// Errors: the event log failed permanently.
    pub(super) async fn take(
        &mut self,
        destination: &'a dyn Destination,
        cancel: &CancellationToken,
    ) -> Result<InFlight<'a>, LogError> {
        let settings = self.source.settings;
        let mut in_flight = InFlight::new(settings, destination, self.source.codec);
        let mut backoff = self.source.backoff();
        let mut end: Option<Instant> = None;
        loop {
            self.held.remind();
            self.fill(&mut in_flight).await;
            if !in_flight.is_empty() {
                end.get_or_insert_with(|| Instant::now() + settings.delivery.batch_wait());
            }
            let wait = end.map_or(IDLE, |end| end.saturating_duration_since(Instant::now()));
            if in_flight.is_full() || wait.is_zero() {
                return Ok(in_flight);
            }
            let poll = tokio::select! {
                biased;
                () = cancel.cancelled() => return Ok(in_flight),
                poll = self.consumer.poll(MESSAGES, wait) => poll,
            };
            match poll {
                Ok(Polled::Messages(messages)) if messages.is_empty() && end.is_none() => return Ok(in_flight),
                Ok(Polled::Messages(messages)) => self.polled.extend(messages),
                Ok(Polled::Assigned(partitions)) => self.begin(&partitions).await,
                Ok(Polled::Revoked(partitions)) => self.give_up(&partitions, &mut in_flight),
                Err(LogError::Damaged { partition, offset, reason }) => {
                    if !self.held.holds(&partition) {
                        self.count_gap(&partition, offset);
                        in_flight.skip(partition, offset, &reason);
                    }
                }
                Err(LogError::Newer { partition, offset, newer }) => {
                    self.hold(Position { partition, next: offset }, newer).await;
                }
                Err(error) => self.source.wait_after(error, &mut backoff, cancel).await?,
            }
        }
    }

    /// Moves polled messages into `in_flight` while there is room.
    async fn fill(&mut self, in_flight: &mut InFlight<'_>) {
        while !in_flight.is_full()
            && let Some(message) = self.polled.pop_front()
        {
            if self.held.holds(&message.partition) {
                continue;
            }
            let Message { headers, payload } = &message.message;
            if let Err(newer) = self.source.codec.check_version(headers.schema_version, payload) {
                self.hold(Position { partition: message.partition, next: message.offset }, newer).await;
                continue;
            }
            self.count_gap(&message.partition, message.offset);
            let is_new = self.batches.take(message.partition.topic.table, headers);
            in_flight.add(message, is_new, &self.rows);
        }
    }

    /// Stops before a message that a newer release wrote; the other partitions continue.
    async fn hold(&mut self, position: Position, newer: Newer) {
        self.held.hold(&position, newer);
        // Messages of it that are still polled are dropped.
        if let Err(error) = self.consumer.pause(&position.partition).await {
            let (sink, partition) = (&self.source.settings.name, &position.partition);
            tracing::warn!(sink, %partition, error = chain(&error), "cannot pause a partition");
        }
    }

    fn count_gap(&mut self, partition: &Partition, offset: i64) {
        let missing = self.gaps.before(partition, offset);
        if missing > 0 {
            let sink = &self.source.settings.name;
            tracing::error!(sink, %partition, offset, missing, "the event log has removed messages that the sink had not read");
            self.source.counter(metrics::MESSAGES_EXPIRED, partition.topic.table).increment(missing as u64);
        }
    }

    async fn begin(&mut self, partitions: &[Partition]) {
        let mut committed = Vec::new();
        for topic in self.source.topics {
            // Without an answer, a gap before the first message is not noticed.
            committed.extend(self.source.log.committed(self.source.group, topic).await.unwrap_or_default());
        }
        self.gaps.begin(partitions, &committed);
        self.held.release(partitions);
    }

    /// Another member reads `partitions` now, from the committed position.
    fn give_up(&mut self, partitions: &[Partition], in_flight: &mut InFlight<'_>) {
        self.held.release(partitions);
        self.polled.retain(|message| !partitions.contains(&message.partition));
        in_flight.revoke(partitions);
        self.batches.forget_uncommitted();
    }

    /// What is noted of rows, to be changed while their messages are delivered.
    pub(super) fn rows(&mut self) -> &mut RowProgress {
        &mut self.rows
    }

    /// Commits what is settled.
    ///
    /// After a failure the messages are read again and recognized by their batch numbers. While a destination is down
    /// for long, a broker may assign the partitions to another member.
    pub(super) async fn commit(&mut self, done: &Done<'_>) {
        if done.positions.is_empty() {
            return;
        }
        self.batches.commit(&done.messages);
        let key = |(partition, offset, headers): &(&Partition, i64, Option<&Headers>)| {
            headers.map(|headers| MessageKey::new(partition, *offset, headers))
        };
        self.rows.commit(done.messages.iter().filter_map(key).collect::<Vec<_>>().iter());
        if let Err(error) = self.consumer.commit(&done.positions).await {
            tracing::warn!(sink = self.source.settings.name, error = chain(&error), "cannot commit offsets");
        }
    }
}

impl LogSource<'_> {
    /// Publishes the lag at intervals, also while the destination accepts nothing.
    pub(super) async fn watch_lag(self) -> Infallible {
        let (mut done, mut since) = (0, Instant::now());
        loop {
            let (behind, committed) = self.measure_lag().await;
            if behind == 0 || committed != done {
                (done, since) = (committed, Instant::now());
            }
            let seconds = if behind == 0 { 0.0 } else { since.elapsed().as_secs_f64() };
            ::metrics::gauge!(metrics::LAG_SECONDS, "sink" => self.settings.name.clone()).set(seconds);
            tokio::time::sleep(LAG_INTERVAL).await;
        }
    }

    /// Number of messages in the log that are not committed, and the sum of the committed offsets.
    async fn measure_lag(&self) -> (i64, i64) {
        let (mut all, mut done) = (0, 0);
        for topic in self.topics {
            let ends = self.log.end(topic).await;
            let oldest = self.log.oldest(topic).await;
            let committed = self.log.committed(self.group, topic).await;
            let (Ok(ends), Ok(oldest), Ok(committed)) = (ends, oldest, committed) else { continue };
            let behind = |end: &Position| {
                let begun = committed.iter().chain(&oldest).filter(|position| position.partition == end.partition);
                (end.next - begun.map(|position| position.next).max().unwrap_or(0)).max(0)
            };
            let lag: i64 = ends.iter().map(behind).sum();
            self.gauge(metrics::LAG_MESSAGES, topic.table).set(lag as f64);
            all += lag;
            done += committed.iter().map(|position| position.next).sum::<i64>();
        }
        (all, done)
    }

    async fn join(&self, dlq_dir: &Path) -> Result<(Box<dyn Consumer>, DeliveredBatches), LogError> {
        let mut offsets = BTreeMap::new();
        for topic in self.topics {
            let has_committed = !self.log.committed(self.group, topic).await?.is_empty();
            offsets.insert(topic.table, TopicOffsets { has_committed, ends: self.log.end(topic).await? });
        }
        let batches = DeliveredBatches::open(dlq_dir, &self.settings.name, &offsets);
        Ok((self.log.subscribe(self.group, self.topics).await?, batches))
    }

    /// Waits after a transient error of the event log.
    ///
    /// Errors: any other error.
    async fn wait_after(
        &self,
        error: LogError,
        backoff: &mut Backoff,
        cancel: &CancellationToken,
    ) -> Result<(), LogError> {
        if !matches!(error, LogError::Failed { retriable: true, .. }) {
            return Err(error);
        }
        tracing::warn!(sink = self.settings.name, error = chain(&error), "the event log failed; retrying");
        let time = backoff.after_failure();
        tokio::select! {
            () = cancel.cancelled() => {}
            () = tokio::time::sleep(time) => {}
        }
        Ok(())
    }

    fn backoff(&self) -> Backoff {
        self.settings.delivery.backoff()
    }

    fn counter(&self, metric: &'static str, table: Table) -> ::metrics::Counter {
        ::metrics::counter!(metric, "sink" => self.settings.name.clone(), "table" => table.name())
    }

    fn gauge(&self, metric: &'static str, table: Table) -> ::metrics::Gauge {
        ::metrics::gauge!(metric, "sink" => self.settings.name.clone(), "table" => table.name())
    }
}

//! An event log with a spool on disk in front of it: appended messages are durable immediately, and are forwarded when
//! the log accepts them.
//!
//! Life of a message: it is appended to the spool (one fsync), and `append` returns; one task forwards it, in order,
//! with its original batch number; once the log has acknowledged it, the spool's offset is committed and the message is
//! removed. After a crash in between it is sent again, and consumers drop a batch number that they already have.
//!
//! Invariant: a message leaves the spool only once the log has acknowledged it. A record of a newer version stays, and
//! holds its topic, until a release knows it; messages of a newer schema are forwarded, since they are not decoded here.
//! Invariant: at the spool's bound `append` returns [`LogError::Full`]; nothing is dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kerntrail_common::backoff::Backoff;
use kerntrail_common::error::chain;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::embedded::{EmbeddedLog, EmbeddedOptions, OpenError};
use crate::holds::{Holds, ReaderHolds};
use crate::log::{Consumer, EventLog, Group, LogError, Message, Partition, Polled, Position, Topic};
use crate::metrics::SPOOL_LAG_MESSAGES;
use crate::newer::Newer;
use crate::patience::append_patiently;

/// Messages forwarded in one batch.
const MOST_SENT: usize = 512;
/// How long one poll of the spool waits; it is woken sooner.
const LONGEST_POLL: Duration = Duration::from_secs(5);
/// Name of the task that sends, among those who hold messages.
const READER: &str = "spool";
/// Bounds of the first and of any wait after a failure to send.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// The spool's folder and size limit.
#[derive(Clone, Debug)]
pub struct SpoolOptions {
    /// Folder of the spool.
    pub dir: PathBuf,
    /// Bytes of messages that wait at most; beyond, `append` returns [`LogError::Full`].
    pub max_bytes: u64,
    /// Topics that are appended to. Others are refused.
    pub topics: Vec<Topic>,
    /// Where topics are noted that wait for an upgrade.
    pub holds: Holds,
}

/// A log with a spool in front of it. Only appends go through the spool; reads go to the log directly.
pub struct Spooled {
    spool: EmbeddedLog,
    behind: Arc<dyn EventLog>,
    topics: Vec<Topic>,
    holds: Holds,
    forwarder: JoinHandle<()>,
    /// Rises when messages were acknowledged.
    progress: watch::Receiver<u64>,
}

impl Spooled {
    /// Opens the spool and starts to send on what it holds.
    ///
    /// Errors: the spool cannot be opened, or its task cannot subscribe to it.
    pub async fn start(options: SpoolOptions, behind: Arc<dyn EventLog>) -> Result<Self, SpoolError> {
        let embedded = EmbeddedOptions { max_bytes: options.max_bytes, ..EmbeddedOptions::default() };
        let spool = EmbeddedLog::open(options.dir, embedded).await?;
        let consumer = spool.subscribe(&forwarder(), &options.topics).await?;
        let (moved, progress) = watch::channel(0);
        let (holds, all) = (options.holds.of(READER), options.holds);
        let task = Forwarder { consumer, spool: spool.clone(), behind: Arc::clone(&behind), moved, holds };
        let forwarder = tokio::spawn(task.run());
        Ok(Self { spool, behind, topics: options.topics, holds: all, forwarder, progress })
    }

    /// Messages that the log has not acknowledged.
    ///
    /// Errors: the spool fails.
    pub async fn waiting(&self) -> Result<u64, LogError> {
        waiting(&self.spool, &self.topics).await
    }

    /// Returns once the log behind has all that was appended; for an orderly end, and for tests.
    ///
    /// Errors: the spool fails, or holds a message of a newer release.
    pub async fn flush(&self) -> Result<(), LogError> {
        let mut progress = self.progress.clone();
        loop {
            progress.mark_unchanged();
            if self.waiting().await? == 0 {
                return Ok(());
            }
            if let Some((position, newer)) = self.held() {
                let Position { partition, next: offset } = position;
                return Err(LogError::Newer { partition, offset, newer });
            }
            if progress.changed().await.is_err() {
                let source = "the task that sends has ended".into();
                return Err(LogError::Failed { operation: "send spooled messages".into(), source, retriable: false });
            }
        }
    }
}

impl Spooled {
    /// A message in the spool that waits for an upgrade.
    fn held(&self) -> Option<(Position, Newer)> {
        let mut held = self.holds.all().into_iter().filter(|hold| hold.reader == READER);
        held.find_map(|hold| Some((hold.position()?, hold.newer)))
    }

    /// Ends the task that sends. What is still spooled stays there for the next start.
    pub async fn stop(mut self) {
        self.forwarder.abort();
        // Cancelled, which is what was asked for.
        let _ = (&mut self.forwarder).await;
    }
}

impl Drop for Spooled {
    fn drop(&mut self) {
        self.forwarder.abort();
    }
}

/// Why the spool cannot start.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// It cannot be opened.
    #[error("cannot open the spool")]
    Open(#[from] OpenError),
    /// Its task cannot read it.
    #[error("cannot read the spool")]
    Read(#[from] LogError),
}

fn forwarder() -> Group {
    Group("forwarder".to_owned())
}

async fn waiting(spool: &EmbeddedLog, topics: &[Topic]) -> Result<u64, LogError> {
    let mut total = 0;
    for topic in topics {
        let ends = spool.end(topic).await?;
        let committed = spool.committed(&forwarder(), topic).await?;
        for end in ends {
            let read = committed.iter().find(|position| position.partition == end.partition);
            total += end.next.saturating_sub(read.map_or(0, |position| position.next)).max(0) as u64;
        }
    }
    Ok(total)
}

struct Forwarder {
    consumer: Box<dyn Consumer>,
    spool: EmbeddedLog,
    behind: Arc<dyn EventLog>,
    moved: watch::Sender<u64>,
    holds: ReaderHolds,
}

impl Forwarder {
    async fn run(mut self) {
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        loop {
            self.holds.remind();
            match self.send_some().await {
                Ok(()) => backoff.reset(),
                Err(error) => {
                    // The messages stay in the spool, which reports when it is full: nothing is skipped.
                    tracing::error!(error = chain(&error), "cannot send spooled messages; retrying");
                    tokio::time::sleep(backoff.after_failure()).await;
                }
            }
        }
    }

    async fn send_some(&mut self) -> Result<(), LogError> {
        let messages = match self.consumer.poll(MOST_SENT, LONGEST_POLL).await {
            Ok(Polled::Messages(messages)) => messages,
            Ok(Polled::Assigned(_) | Polled::Revoked(_)) => return Ok(()),
            Err(LogError::Damaged { partition, offset, reason }) => {
                tracing::error!(%partition, offset, reason, "skipped a damaged message in the spool");
                return self.done(Position { partition, next: offset + 1 }).await;
            }
            Err(LogError::Newer { partition, offset, newer }) => {
                self.holds.hold(&Position { partition, next: offset }, newer);
                self.moved.send_modify(|count| *count += 1);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let mut parts: BTreeMap<Partition, (Vec<Message>, [i64; 2])> = BTreeMap::new();
        for delivered in messages {
            let offset = delivered.offset;
            let (batch, span) = parts.entry(delivered.partition).or_insert_with(|| (Vec::new(), [offset; 2]));
            batch.push(delivered.message);
            span[1] = offset + 1;
        }
        let mut failure = None;
        for (partition, (batch, [first, next])) in parts {
            let sent = match &failure {
                None => append_patiently(self.behind.as_ref(), &partition.topic, batch).await,
                Some(_) => Ok(()),
            };
            match (sent, &failure) {
                (Ok(()), None) => self.done(Position { partition, next }).await?,
                (sent, _) => {
                    // Read again what was not sent.
                    self.consumer.seek(&Position { partition, next: first }).await?;
                    failure = failure.or(sent.err());
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }

    async fn done(&mut self, position: Position) -> Result<(), LogError> {
        self.consumer.commit(std::slice::from_ref(&position)).await?;
        let topic = position.partition.topic;
        let left = waiting(&self.spool, std::slice::from_ref(&topic)).await?;
        metrics::gauge!(SPOOL_LAG_MESSAGES, "table" => topic.table.name()).set(left as f64);
        self.moved.send_modify(|count| *count += 1);
        Ok(())
    }
}

#[async_trait]
impl EventLog for Spooled {
    async fn append(&self, topic: &Topic, messages: Vec<Message>) -> Result<(), LogError> {
        if !self.topics.contains(topic) {
            let source = "the spool does not send this topic on".into();
            return Err(LogError::Failed { operation: format!("append to {topic}"), source, retriable: false });
        }
        self.spool.append(topic, messages).await
    }

    async fn subscribe(&self, group: &Group, topics: &[Topic]) -> Result<Box<dyn Consumer>, LogError> {
        self.behind.subscribe(group, topics).await
    }

    async fn end(&self, topic: &Topic) -> Result<Vec<Position>, LogError> {
        self.behind.end(topic).await
    }

    async fn oldest(&self, topic: &Topic) -> Result<Vec<Position>, LogError> {
        self.behind.oldest(topic).await
    }

    async fn readers(&self, group: &Group, topic: &Topic) -> Result<BTreeSet<String>, LogError> {
        self.behind.readers(group, topic).await
    }

    async fn committed(&self, group: &Group, topic: &Topic) -> Result<Vec<Position>, LogError> {
        self.behind.committed(group, topic).await
    }
}

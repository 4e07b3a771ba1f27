//! Sets undecodable messages aside, as files ([`crate::rejected`]), and counts them in rows of `event_loss`.
//!
//! The row is committed before the message's offset, under its own application id, so it is stored once however often
//! the message is read again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kerntrail_common::backoff::Backoff;
use kerntrail_common::error::chain;
use kerntrail_lake::{Lake, LakeError, Progress};
use kerntrail_schemas::cell::Micros;
use kerntrail_schemas::identity::StreamId;
use kerntrail_schemas::tables::event_loss::DECODE_ERROR;
use kerntrail_schemas::tables::{Envelope, LossColumns};
use kerntrail_schemas::{Table, TableBuilder};
use kerntrail_transport::{Delivered, Message, Partition};
use tracing::{error, warn};

use crate::error::PipelineError;
use crate::metrics::{EVENTS_LOST_TOTAL, MESSAGES_REJECTED_TOTAL, REJECTED_KEPT};
use crate::rejected::{Folder, MOST_BYTES, MOST_KEPT, RejectedMessage};
use crate::take::stamp;

/// Bounds of the first and of any wait before a commit is tried again when the store fails.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// Attempts to commit when the store fails: two minutes on average.
const ATTEMPTS: usize = 33;

/// A message that is rejected.
#[derive(Debug)]
pub(crate) struct Rejection {
    pub(crate) partition: Partition,
    pub(crate) offset: i64,
    /// Its headers and payload, where at least those are known.
    pub(crate) message: Option<Message>,
    pub(crate) reason: String,
}

impl Rejection {
    pub(crate) fn of(delivered: &Delivered, reason: String) -> Self {
        Self {
            partition: delivered.partition.clone(),
            offset: delivered.offset,
            message: Some(delivered.message.clone()),
            reason,
        }
    }

    /// What is kept of it.
    fn described(&self) -> RejectedMessage {
        let Partition { topic, number } = &self.partition;
        RejectedMessage {
            id: format!("{topic}-{number}-{}", self.offset),
            topic: topic.to_string(),
            partition: *number,
            offset: self.offset,
            rejected: crate::rejected::now(),
            reason: self.reason.clone(),
            headers: self.message.as_ref().map(|message| message.headers.clone()),
            bytes: self.payload().len() as u64,
        }
    }

    fn payload(&self) -> &[u8] {
        self.message.as_ref().map_or(&[][..], |message| &message.payload)
    }

    fn app_id(&self) -> String {
        format!("rejected/{}", self.partition)
    }

    fn envelope(&self, now: i64) -> Envelope {
        let node = self.message.as_ref().map(|message| message.headers.node.clone());
        Envelope {
            date: Some(Micros(now).day()),
            time: Some(Micros(now)),
            node,
            source: Some("kerntrail"),
            stream: Some(StreamId::new(format!("pipeline:{}", self.partition))),
            cpu: Some(0),
            seq: Some(self.offset),
            activity: Some(DECODE_ERROR.name.into()),
            action: Some("observed"),
            count: Some(1),
            ..Envelope::default()
        }
    }

    fn loss(&self) -> LossColumns {
        let headers = self.message.as_ref().map(|message| &message.headers);
        LossColumns {
            from_seq: headers.map(|headers| headers.seq_range.0),
            to_seq: headers.map(|headers| headers.seq_range.1),
            lost: headers.map(|headers| i64::from(headers.rows)),
            event_kind: Some(self.partition.topic.table.name().to_owned()),
            ..LossColumns::default()
        }
    }
}

/// Keeps messages that are rejected.
pub(crate) struct Quarantine {
    folder: Folder,
    lake: Arc<Lake>,
    /// Messages and bytes in the folder, as counted last; others remove messages, only this process adds them.
    size: Option<(usize, u64)>,
}

impl Quarantine {
    pub(crate) fn new(folder: PathBuf, lake: Arc<Lake>) -> Self {
        Self { folder: Folder::new(&folder), lake, size: None }
    }

    /// Keeps `rejected`, in the order of their offsets within each partition. Those counted before are not counted again.
    pub(crate) async fn keep(&mut self, rejected: &[Rejection]) -> Result<(), PipelineError> {
        for rejection in rejected {
            self.keep_file(rejection)?;
        }
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        for attempt in 1.. {
            match self.count(rejected).await {
                Ok(()) => break,
                // Another pipeline counts the same partition: look again at what it has counted.
                Err(LakeError::Conflict { .. }) => {}
                Err(cause @ LakeError::Store { .. }) if attempt < ATTEMPTS => {
                    error!(error = chain(&cause), attempt, "cannot record damaged messages; retrying");
                    tokio::time::sleep(backoff.after_failure()).await;
                }
                Err(source) => return Err(PipelineError::Lake { table: Table::EventLoss.name(), source }),
            }
        }
        Ok(())
    }

    async fn count(&self, rejected: &[Rejection]) -> Result<(), LakeError> {
        let mut table = self.lake.table(Table::EventLoss).await?;
        let now = now_micros();
        let mut builder = TableBuilder::<LossColumns>::default();
        let mut progress: Vec<Progress> = Vec::new();
        let mut counted = Vec::new();
        for rejection in rejected {
            let app_id = rejection.app_id();
            let known = progress.iter().position(|seen| seen.partition == app_id);
            let next = match known {
                Some(place) => progress[place].next_offset,
                None => table.progress(&app_id)?.next_offset,
            };
            if rejection.offset < next {
                continue;
            }
            builder.append(&rejection.envelope(now), None, &rejection.loss());
            counted.push(rejection);
            match known {
                Some(place) => progress[place].next_offset = rejection.offset + 1,
                None => progress.push(Progress {
                    partition: app_id,
                    from_offset: next,
                    next_offset: rejection.offset + 1,
                    ..Progress::default()
                }),
            }
        }
        if counted.is_empty() {
            return Ok(());
        }
        let failed =
            |cause: arrow::error::ArrowError| LakeError::Refused { table: Table::EventLoss, reason: cause.to_string() };
        let rows = builder.finish().and_then(|batch| batch.flatten()).map_err(failed)?;
        let rows = stamp(Table::EventLoss, rows, now).map_err(failed)?;
        table.append(vec![rows], &progress).await?;
        for rejection in counted {
            let name = rejection.partition.topic.table.name();
            let lost = rejection.message.as_ref().map_or(0, |message| u64::from(message.headers.rows));
            metrics::counter!(MESSAGES_REJECTED_TOTAL, "table" => name).increment(1);
            metrics::counter!(EVENTS_LOST_TOTAL, "table" => name).increment(lost);
        }
        Ok(())
    }

    fn keep_file(&mut self, rejection: &Rejection) -> Result<(), PipelineError> {
        let Rejection { partition, offset, reason, .. } = rejection;
        let message = rejection.described();
        if self.folder.has(&message.id) {
            return Ok(());
        }
        let fits = |(kept, bytes): (usize, u64)| kept < MOST_KEPT && bytes + message.bytes <= MOST_BYTES;
        let mut size = match self.size {
            Some(size) if fits(size) => size,
            // Another process may have made room.
            _ => self.folder.size().map_err(PipelineError::Quarantine)?,
        };
        if fits(size) {
            warn!(%partition, offset, reason, "rejected a message: it is kept aside");
            self.folder.write(&message, rejection.payload()).map_err(PipelineError::Quarantine)?;
            size = (size.0 + 1, size.1 + message.bytes);
        } else {
            warn!(%partition, offset, reason, "rejected a message: it is not kept, since the folder is full");
        }
        self.size = Some(size);
        metrics::gauge!(REJECTED_KEPT).set(size.0 as f64);
        Ok(())
    }
}

/// Microseconds since the Unix epoch.
pub(crate) fn now_micros() -> i64 {
    chrono::Utc::now().timestamp_micros()
}

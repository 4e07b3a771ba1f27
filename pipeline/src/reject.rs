//! Messages that cannot be read: kept aside as files, counted as rows of `event_loss`.
//!
//! The row is committed before the offset of the message is, under an application id of its own, so that it is there
//! once however often the message is read again. Files: `<topic>-<partition>-<offset>.bin` holds the payload,
//! `.json` beside it the headers and the reason.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kerntrail_common::backoff::Backoff;
use kerntrail_common::durable;
use kerntrail_common::error::chain;
use kerntrail_lake::{Lake, LakeError, Progress};
use kerntrail_schemas::cell::Micros;
use kerntrail_schemas::identity::StreamId;
use kerntrail_schemas::tables::{Envelope, LossColumns};
use kerntrail_schemas::{Table, TableBuilder};
use kerntrail_transport::{Delivered, Message, Partition};
use serde_json::json;
use tracing::{error, warn};

use crate::error::PipelineError;
use crate::metrics::{EVENTS_LOST_TOTAL, MESSAGES_REJECTED_TOTAL};
use crate::take::stamp;

/// Files kept; beyond, only the row of `event_loss` tells.
const MOST_KEPT: usize = 10_000;
/// Bounds of the first and of any wait before a commit is tried again when the store fails.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// Attempts to commit when the store fails: two minutes on average.
const ATTEMPTS: usize = 33;

/// A message that cannot be read.
#[derive(Debug)]
pub(crate) struct Reject {
    pub(crate) partition: Partition,
    pub(crate) offset: i64,
    /// Its headers and payload, where at least those are known.
    pub(crate) message: Option<Message>,
    pub(crate) reason: String,
}

impl Reject {
    pub(crate) fn of(delivered: &Delivered, reason: String) -> Self {
        Self {
            partition: delivered.partition.clone(),
            offset: delivered.offset,
            message: Some(delivered.message.clone()),
            reason,
        }
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
            activity: Some("decode_error".into()),
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

/// Keeps messages that cannot be read.
pub(crate) struct Rejects {
    folder: PathBuf,
    lake: Arc<Lake>,
    kept: Option<usize>,
}

impl Rejects {
    pub(crate) fn new(folder: PathBuf, lake: Arc<Lake>) -> Self {
        Self { folder, lake, kept: None }
    }

    /// Keeps `rejects`, in the order of their offsets within each partition. Those counted before are not counted again.
    pub(crate) async fn keep(&mut self, rejects: &[Reject]) -> Result<(), PipelineError> {
        for reject in rejects {
            warn!(partition = %reject.partition, offset = reject.offset, reason = reject.reason, "damaged message set aside");
            self.keep_file(reject)?;
        }
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        for attempt in 1.. {
            match self.count(rejects).await {
                Ok(()) => break,
                // Another pipeline counts the same partition: look again at what it has counted.
                Err(LakeError::Conflict { .. }) => {}
                Err(cause @ LakeError::Store { .. }) if attempt < ATTEMPTS => {
                    error!(error = chain(&cause), attempt, "cannot count damaged messages; trying again");
                    tokio::time::sleep(backoff.after_failure()).await;
                }
                Err(source) => return Err(PipelineError::Lake { table: Table::EventLoss.name(), source }),
            }
        }
        Ok(())
    }

    async fn count(&self, rejects: &[Reject]) -> Result<(), LakeError> {
        let mut table = self.lake.table(Table::EventLoss).await?;
        let now = now_micros();
        let mut builder = TableBuilder::<LossColumns>::default();
        let mut progress: Vec<Progress> = Vec::new();
        let mut counted = Vec::new();
        for reject in rejects {
            let app_id = reject.app_id();
            let known = progress.iter().position(|seen| seen.partition == app_id);
            let next = known.map_or_else(|| table.progress(&app_id).next_offset, |place| progress[place].next_offset);
            if reject.offset < next {
                continue;
            }
            builder.append(&reject.envelope(now), None, &reject.loss());
            counted.push(reject);
            match known {
                Some(place) => progress[place].next_offset = reject.offset + 1,
                None => progress.push(Progress {
                    partition: app_id,
                    from_offset: next,
                    next_offset: reject.offset + 1,
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
        for reject in counted {
            let name = reject.partition.topic.table.name();
            let lost = reject.message.as_ref().map_or(0, |message| u64::from(message.headers.rows));
            metrics::counter!(MESSAGES_REJECTED_TOTAL, "table" => name).increment(1);
            metrics::counter!(EVENTS_LOST_TOTAL, "table" => name).increment(lost);
        }
        Ok(())
    }

    fn keep_file(&mut self, reject: &Reject) -> Result<(), PipelineError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| PipelineError::Reject { path, source }
        };
        std::fs::create_dir_all(&self.folder).map_err(failed(&self.folder))?;
        let kept = match self.kept {
            Some(kept) => kept,
            None => std::fs::read_dir(&self.folder).map_err(failed(&self.folder))?.count() / 2,
        };
        self.kept = Some(kept);
        let name = format!("{}-{}-{}", reject.partition.topic, reject.partition.number, reject.offset);
        let description = self.folder.join(format!("{name}.json"));
        if kept >= MOST_KEPT || description.exists() {
            return Ok(());
        }
        let payload = self.folder.join(format!("{name}.bin"));
        let bytes = reject.message.as_ref().map_or(&[][..], |message| &message.payload);
        durable::replace(&payload, bytes).map_err(failed(&payload))?;
        durable::replace(&description, describe(reject).to_string().as_bytes()).map_err(failed(&description))?;
        self.kept = Some(kept + 1);
        Ok(())
    }
}

fn describe(reject: &Reject) -> serde_json::Value {
    let headers = reject.message.as_ref().map(|message| {
        let headers = &message.headers;
        json!({
            "schema_version": headers.schema_version,
            "node": headers.node,
            "stream": headers.stream.as_str(),
            "batch": headers.batch,
            "rows": headers.rows,
            "seq_range": [headers.seq_range.0, headers.seq_range.1],
        })
    });
    json!({
        "topic": reject.partition.topic.to_string(),
        "partition": reject.partition.number,
        "offset": reject.offset,
        "reason": reject.reason,
        "headers": headers,
    })
}

/// Microseconds since the Unix epoch.
pub(crate) fn now_micros() -> i64 {
    chrono::Utc::now().timestamp_micros()
}

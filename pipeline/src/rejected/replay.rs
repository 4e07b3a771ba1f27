//! Replays rejected messages.

use std::path::Path;

use kerntrail_common::error::chain;
use kerntrail_common::ids::IdSelection;
use kerntrail_schemas::identity::StreamId;
use kerntrail_transport::{Codec, EventLog, Headers, Message, Topic};

use super::{Folder, RejectedError, RejectedMessage};
use crate::take;

/// Start of the streams of replayed messages.
const STREAM: &str = "rejected:";

/// What a replay did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ReplayReport {
    /// Messages appended to the event log again, and removed.
    pub replayed: usize,
    /// Messages that cannot be read yet, or whose description cannot: id and reason. They are kept.
    pub refused: Vec<(String, String)>,
    /// Messages not replayed because the event log is not accepting messages. They are kept.
    pub not_tried: usize,
    /// Why, when there are such.
    pub stopped: Option<String>,
}

/// Decodes messages of `folder` with `codec`, appends those that can be read to `log` and removes them.
///
/// A message gets its own stream, named after its original position: with its old batch number it would be dropped as
/// known; with this name, concurrent or interrupted replays of it do not duplicate its rows. The pipeline
/// looks for its rows in the lake before it takes them (see `late`): a release that could read it may have taken it.
///
/// Errors: the file system does not let files be read or removed. Those replayed before are removed.
pub async fn replay(
    folder: &Path,
    selection: &IdSelection,
    codec: &Codec,
    log: &dyn EventLog,
) -> Result<ReplayReport, RejectedError> {
    let folder = Folder::new(folder);
    let mut report = ReplayReport::default();
    for id in selection.select(folder.ids()?, String::clone) {
        if report.stopped.is_some() {
            report.not_tried += 1;
            continue;
        }
        let message = match folder.read(&id) {
            Ok(Some(message)) => message,
            Ok(None) => continue,
            Err(error @ (RejectedError::Description { .. } | RejectedError::Newer { .. })) => {
                report.refused.push((id, chain(&error)));
                continue;
            }
            Err(error) => return Err(error),
        };
        let Some(payload) = folder.payload(&id)? else {
            // Unless another replay removed both files in the meantime.
            if folder.has(&id) {
                report.refused.push((id, "its payload is missing".to_owned()));
            }
            continue;
        };
        let (topic, headers) = match check(&message, &payload, codec) {
            Ok(checked) => checked,
            Err(words) => {
                report.refused.push((id, words));
                continue;
            }
        };
        match log.append(&topic, vec![again(&message, headers, payload)]).await {
            Ok(()) => {
                folder.remove(&id)?;
                report.replayed += 1;
            }
            Err(error) => {
                report.not_tried += 1;
                report.stopped = Some(chain(&error));
            }
        }
    }
    Ok(report)
}

/// The topic and the headers of a message that `codec` can read.
///
/// Errors: why it cannot, in words.
pub(super) fn check(message: &RejectedMessage, payload: &[u8], codec: &Codec) -> Result<(Topic, Headers), String> {
    let headers = message.headers.as_ref().ok_or("its headers could not be read")?;
    let topic = Topic::parse(&message.topic).ok_or_else(|| format!("there is no topic {}", message.topic))?;
    take::rows(codec, topic.table, headers, payload)?;
    Ok((topic, headers.clone()))
}

/// Whether a replay made `stream`.
pub(crate) fn is_replayed(stream: &StreamId) -> bool {
    stream.as_str().starts_with(STREAM)
}

fn again(message: &RejectedMessage, headers: Headers, payload: Vec<u8>) -> Message {
    let RejectedMessage { topic, partition, offset, .. } = message;
    let stream = StreamId::new(format!("{STREAM}{topic}/{partition}@{offset}"));
    Message { headers: Headers { stream, batch: 0, ..headers }, payload: payload.into() }
}

//! What the detector must not forget: cursors, findings that are on their way, findings that overlap later ones.
//!
//! One JSON file, replaced whole. Life of a pass: evaluate -> store cursors and outbox -> append the outbox to the
//! event log -> store the empty outbox. After a crash the outbox is appended again with the same batch numbers, which
//! every consumer drops if it has them already.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use kerntrail_common::durable;
use kerntrail_common::error::chain;
use kerntrail_schemas::SCHEMA_VERSION;
use kerntrail_schemas::identity::StreamId;
use kerntrail_transport::{Headers, Message};
use serde::{Deserialize, Serialize};

/// Most findings remembered for telling an overlap.
const MOST_RECENT: usize = 10_000;

/// For each table the last version that was read.
pub(crate) type Cursors = BTreeMap<String, i64>;

/// The detector's state.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct State {
    /// What rules have read.
    pub(crate) cursors: Cursors,
    /// By id, the rules whose query failed, each with what it has read.
    #[serde(default)]
    pub(crate) behind: BTreeMap<String, Cursors>,
    /// Number of the last batch of findings.
    pub(crate) last_batch: i64,
    /// Findings that may not be in the event log yet.
    pub(crate) outbox: Vec<Outbox>,
    /// Sequences found lately, oldest first.
    recent: Vec<Recent>,
}

/// One message of findings.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Outbox {
    pub(crate) batch: i64,
    pub(crate) rows: u32,
    pub(crate) seq_range: (i64, i64),
    /// The encoded rows, base64.
    pub(crate) payload: String,
}

impl Outbox {
    /// `message`, to be stored.
    pub(crate) fn of(message: &Message) -> Self {
        let headers = &message.headers;
        let payload = BASE64.encode(&message.payload);
        Self { batch: headers.batch, rows: headers.rows, seq_range: headers.seq_range, payload }
    }

    /// The message again, of `node` and `stream`.
    pub(crate) fn message(&self, node: &str, stream: &StreamId) -> Result<Message, base64::DecodeError> {
        let headers = Headers {
            schema_version: SCHEMA_VERSION,
            node: node.to_owned(),
            stream: stream.clone(),
            batch: self.batch,
            rows: self.rows,
            seq_range: self.seq_range,
        };
        Ok(Message { headers, payload: Bytes::from(BASE64.decode(&self.payload)?) })
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Recent {
    rule: String,
    group: String,
    first_us: i64,
    last_us: i64,
}

/// The state file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It cannot be read or written.
    #[error("cannot {operation} the detector's state {}", path.display())]
    File {
        /// `read`, `write` or `move aside`.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It holds something else.
    #[error("the detector's state {} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
}

impl State {
    /// The state of a detector that has none. Batches are numbered from the microsecond on: where an earlier state was
    /// lost, consumers would drop its numbers as known.
    pub(crate) fn begin() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { last_batch: i64::try_from(since.as_micros()).unwrap_or_default(), ..Self::default() }
    }

    /// Reads `path`; none where there is no file. What is damaged is moved aside, told, and none as well.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, StateError> {
        match std::fs::read(path) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(state) => Ok(Some(state)),
                Err(source) => set_aside(path, source).map(|()| None),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StateError::File { operation: "read", path: path.to_owned(), source }),
        }
    }

    /// Replaces the file at `path`.
    pub(crate) fn write(&self, path: &Path) -> Result<(), StateError> {
        let failed = |source| StateError::File { operation: "write", path: path.to_owned(), source };
        let bytes = serde_json::to_vec(self).map_err(|source| StateError::Damaged { path: path.to_owned(), source })?;
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).map_err(failed)?;
        }
        durable::replace(path, &bytes).map_err(failed)
    }

    /// Remembers a sequence; false when one of the same rule and group overlaps it in time, so that it is no new finding.
    pub(crate) fn is_new_sequence(&mut self, rule: &str, group: &str, first_us: i64, last_us: i64) -> bool {
        let overlaps = |have: &Recent| {
            have.rule == rule && have.group == group && have.first_us <= last_us && first_us <= have.last_us
        };
        if self.recent.iter().any(overlaps) {
            return false;
        }
        self.recent.push(Recent { rule: rule.to_owned(), group: group.to_owned(), first_us, last_us });
        let surplus = self.recent.len().saturating_sub(MOST_RECENT);
        self.recent.drain(..surplus);
        true
    }
}

fn set_aside(path: &Path, source: serde_json::Error) -> Result<(), StateError> {
    let aside = path.with_extension("damaged");
    std::fs::rename(path, &aside).map_err(|source| StateError::File {
        operation: "move aside",
        path: path.to_owned(),
        source,
    })?;
    tracing::error!(
        error = chain(&StateError::Damaged { path: path.to_owned(), source }),
        kept = %aside.display(),
        "rules look at all rows of the lake again"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_is_new_unless_it_overlaps_one_of_its_group() {
        let mut state = State::default();
        let cases = [
            ("a", "g", 10, 20, true),
            ("a", "g", 20, 30, false),
            ("a", "g", 5, 40, false),
            ("a", "h", 15, 16, true),
            ("b", "g", 15, 16, true),
            ("a", "g", 21, 30, true),
        ];
        for (rule, group, first, last, new) in cases {
            assert_eq!(state.is_new_sequence(rule, group, first, last), new, "{rule} {group} {first}..{last}");
        }
    }

    #[test]
    fn the_state_survives_and_damage_is_kept_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/state.json");
        assert!(State::read(&path).unwrap().is_none());
        let state =
            State { cursors: BTreeMap::from([("process_events".into(), 7)]), last_batch: 3, ..State::default() };
        state.write(&path).unwrap();
        assert_eq!(State::read(&path).unwrap().unwrap().cursors, state.cursors);
        std::fs::write(&path, "{").unwrap();
        assert!(State::read(&path).unwrap().is_none(), "rules begin anew");
        assert_eq!(std::fs::read(path.with_extension("damaged")).unwrap(), b"{");
    }
}

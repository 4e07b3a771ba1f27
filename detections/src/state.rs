//! The detector's durable state: cursors, findings not yet in the event log, and those of correlations that later ones may overlap.
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
use kerntrail_schemas::identity::StreamId;
use kerntrail_transport::{Headers, Message, Newer};
use serde::{Deserialize, Serialize};

use crate::evaluate::Order;
use crate::suppression::Groups;

/// Findings of each correlation kept to detect an overlap.
const MOST_RECENT: usize = 1_000;

/// The last version read of each table.
pub(crate) type Cursors = BTreeMap<String, i64>;

/// Version of the state.
const VERSION: u32 = 1;

fn first() -> u32 {
    1
}

/// Schema version of messages that were stored before they had one.
fn first_schema() -> u16 {
    1
}

/// Of a state that may be of a newer version.
#[derive(Deserialize)]
struct Versioned {
    #[serde(default = "first")]
    version: u32,
}

/// The detector's state.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct State {
    /// 1 where it is missing, as in files from before there was a version.
    #[serde(default = "first")]
    version: u32,
    /// What rules have read.
    pub(crate) cursors: Cursors,
    /// By id, the rules whose query failed, each with what it has read.
    #[serde(default)]
    pub(crate) behind: BTreeMap<String, Cursors>,
    /// Number of the last batch of findings.
    pub(crate) last_batch: i64,
    /// Findings that may not be in the event log yet.
    pub(crate) outbox: Vec<StoredMessage>,
    /// Recent findings of correlations, oldest first.
    recent: Vec<Recent>,
    /// Findings that count what follows. Earlier releases ignore them.
    #[serde(default, skip_serializing_if = "Groups::is_empty")]
    pub(crate) groups: Groups,
}

impl Default for State {
    fn default() -> Self {
        Self {
            version: VERSION,
            cursors: Cursors::new(),
            behind: BTreeMap::new(),
            last_batch: 0,
            outbox: Vec::new(),
            recent: Vec::new(),
            groups: Groups::default(),
        }
    }
}

/// One message of findings.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StoredMessage {
    /// Of the release that encoded the rows, which may be an earlier or a later one than this.
    #[serde(default = "first_schema")]
    pub(crate) schema_version: u16,
    pub(crate) batch: i64,
    pub(crate) rows: u32,
    pub(crate) seq_range: (i64, i64),
    /// The encoded rows, base64.
    pub(crate) payload: String,
}

impl StoredMessage {
    /// `message`, to be stored.
    pub(crate) fn of(message: &Message) -> Self {
        let headers = &message.headers;
        let payload = BASE64.encode(&message.payload);
        let Headers { schema_version, batch, rows, seq_range, .. } = *headers;
        Self { schema_version, batch, rows, seq_range, payload }
    }

    /// The message again, of `node` and `stream`.
    pub(crate) fn message(&self, node: &str, stream: &StreamId) -> Result<Message, base64::DecodeError> {
        let headers = Headers {
            schema_version: self.schema_version,
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
    /// The events themselves; missing in files of earlier releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first: Option<Order>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last: Option<Order>,
}

impl Recent {
    fn span(&self) -> Span {
        let first = self.first.unwrap_or(Order { time_us: self.first_us, ..Order::LEAST });
        (first, self.last.unwrap_or(Order { time_us: self.last_us, ..Order::GREATEST }))
    }
}

/// First and last event of a finding.
pub(crate) type Span = (Order, Order);

/// By group, the spans of what one rule found.
#[derive(Debug, Default)]
pub(crate) struct Found(BTreeMap<String, Vec<Span>>);

impl Found {
    /// Whether an event of `group` is part of it, or happened meanwhile.
    pub(crate) fn has(&self, group: &str, event: Order) -> bool {
        self.0.get(group).into_iter().flatten().any(|(first, last)| (*first..=*last).contains(&event))
    }
}

/// The state file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DetectorStateError {
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
    /// A newer release wrote it; it is left unchanged.
    #[error("cannot use the detector's state {}: {newer}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Which version is newer.
        newer: Newer,
    },
    /// Its content is invalid.
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
    /// The state of a detector that has no file. Batches are numbered from the present microsecond on: if an earlier state
    /// was lost, consumers would drop numbers that they have seen.
    pub(crate) fn begin() -> Self {
        Self { last_batch: now_us(), ..Self::default() }
    }

    /// Reads the state from `path`; `None` if there is no file. A damaged file is moved aside and logged, and treated
    /// as missing.
    ///
    /// Errors: `Newer`, and the file is left unchanged; or it cannot be read or moved.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, DetectorStateError> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(DetectorStateError::File { operation: "read", path: path.to_owned(), source }),
        };
        let version = serde_json::from_slice(&bytes).map_or(VERSION, |Versioned { version }| version);
        Newer::check("state", version, VERSION)
            .map_err(|newer| DetectorStateError::Newer { path: path.to_owned(), newer })?;
        match serde_json::from_slice(&bytes) {
            Ok(state) => Ok(Some(state)),
            Err(source) => set_aside(path, source).map(|()| None),
        }
    }

    /// Replaces the file at `path`.
    pub(crate) fn write(&self, path: &Path) -> Result<(), DetectorStateError> {
        let failed = |source| DetectorStateError::File { operation: "write", path: path.to_owned(), source };
        let bytes =
            serde_json::to_vec(self).map_err(|source| DetectorStateError::Damaged { path: path.to_owned(), source })?;
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).map_err(failed)?;
        }
        durable::replace(path, &bytes).map_err(failed)
    }

    /// When what the correlation `rule` found happened.
    pub(crate) fn recent_of(&self, rule: &str) -> Found {
        let mut found = Found::default();
        for recent in self.recent.iter().filter(|recent| recent.rule == rule) {
            found.0.entry(recent.group.clone()).or_default().push(recent.span());
        }
        found
    }

    /// Whether nothing that the correlation `rule` found of `group` overlaps `span` in time.
    pub(crate) fn is_new(&self, rule: &str, group: &str, (first, last): Span) -> bool {
        let overlaps = |have: &Recent| {
            have.rule == rule && have.group == group && have.first_us <= last.time_us && first.time_us <= have.last_us
        };
        !self.recent.iter().any(overlaps)
    }

    /// Remembers what the correlation `rule` found of `group`.
    pub(crate) fn remember(&mut self, rule: &str, group: &str, (first, last): Span) {
        let own = self.recent.iter().filter(|recent| recent.rule == rule).count();
        if own >= MOST_RECENT
            && let Some(oldest) = self.recent.iter().position(|recent| recent.rule == rule)
        {
            self.recent.remove(oldest);
        }
        self.recent.push(Recent {
            rule: rule.to_owned(),
            group: group.to_owned(),
            first_us: first.time_us,
            last_us: last.time_us,
            first: Some(first),
            last: Some(last),
        });
    }
}

/// The clock, µs since the Unix epoch.
pub(crate) fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or_default()
}

fn set_aside(path: &Path, source: serde_json::Error) -> Result<(), DetectorStateError> {
    let aside = path.with_extension("damaged");
    std::fs::rename(path, &aside).map_err(|source| DetectorStateError::File {
        operation: "move aside",
        path: path.to_owned(),
        source,
    })?;
    tracing::error!(
        error = chain(&DetectorStateError::Damaged { path: path.to_owned(), source }),
        kept = %aside.display(),
        "the damaged state was moved aside; rules evaluate all rows of the lake again"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use kerntrail_schemas::Table;
    use kerntrail_transport::codec;

    use super::*;

    #[test]
    fn a_correlation_is_new_unless_it_overlaps_another_of_its_group() {
        let mut state = State::default();
        let cases = [
            ("a", "g", 10, 20, true),
            ("a", "g", 20, 30, false),
            ("a", "g", 5, 40, false),
            ("a", "h", 15, 16, true),
            ("b", "g", 15, 16, true),
            ("a", "g", 21, 30, true),
        ];
        let at = |time_us| Order { time_us, ..Order::default() };
        for (rule, group, first, last, new) in cases {
            let span = (at(first), at(last));
            assert_eq!(state.is_new(rule, group, span), new, "{rule} {group} {first}..{last}");
            if new {
                state.remember(rule, group, span);
            }
        }
        let found = state.recent_of("a");
        let later = Order { seq: 1, ..at(30) };
        assert!(found.has("g", at(10)) && found.has("g", at(30)) && !found.has("g", later) && !found.has("x", at(10)));
    }

    #[test]
    fn the_state_is_read_back_and_a_damaged_file_is_moved_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/state.json");
        assert!(State::read(&path).unwrap().is_none());
        let state =
            State { cursors: BTreeMap::from([("process_events".into(), 7)]), last_batch: 3, ..State::default() };
        state.write(&path).unwrap();
        assert_eq!(State::read(&path).unwrap().unwrap().cursors, state.cursors);
        std::fs::write(&path, "{").unwrap();
        assert!(State::read(&path).unwrap().is_none(), "rules start from the beginning");
        assert_eq!(std::fs::read(path.with_extension("damaged")).unwrap(), b"{");
    }

    #[test]
    fn a_state_without_a_version_is_version_1() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("detector.json");
        // Written by a release that stored no version, neither of the state nor of the messages in its outbox.
        std::fs::write(&path, include_bytes!("state/golden/unversioned.json")).unwrap();
        let state = State::read(&path).unwrap().unwrap();
        assert_eq!(state.cursors, BTreeMap::from([("process_events".into(), 7), ("findings".into(), 0)]));
        assert_eq!(state.behind["0b5c"], BTreeMap::from([("process_events".into(), 5)]));
        assert_eq!((state.last_batch, state.recent.len()), (1_795_521_600_000_002, 1));
        let message = state.outbox[0].message("n", &StreamId::new("s")).unwrap();
        assert_eq!((message.headers.schema_version, message.headers.rows), (1, 5));
        let rows = codec::decode(Table::Findings, 1, &message.payload).unwrap();
        assert_eq!(rows.rows(), 5);
        state.write(&path).unwrap();
        let golden: serde_json::Value = serde_json::from_slice(include_bytes!("state/golden/v1.json")).unwrap();
        let written: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(written, golden);
    }

    #[test]
    fn a_newer_state_is_left_unchanged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("detector.json");
        let newer = br#"{"version":2,"cursors":{"process_events":{"version":7}}}"#;
        std::fs::write(&path, newer).unwrap();
        let error = State::read(&path).unwrap_err();
        assert!(matches!(error, DetectorStateError::Newer { .. }), "{error:?}");
        assert!(error.to_string().contains("state version 2 is newer than 1"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), newer);
    }

    #[test]
    fn a_message_keeps_the_schema_version_of_its_encoder() {
        let (node, stream) = ("n".to_owned(), StreamId::new("s"));
        for schema_version in [1, 2] {
            let headers = Headers {
                schema_version,
                node: node.clone(),
                stream: stream.clone(),
                batch: 4,
                rows: 1,
                seq_range: (0, 0),
            };
            let message = Message { headers, payload: Bytes::from_static(b"KT") };
            let stored = serde_json::to_string(&StoredMessage::of(&message)).unwrap();
            let again: StoredMessage = serde_json::from_str(&stored).unwrap();
            assert_eq!(again.message(&node, &stream).unwrap(), message);
        }
    }
}

//! Rows that are settled of messages that are not: a message may be sent in many requests.
//!
//! They are stored after each request, in `<dlq_dir>/<sink>/rows`, so that a kill repeats the requests in flight and not
//! whole messages. When the file is lost, damaged or of a newer release (which is left unchanged), those rows may be
//! delivered twice.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use kerntrail_common::durable;
use kerntrail_common::error::chain;
use kerntrail_transport::{Headers, Partition};
use serde::{Deserialize, Serialize};

use super::versioned::{self, Unreadable};
use crate::deliver::RowPlace;

/// Version of the file.
const VERSION: u32 = 1;

/// The file.
#[derive(Debug, Deserialize, Serialize)]
struct File {
    version: u32,
    #[serde(default)]
    messages: Vec<StoredMessage>,
}

/// A message, and the numbers of its settled rows in ranges.
#[derive(Debug, Deserialize, Serialize)]
struct StoredMessage {
    #[serde(flatten)]
    key: MessageKey,
    settled: Vec<RangeInclusive<u32>>,
}

/// Which message: where it is in the log, and which batch of which stream that is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub(super) struct MessageKey {
    table: String,
    partition: i32,
    offset: i64,
    stream: String,
    batch: i64,
}

impl MessageKey {
    pub(super) fn new(partition: &Partition, offset: i64, headers: &Headers) -> Self {
        Self {
            table: partition.topic.table.name().to_owned(),
            partition: partition.number,
            offset,
            stream: headers.stream.as_str().to_owned(),
            batch: headers.batch,
        }
    }
}

fn parse(text: &[u8]) -> Result<Vec<StoredMessage>, Unreadable> {
    versioned::check("rows", text, VERSION)?;
    let File { messages, .. } = serde_json::from_slice(text)?;
    Ok(messages)
}

/// The settled rows of messages that are not committed.
pub(super) struct RowProgress {
    path: PathBuf,
    /// A newer release wrote the file.
    is_newer: bool,
    /// What is in the file, or will be.
    messages: BTreeMap<MessageKey, BTreeSet<u32>>,
}

impl RowProgress {
    /// What is stored below `dlq_dir` for `sink`.
    pub(super) fn open(dlq_dir: &Path, sink: &str) -> Self {
        let path = dlq_dir.join(sink).join("rows");
        let mut is_newer = false;
        let stored = match std::fs::read(&path).map(|text| parse(&text)) {
            Ok(Ok(stored)) => stored,
            Ok(Err(error)) => {
                tracing::warn!(sink, path = %path.display(), error = chain(&error), "cannot read which rows were delivered; some may be delivered twice");
                is_newer = matches!(error, Unreadable::Newer(_));
                Vec::new()
            }
            // The first start.
            Err(_) => Vec::new(),
        };
        let rows = |stored: StoredMessage| (stored.key, stored.settled.into_iter().flatten().collect());
        Self { path, is_newer, messages: stored.into_iter().map(rows).collect() }
    }

    /// Whether row number `row` of the message is settled.
    pub(super) fn is_settled(&self, message: &MessageKey, row: u32) -> bool {
        self.messages.get(message).is_some_and(|rows| rows.contains(&row))
    }

    /// Notes settled rows, each with the number of its message in `keys`.
    pub(super) fn settle(&mut self, keys: &[Option<MessageKey>], settled: &[RowPlace]) {
        if settled.is_empty() {
            return;
        }
        for place in settled {
            if let Some(Some(key)) = keys.get(place.message) {
                match self.messages.get_mut(key) {
                    Some(rows) => drop(rows.insert(place.row)),
                    None => drop(self.messages.insert(key.clone(), BTreeSet::from([place.row]))),
                }
            }
        }
        self.store();
    }

    /// The messages are committed, so their rows are not asked for again.
    pub(super) fn commit<'a>(&mut self, committed: impl Iterator<Item = &'a MessageKey>) {
        let known = self.messages.len();
        for key in committed {
            self.messages.remove(key);
        }
        if self.messages.len() < known {
            self.store();
        }
    }

    fn store(&self) {
        if self.is_newer {
            return;
        }
        let message =
            |(key, rows): (&MessageKey, &BTreeSet<u32>)| StoredMessage { key: key.clone(), settled: ranges(rows) };
        let file = File { version: VERSION, messages: self.messages.iter().map(message).collect() };
        let text = serde_json::to_vec(&file).map_err(std::io::Error::from);
        if let Err(error) = text.and_then(|text| durable::replace_without_sync(&self.path, &text)) {
            tracing::warn!(path = %self.path.display(), %error, "cannot store which rows were delivered");
        }
    }
}

/// `rows` in ranges.
fn ranges(rows: &BTreeSet<u32>) -> Vec<RangeInclusive<u32>> {
    let mut ranges: Vec<RangeInclusive<u32>> = Vec::new();
    for &row in rows {
        match ranges.last_mut() {
            Some(last) if last.end() + 1 == row => *last = *last.start()..=row,
            _ => ranges.push(row..=row),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use kerntrail_schemas::Table;
    use kerntrail_schemas::identity::StreamId;
    use kerntrail_transport::Topic;

    use super::*;

    fn key(offset: i64, batch: i64) -> MessageKey {
        let partition = Partition { topic: Topic { tenant: "t".into(), table: Table::Findings }, number: 0 };
        let stream = StreamId::new("s");
        let headers = Headers { schema_version: 1, node: "n".into(), stream, batch, rows: 9, seq_range: (0, 8) };
        MessageKey::new(&partition, offset, &headers)
    }

    #[test]
    fn settled_rows_survive_a_restart_until_their_message_is_committed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sink")).unwrap();
        let keys = [Some(key(5, 1)), None, Some(key(6, 2))];
        let mut rows = RowProgress::open(dir.path(), "sink");
        let place = |message, row| RowPlace { message, row };
        rows.settle(&keys, &[place(0, 0), place(0, 1), place(0, 7), place(1, 3), place(2, 4)]);
        let mut again = RowProgress::open(dir.path(), "sink");
        for (key, row, expected) in [
            (key(5, 1), 0, true),
            (key(5, 1), 1, true),
            (key(5, 1), 2, false),
            (key(5, 1), 7, true),
            (key(6, 2), 4, true),
            // Other messages, of this log or of another.
            (key(6, 1), 0, false),
            (key(5, 2), 0, false),
        ] {
            assert_eq!(again.is_settled(&key, row), expected, "{key:?} {row}");
        }
        again.commit([key(5, 1)].iter());
        let last = RowProgress::open(dir.path(), "sink");
        assert!(!last.is_settled(&key(5, 1), 0) && last.is_settled(&key(6, 2), 4));
    }

    #[test]
    fn files_of_this_and_other_releases() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sink/rows");
        std::fs::create_dir(dir.path().join("sink")).unwrap();
        let stored = r#"{"version":1,"messages":[{"table":"findings","partition":0,"offset":5,"stream":"s","batch":1,"settled":[{"start":0,"end":1}]}]}"#;
        for (text, is_settled, is_left) in [
            (stored, true, false),
            (&stored.replace("\"version\":1", "\"version\":2"), false, true),
            ("{", false, false),
        ] {
            std::fs::write(&path, text).unwrap();
            let mut rows = RowProgress::open(dir.path(), "sink");
            assert_eq!(rows.is_settled(&key(5, 1), 1), is_settled, "{text}");
            rows.settle(&[Some(key(9, 9))], &[RowPlace { message: 0, row: 0 }]);
            assert_eq!(std::fs::read_to_string(&path).unwrap() == text, is_left, "{text}");
        }
    }
}

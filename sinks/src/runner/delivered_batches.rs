//! The batch numbers of delivered messages, so that a repeated message is not delivered twice.
//!
//! A message is repeated when its producer missed the acknowledgement, or when its offset could not be committed. The
//! numbers are stored with the dead letters, in `<dlq_dir>/<sink>/batches`. When the file is lost, damaged or of a
//! newer release (which is left unchanged), such a message may be delivered twice.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kerntrail_common::durable;
use kerntrail_schemas::Table;
use kerntrail_schemas::identity::StreamId;
use kerntrail_transport::dedup::BatchFilter;
use kerntrail_transport::{Headers, Partition, Position};
use serde::{Deserialize, Serialize};

use super::versioned::{self, Unreadable};

/// Version of the file.
const VERSION: u32 = 1;

/// The file. Written before it had a version it is the tables alone.
#[derive(Debug, Default, Deserialize, Serialize)]
struct File {
    version: u32,
    tables: BTreeMap<String, Stored>,
}

/// What is stored in a file, by table.
fn parse(text: &[u8]) -> Result<BTreeMap<String, Stored>, Unreadable> {
    if !versioned::check("batches", text, VERSION)? {
        return Ok(serde_json::from_slice(text)?);
    }
    let File { tables, .. } = serde_json::from_slice(text)?;
    Ok(tables)
}

/// What is stored for a table.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct Stored {
    /// Highest number delivered, by stream.
    streams: BTreeMap<String, i64>,
    /// Offset after the last message delivered, by partition.
    next: BTreeMap<i32, i64>,
}

/// Offsets of a table's topic in the event log.
pub(super) struct TopicOffsets {
    /// Whether the group has committed any.
    pub(super) has_committed: bool,
    /// The end of each partition.
    pub(super) ends: Vec<Position>,
}

impl TopicOffsets {
    /// Whether `stored` is about this log: with numbers of an earlier log, new messages would look like repeated ones.
    fn covers(&self, stored: &Stored) -> bool {
        let reaches = |(number, next): (&i32, &i64)| {
            self.ends.iter().any(|end| end.partition.number == *number && end.next >= *next)
        };
        self.has_committed && stored.next.iter().all(reaches)
    }
}

/// The batch numbers, by table.
pub(super) struct DeliveredBatches {
    path: PathBuf,
    /// A newer release wrote the file.
    is_newer: bool,
    /// Of all messages that were read.
    seen: BTreeMap<Table, BatchFilter>,
    /// Of delivered messages.
    delivered: BTreeMap<Table, BatchFilter>,
    next: BTreeMap<Table, BTreeMap<i32, i64>>,
}

impl DeliveredBatches {
    /// The numbers stored below `dlq_dir` for `sink`, as far as they are about the log with these `offsets`.
    pub(super) fn open(dlq_dir: &Path, sink: &str, offsets: &BTreeMap<Table, TopicOffsets>) -> Self {
        let path = dlq_dir.join(sink).join("batches");
        let mut is_newer = false;
        let mut stored: BTreeMap<String, Stored> = match std::fs::read(&path).map(|text| parse(&text)) {
            Ok(Ok(stored)) => stored,
            Ok(Err(error)) => {
                tracing::warn!(sink, path = %path.display(), %error, "cannot read which messages were delivered; repeated ones may be delivered twice");
                is_newer = matches!(error, Unreadable::Newer(_));
                BTreeMap::new()
            }
            // The first start.
            Err(_) => BTreeMap::new(),
        };
        let (mut delivered, mut next) = (BTreeMap::new(), BTreeMap::new());
        for (table, offsets) in offsets {
            if let Some(stored) = stored.remove(table.name()).filter(|stored| offsets.covers(stored)) {
                let streams = stored.streams.into_iter().map(|(stream, batch)| (StreamId::new(stream), batch));
                delivered.insert(*table, BatchFilter::from_taken(streams));
                next.insert(*table, stored.next);
            }
        }
        Self { path, is_newer, seen: delivered.clone(), delivered, next }
    }

    /// Notes that a message was read; `false`: it was read before.
    pub(super) fn take(&mut self, table: Table, headers: &Headers) -> bool {
        self.seen.entry(table).or_default().take(headers)
    }

    /// Messages were dropped undelivered: they are new when they are read again.
    pub(super) fn forget_uncommitted(&mut self) {
        self.seen.clone_from(&self.delivered);
    }

    /// Notes that messages are delivered, each with its partition and offset.
    pub(super) fn commit(&mut self, messages: &[(&Partition, i64, Option<&Headers>)]) {
        for (partition, offset, headers) in messages {
            let table = partition.topic.table;
            self.next.entry(table).or_default().insert(partition.number, offset + 1);
            for filter in [&mut self.delivered, &mut self.seen] {
                headers.map(|headers| filter.entry(table).or_default().take(headers));
            }
        }
        if let Err(error) = self.store() {
            tracing::warn!(path = %self.path.display(), %error, "cannot store which messages were delivered");
        }
    }

    fn store(&self) -> std::io::Result<()> {
        if self.is_newer {
            return Ok(());
        }
        let mut stored: BTreeMap<String, Stored> = BTreeMap::new();
        for (table, filter) in &self.delivered {
            let streams = filter.taken().into_iter().map(|(stream, batch)| (stream.as_str().to_owned(), batch));
            stored.entry(table.name().to_owned()).or_default().streams = streams.collect();
        }
        for (table, next) in &self.next {
            stored.entry(table.name().to_owned()).or_default().next.clone_from(next);
        }
        let file = File { version: VERSION, tables: stored };
        durable::replace_without_sync(&self.path, &serde_json::to_vec(&file)?)
    }
}

#[cfg(test)]
mod tests {
    use kerntrail_transport::Topic;

    use super::*;

    const TABLE: Table = Table::Findings;

    fn headers(batch: i64) -> Headers {
        Headers { schema_version: 1, node: "n".into(), stream: StreamId::new("s"), batch, rows: 1, seq_range: (0, 0) }
    }

    fn partition() -> Partition {
        Partition { topic: Topic { tenant: "t".into(), table: TABLE }, number: 0 }
    }

    fn offsets(has_committed: bool, end: i64) -> BTreeMap<Table, TopicOffsets> {
        let ends = vec![Position { partition: partition(), next: end }];
        BTreeMap::from([(TABLE, TopicOffsets { has_committed, ends })])
    }

    #[test]
    fn numbers_of_delivered_messages_survive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sink")).unwrap();
        let mut batches = DeliveredBatches::open(dir.path(), "sink", &offsets(false, 0));
        assert!(
            batches.take(TABLE, &headers(0)) && batches.take(TABLE, &headers(1)) && !batches.take(TABLE, &headers(1))
        );
        batches.commit(&[(&partition(), 6, Some(&headers(0)))]);
        batches.forget_uncommitted();
        assert!(!batches.take(TABLE, &headers(0)) && batches.take(TABLE, &headers(1)));
        let mut again = DeliveredBatches::open(dir.path(), "sink", &offsets(true, 7));
        assert!(!again.take(TABLE, &headers(0)) && again.take(TABLE, &headers(1)));
    }

    #[test]
    fn files_of_other_releases() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sink/batches");
        std::fs::create_dir(dir.path().join("sink")).unwrap();
        let tables = r#"{"findings":{"streams":{"s":0},"next":{"0":6}}}"#;
        let version_1 = format!(r#"{{"version":1,"tables":{tables}}}"#);
        // As written before there was a version, and since.
        for text in [tables, &version_1] {
            std::fs::write(&path, text).unwrap();
            let mut batches = DeliveredBatches::open(dir.path(), "sink", &offsets(true, 7));
            assert!(!batches.take(TABLE, &headers(0)) && batches.take(TABLE, &headers(1)), "{text}");
            batches.commit(&[]);
            assert_eq!(std::fs::read_to_string(&path).unwrap(), version_1);
        }
        let newer = r#"{"version":2,"topics":[]}"#;
        std::fs::write(&path, newer).unwrap();
        let mut batches = DeliveredBatches::open(dir.path(), "sink", &offsets(true, 7));
        assert!(batches.take(TABLE, &headers(0)));
        batches.commit(&[(&partition(), 6, Some(&headers(0)))]);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), newer);
    }

    #[test]
    fn numbers_of_another_log_are_ignored() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sink")).unwrap();
        let mut batches = DeliveredBatches::open(dir.path(), "sink", &offsets(false, 0));
        batches.commit(&[(&partition(), 6, Some(&headers(0)))]);
        for (has_committed, end) in [(false, 7), (true, 6), (true, 0)] {
            let mut other = DeliveredBatches::open(dir.path(), "sink", &offsets(has_committed, end));
            assert!(other.take(TABLE, &headers(0)), "{has_committed} {end}");
        }
        std::fs::write(dir.path().join("sink/batches"), "{").unwrap();
        assert!(DeliveredBatches::open(dir.path(), "sink", &offsets(true, 7)).take(TABLE, &headers(0)));
    }
}

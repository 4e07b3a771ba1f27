//! Messages taken and not yet committed, and the rows that came out of them.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono::Utc;
use kerntrail_common::error::chain;
use kerntrail_schemas::Table;
use kerntrail_transport::{Codec, Delivered, Headers, Partition, Position};

use crate::config::Settings;
use crate::destination::{Destination, Record};
use crate::dlq::{Content, Letter};
use crate::metrics;
use crate::outcome::Reason;
use crate::select::{Identified, Selection, select};

/// A message that was taken.
struct Taking {
    partition: Partition,
    offset: i64,
    /// `None` of one that the event log could not read.
    headers: Option<Headers>,
    /// Its partition is another consumer's now, so its position must not be committed.
    forgotten: bool,
}

/// Messages, by number in the order they came, and their rows.
pub(super) struct Intake<'a> {
    settings: &'a Settings,
    destination: &'a dyn Destination,
    codec: &'a Codec,
    messages: Vec<Taking>,
    records: Vec<Record>,
    letters: Vec<(usize, Letter)>,
    bytes: usize,
}

impl<'a> Intake<'a> {
    pub(super) fn new(settings: &'a Settings, destination: &'a dyn Destination, codec: &'a Codec) -> Self {
        let (messages, records, letters) = (Vec::new(), Vec::new(), Vec::new());
        Self { settings, destination, codec, messages, records, letters, bytes: 0 }
    }

    /// Whether no message was taken.
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Whether there is enough for a full round of requests.
    pub(super) fn is_full(&self) -> bool {
        let round = self.settings.concurrency;
        self.records.len() >= self.settings.batch_events.saturating_mul(round)
            || self.bytes >= self.settings.batch_bytes.saturating_mul(round)
            || self.letters.len() >= self.settings.batch_events
    }

    /// Takes the rows of `message` that the sink sends; of one that is not new, only its position.
    pub(super) fn add(&mut self, message: Delivered, is_new: bool) {
        let table = message.partition.topic.table;
        if is_new {
            self.count(metrics::EVENTS_IN, table, u64::from(message.message.headers.rows));
            self.add_new(table, &message);
        } else {
            self.count(metrics::MESSAGES_REPEATED, table, 1);
        }
        let headers = Some(message.message.headers);
        self.messages.push(Taking { partition: message.partition, offset: message.offset, headers, forgotten: false });
    }

    fn add_new(&mut self, table: Table, message: &Delivered) {
        let place = format!("{}@{}", message.partition, message.offset);
        let (version, payload) = (message.message.headers.schema_version, &message.message.payload);
        match select(self.codec, &self.settings.filter, table, version, payload, &place) {
            Ok(selection) => self.add_rows(table, selection),
            Err(error) => self.add_damaged(message, place, chain(&error)),
        }
    }

    fn add_rows(&mut self, table: Table, selection: Selection) {
        let number = self.messages.len();
        self.count(metrics::EVENTS_FILTERED, table, selection.filtered as u64);
        for Identified { event_id, row } in selection.selected {
            let bytes = self.destination.encode(table, &event_id, &row);
            self.bytes += bytes.len();
            self.records.push(Record { table, event_id, row, bytes, message: number });
        }
        for (Identified { event_id, row }, words) in selection.failed {
            let letter = self.letter(table, event_id, Reason::Filter, words, Content::Row(row));
            self.letters.push((number, letter));
        }
    }

    /// Keeps a message aside that holds no rows.
    fn add_damaged(&mut self, message: &Delivered, place: String, words: String) {
        let schema_version = message.message.headers.schema_version;
        let content = Content::Message { schema_version, payload: BASE64_STANDARD.encode(&message.message.payload) };
        let letter = self.letter(message.partition.topic.table, place, Reason::Damaged, words, content);
        self.letters.push((self.messages.len(), letter));
    }

    fn letter(&self, table: Table, event_id: String, reason: Reason, words: String, content: Content) -> Letter {
        Letter {
            sink: self.settings.name.clone(),
            table: table.name().to_owned(),
            event_id,
            reason,
            words,
            written: Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
            replays: 0,
            content,
        }
    }

    /// A message that the event log itself could not read: there is nothing of it to keep.
    pub(super) fn skip(&mut self, partition: Partition, offset: i64, reason: &str) {
        tracing::error!(sink = self.settings.name, %partition, offset, reason, "skipped a message that cannot be read");
        let labels = [("sink", self.settings.name.clone()), ("reason", "damaged".to_owned())];
        ::metrics::counter!(metrics::EVENTS_LOST, &labels).increment(1);
        self.messages.push(Taking { partition, offset, headers: None, forgotten: false });
    }

    /// Drops what came from `partitions`: another consumer of the group has them now.
    pub(super) fn forget(&mut self, partitions: &[Partition]) {
        // Their numbers stay.
        for message in &mut self.messages {
            message.forgotten |= partitions.contains(&message.partition);
        }
        let messages = &self.messages;
        self.records.retain(|record| !messages[record.message].forgotten);
        self.letters.retain(|(message, _)| !messages[*message].forgotten);
        self.bytes = self.records.iter().map(|record| record.bytes.len()).sum();
    }

    /// The rows to be sent.
    pub(super) fn records(&mut self) -> Vec<Record> {
        std::mem::take(&mut self.records)
    }

    /// The letters to be written, each with the number of its message.
    pub(super) fn letters(&mut self) -> Vec<(usize, Letter)> {
        std::mem::take(&mut self.letters)
    }

    /// The numbers of the messages that can be committed when those numbered `undone` are not done: of each
    /// partition what lies before the first of them.
    fn done_without(&self, undone: &[usize]) -> Vec<usize> {
        let undone: BTreeSet<usize> = undone.iter().copied().collect();
        let mut blocked: BTreeSet<&Partition> = BTreeSet::new();
        let mut done = Vec::new();
        for (number, message) in self.messages.iter().enumerate().filter(|(_, message)| !message.forgotten) {
            if undone.contains(&number) {
                blocked.insert(&message.partition);
            }
            if !blocked.contains(&message.partition) {
                done.push(number);
            }
        }
        done
    }

    /// What is done when the messages numbered `undone` are not.
    pub(super) fn done(&self, undone: &[usize]) -> Done<'_> {
        let done: Vec<&Taking> = self.done_without(undone).into_iter().map(|number| &self.messages[number]).collect();
        let next: BTreeMap<&Partition, i64> =
            done.iter().map(|message| (&message.partition, message.offset + 1)).collect();
        let position = |(partition, next): (&Partition, i64)| Position { partition: partition.clone(), next };
        let messages =
            done.iter().map(|message| (&message.partition, message.offset, message.headers.as_ref())).collect();
        Done { positions: next.into_iter().map(position).collect(), messages }
    }

    fn count(&self, metric: &'static str, table: Table, rows: u64) {
        let labels = [("sink", self.settings.name.clone()), ("table", table.name().to_owned())];
        ::metrics::counter!(metric, &labels).increment(rows);
    }
}

/// What is delivered or kept, and can be committed.
pub(super) struct Done<'a> {
    /// To commit.
    pub(super) positions: Vec<Position>,
    /// The messages before them: where each lay, and its headers where they could be read.
    pub(super) messages: Vec<(&'a Partition, i64, Option<&'a Headers>)>,
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kerntrail_schemas::mapping::Row;
    use kerntrail_transport::Topic;

    use super::*;
    use crate::outcome::Outcome;

    struct Nowhere;

    #[async_trait::async_trait]
    impl Destination for Nowhere {
        fn encode(&self, _: Table, _: &str, _: &Row) -> Bytes {
            Bytes::new()
        }
        async fn send(&self, records: &[Record]) -> Vec<Outcome> {
            Outcome::Delivered.all(records.len())
        }
    }

    fn partition(number: i32) -> Partition {
        Partition { topic: Topic { tenant: "t".into(), table: Table::ProcessEvents }, number }
    }

    fn positions(done: &Done<'_>) -> Vec<(i32, i64)> {
        done.positions.iter().map(|position| (position.partition.number, position.next)).collect()
    }

    #[test]
    fn what_lies_behind_an_undone_message_is_not_committed() {
        let config = serde_json::json!({"name": "n", "kind": "ndjson", "path": "/unused"});
        let settings = serde_json::from_value::<crate::SinkConfig>(config).unwrap().settings().unwrap();
        let codec = Codec::current();
        let mut intake = Intake::new(&settings, &Nowhere, &codec);
        for (number, offset) in [(0, 5), (1, 9), (0, 6), (0, 7), (1, 10)] {
            intake.skip(partition(number), offset, "not needed here");
        }
        for (undone, expected) in [
            (&[][..], &[(0, 8), (1, 11)][..]),
            (&[2], &[(0, 6), (1, 11)]),
            (&[0], &[(1, 11)]),
            (&[3, 4], &[(0, 7), (1, 10)]),
            (&[0, 1], &[]),
        ] {
            assert_eq!(positions(&intake.done(undone)), expected, "{undone:?}");
        }
        intake.forget(&[partition(1)]);
        assert_eq!(positions(&intake.done(&[])), [(0, 8)]);
    }
}

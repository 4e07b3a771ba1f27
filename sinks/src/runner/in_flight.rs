//! Messages that were read and not yet committed, and their rows.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use kerntrail_common::error::chain;
use kerntrail_schemas::Table;
use kerntrail_transport::{Codec, Delivered, Headers, Partition, Position};

use super::row_progress::{MessageKey, RowProgress};
use crate::config::Settings;
use crate::destination::{Destination, Record};
use crate::dlq::{Content, Letter};
use crate::metrics;
use crate::outcome::Reason;
use crate::select::{Identified, Selection, select};

/// A message that was read.
struct HeldMessage {
    partition: Partition,
    offset: i64,
    /// `None` for a message that the event log could not read.
    headers: Option<Headers>,
    /// Its partition is assigned to another consumer now, so its position must not be committed.
    revoked: bool,
}

/// Messages, numbered in the order they were read, and their rows.
pub(super) struct InFlight<'a> {
    settings: &'a Settings,
    destination: &'a dyn Destination,
    codec: &'a Codec,
    messages: Vec<HeldMessage>,
    records: Vec<Record>,
    letters: Vec<(usize, Letter)>,
    bytes: usize,
}

impl<'a> InFlight<'a> {
    pub(super) fn new(settings: &'a Settings, destination: &'a dyn Destination, codec: &'a Codec) -> Self {
        let (messages, records, letters) = (Vec::new(), Vec::new(), Vec::new());
        Self { settings, destination, codec, messages, records, letters, bytes: 0 }
    }

    /// Whether no message was read.
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Whether there is enough for `concurrency` full requests.
    pub(super) fn is_full(&self) -> bool {
        let round = self.settings.concurrency;
        self.records.len() >= self.settings.delivery.batch_events().saturating_mul(round)
            || self.bytes >= self.settings.delivery.batch_bytes().saturating_mul(round)
            || self.letters.len() >= self.settings.delivery.batch_events()
    }

    /// Adds `message` and the rows of it that the sink sends and that are not settled; of a repeated message, only its
    /// position.
    pub(super) fn add(&mut self, message: Delivered, is_new: bool, rows: &RowProgress) {
        let table = message.partition.topic.table;
        if is_new {
            self.count(metrics::EVENTS_IN, table, u64::from(message.message.headers.rows));
            let key = MessageKey::new(&message.partition, message.offset, &message.message.headers);
            self.add_new(table, &message, |row| rows.is_settled(&key, row));
        } else {
            self.count(metrics::MESSAGES_REPEATED, table, 1);
        }
        let headers = Some(message.message.headers);
        self.messages.push(HeldMessage {
            partition: message.partition,
            offset: message.offset,
            headers,
            revoked: false,
        });
    }

    fn add_new(&mut self, table: Table, message: &Delivered, is_settled: impl Fn(u32) -> bool) {
        let position = format!("{}@{}", message.partition, message.offset);
        let (version, payload) = (message.message.headers.schema_version, &message.message.payload);
        match select(self.codec, &self.settings.filter, table, version, payload, &position) {
            Ok(selection) => self.add_rows(table, selection, is_settled),
            Err(error) => self.add_damaged(message, position, chain(&error)),
        }
    }

    fn add_rows(&mut self, table: Table, selection: Selection, is_settled: impl Fn(u32) -> bool) {
        let number = self.messages.len();
        self.count(metrics::EVENTS_FILTERED, table, selection.filtered as u64);
        for Identified { event_id, row, place } in selection.selected {
            if is_settled(place) {
                continue;
            }
            let bytes = self.destination.encode(table, &event_id, &row);
            self.bytes += bytes.len();
            self.records.push(Record { table, event_id, row, bytes, message: number, place });
        }
        for (Identified { event_id, row, .. }, words) in selection.failed {
            let letter = self.letter(table, event_id, Reason::RowFilter, words, Content::Row(row));
            self.letters.push((number, letter));
        }
    }

    /// Makes a dead letter of a message that cannot be decoded.
    fn add_damaged(&mut self, message: &Delivered, position: String, words: String) {
        let schema_version = message.message.headers.schema_version;
        let content = Content::Message { schema_version, payload: BASE64_STANDARD.encode(&message.message.payload) };
        let letter = self.letter(message.partition.topic.table, position, Reason::Damaged, words, content);
        self.letters.push((self.messages.len(), letter));
    }

    fn letter(&self, table: Table, event_id: String, reason: Reason, words: String, content: Content) -> Letter {
        Letter::new(&self.settings.name, table, event_id, reason, words, content)
    }

    /// Skips a message that the event log itself could not read: there are no bytes to keep.
    pub(super) fn skip(&mut self, partition: Partition, offset: i64, reason: &str) {
        tracing::error!(sink = self.settings.name, %partition, offset, reason, "skipped a message that cannot be read");
        let labels = [("sink", self.settings.name.clone()), ("reason", "damaged".to_owned())];
        ::metrics::counter!(metrics::EVENTS_LOST, &labels).increment(1);
        self.messages.push(HeldMessage { partition, offset, headers: None, revoked: false });
    }

    /// Drops what was read from `partitions`: they are assigned to another consumer of the group now.
    pub(super) fn revoke(&mut self, partitions: &[Partition]) {
        // The messages stay, so that the numbers of the others do not change.
        for message in &mut self.messages {
            message.revoked |= partitions.contains(&message.partition);
        }
        let messages = &self.messages;
        self.records.retain(|record| !messages[record.message].revoked);
        self.letters.retain(|(message, _)| !messages[*message].revoked);
        self.bytes = self.records.iter().map(|record| record.bytes.len()).sum();
    }

    /// The rows to be sent.
    pub(super) fn records(&mut self) -> Vec<Record> {
        std::mem::take(&mut self.records)
    }

    /// What identifies each message, by its number; `None` for one that could not be read.
    pub(super) fn keys(&self) -> Vec<Option<MessageKey>> {
        let key = |message: &HeldMessage| {
            message.headers.as_ref().map(|headers| MessageKey::new(&message.partition, message.offset, headers))
        };
        self.messages.iter().map(key).collect()
    }

    /// The dead letters to be written, each with the number of its message.
    pub(super) fn letters(&mut self) -> Vec<(usize, Letter)> {
        std::mem::take(&mut self.letters)
    }

    /// The numbers of the messages that can be committed while those numbered `undone` are not settled: in each
    /// partition, those before the first of them.
    fn done_without(&self, undone: &[usize]) -> Vec<usize> {
        let undone: BTreeSet<usize> = undone.iter().copied().collect();
        let mut blocked: BTreeSet<&Partition> = BTreeSet::new();
        let mut done = Vec::new();
        for (number, message) in self.messages.iter().enumerate().filter(|(_, message)| !message.revoked) {
            if undone.contains(&number) {
                blocked.insert(&message.partition);
            }
            if !blocked.contains(&message.partition) {
                done.push(number);
            }
        }
        done
    }

    /// What can be committed while the messages numbered `undone` are not settled.
    pub(super) fn done(&self, undone: &[usize]) -> Done<'_> {
        let done: Vec<&HeldMessage> =
            self.done_without(undone).into_iter().map(|number| &self.messages[number]).collect();
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

/// What can be committed: its rows are delivered or are dead letters.
pub(super) struct Done<'a> {
    /// To commit.
    pub(super) positions: Vec<Position>,
    /// The messages before them: partition, offset, and headers where they could be read.
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
    fn messages_after_an_unfinished_one_are_not_committed() {
        let config = serde_json::json!({"name": "n", "kind": "ndjson", "path": "/unused"});
        let settings = serde_json::from_value::<crate::SinkConfig>(config).unwrap().settings().unwrap();
        let codec = Codec::current();
        let mut in_flight = InFlight::new(&settings, &Nowhere, &codec);
        for (number, offset) in [(0, 5), (1, 9), (0, 6), (0, 7), (1, 10)] {
            in_flight.skip(partition(number), offset, "not needed here");
        }
        for (undone, expected) in [
            (&[][..], &[(0, 8), (1, 11)][..]),
            (&[2], &[(0, 6), (1, 11)]),
            (&[0], &[(1, 11)]),
            (&[3, 4], &[(0, 7), (1, 10)]),
            (&[0, 1], &[]),
        ] {
            assert_eq!(positions(&in_flight.done(undone)), expected, "{undone:?}");
        }
        in_flight.revoke(&[partition(1)]);
        assert_eq!(positions(&in_flight.done(&[])), [(0, 8)]);
    }
}

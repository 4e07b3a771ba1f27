//! Recognizes messages that were sent again.
//!
//! A sender numbers the messages of a stream and table, and sends them in that order; after a crash it starts again
//! somewhere at or before the first one that was not acknowledged. So a number at or below the highest taken is known.

use std::collections::{BTreeMap, HashMap};

use kerntrail_schemas::identity::StreamId;

use crate::log::Headers;

/// Streams remembered by default: collectors and importers that wrote to one topic.
pub const MOST_STREAMS: usize = 10_000;

/// The batch numbers that a consumer of one topic has taken, by stream.
///
/// Holds at most a given number of streams; beyond, the one whose last message is the oldest is forgotten: a
/// collector that has been silent for that long has nothing left to send again.
#[derive(Clone, Debug)]
pub struct BatchFilter {
    most: usize,
    clock: u64,
    /// Highest number taken, and when.
    taken: HashMap<StreamId, (i64, u64)>,
}

impl Default for BatchFilter {
    fn default() -> Self {
        Self::new(MOST_STREAMS)
    }
}

impl BatchFilter {
    /// Nothing is taken yet; `most` streams are remembered, at least one.
    pub fn new(most: usize) -> Self {
        Self { most: most.max(1), clock: 0, taken: HashMap::new() }
    }

    /// A filter that knows what [`BatchFilter::taken`] returned earlier, for example from where it was stored with the offsets.
    pub fn from_taken(taken: impl IntoIterator<Item = (StreamId, i64)>) -> Self {
        let mut filter = Self::default();
        for (stream, batch) in taken {
            filter.note(&stream, batch);
        }
        filter
    }

    /// Whether the message was taken before; if so, drop it.
    pub fn knows(&self, headers: &Headers) -> bool {
        self.taken.get(&headers.stream).is_some_and(|(highest, _)| headers.batch <= *highest)
    }

    /// Notes that the message is taken; `false` if it was before.
    pub fn take(&mut self, headers: &Headers) -> bool {
        if self.knows(headers) {
            return false;
        }
        self.note(&headers.stream, headers.batch);
        true
    }

    /// Highest number taken of each stream.
    pub fn taken(&self) -> BTreeMap<StreamId, i64> {
        self.taken.iter().map(|(stream, (highest, _))| (stream.clone(), *highest)).collect()
    }

    fn note(&mut self, stream: &StreamId, batch: i64) {
        self.clock += 1;
        if let Some(known) = self.taken.get_mut(stream) {
            *known = (batch, self.clock);
            return;
        }
        if self.taken.len() == self.most {
            let oldest = self.taken.iter().min_by_key(|(_, (_, when))| *when).map(|(stream, _)| stream.clone());
            oldest.map(|stream| self.taken.remove(&stream));
        }
        self.taken.insert(stream.clone(), (batch, self.clock));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(stream: &str, batch: i64) -> Headers {
        let (stream, node) = (StreamId::new(stream), "n".to_owned());
        Headers { schema_version: 1, node, stream, batch, rows: 1, seq_range: (0, 0) }
    }

    #[test]
    fn a_batch_number_is_accepted_once() {
        let mut filter = BatchFilter::default();
        let taken: Vec<bool> = [("a", 0), ("a", 1), ("a", 0), ("a", 1), ("b", 0), ("a", 5), ("a", 3), ("b", 1)]
            .map(|(stream, batch)| filter.take(&headers(stream, batch)))
            .into();
        assert_eq!(taken, [true, true, false, false, true, true, false, true]);
        let again = BatchFilter::from_taken(filter.taken());
        assert!(again.knows(&headers("a", 5)) && !again.knows(&headers("a", 6)));
    }

    #[test]
    fn the_stream_that_was_idle_longest_is_forgotten() {
        let mut filter = BatchFilter::new(2);
        for (stream, batch) in [("a", 0), ("b", 0), ("a", 1), ("c", 0)] {
            assert!(filter.take(&headers(stream, batch)));
        }
        assert!(filter.knows(&headers("a", 1)) && !filter.knows(&headers("b", 0)) && filter.knows(&headers("c", 0)));
    }
}

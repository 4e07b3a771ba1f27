//! The state machine against a model: random deliveries, resends, commits, conflicts, moves of partitions.
//!
//! The model is a log (partitions of messages, some resent) and a lake (the set of batches committed, and progress).
//! Rows lost or doubled show as batches missing or twice in the lake.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng};

use super::*;
use kerntrail_transport::Topic;

const TABLE: Table = Table::ProcessEvents;
const PARTITIONS: i32 = 3;

fn partition(number: i32) -> Partition {
    Partition { topic: Topic { tenant: "acme".into(), table: TABLE }, number }
}

/// A message of the model.
type Batch = (String, i64);

/// What the lake holds.
#[derive(Default)]
struct ModelLake {
    batches: Vec<Batch>,
    next: BTreeMap<String, i64>,
    streams: BTreeMap<String, i64>,
}

impl ModelLake {
    fn progress(&self, partition: &Partition) -> Progress {
        let name = partition.to_string();
        let next_offset = self.next.get(&name).copied().unwrap_or(0);
        Progress { partition: name, from_offset: next_offset, next_offset, batches: self.streams.clone() }
    }

    /// As `LakeTable::append`: all or nothing, and only from where the lake is.
    fn append(&mut self, rows: &[Batch], progress: &[Progress]) -> bool {
        let is_elsewhere =
            |source: &Progress| source.from_offset != self.next.get(&source.partition).copied().unwrap_or(0);
        if progress.iter().any(is_elsewhere) {
            return false;
        }
        self.batches.extend_from_slice(rows);
        for source in progress {
            self.next.insert(source.partition.clone(), source.next_offset);
            self.streams.extend(source.batches.clone());
        }
        true
    }
}

/// One pipeline of the model.
#[derive(Default)]
struct Reader {
    tracker: Tracker,
    positions: BTreeMap<Partition, i64>,
    buffer: Vec<(Partition, Batch)>,
    flight: Option<(Vec<Batch>, Vec<Progress>)>,
}

impl Reader {
    fn assign(&mut self, partition: &Partition, lake: &ModelLake) {
        self.buffer.retain(|(of, _)| of != partition);
        let position = self.tracker.assign(partition.clone(), lake.progress(partition));
        self.positions.insert(partition.clone(), position.next);
    }

    fn revoke(&mut self, partition: &Partition) {
        self.tracker.revoke(partition);
        self.positions.remove(partition);
        self.buffer.retain(|(of, _)| of != partition);
    }

    fn deliver(&mut self, partition: &Partition, offset: i64, (stream, batch): &Batch) {
        match self.tracker.judge(partition, offset, stream, *batch) {
            MessageVerdict::Take => {
                self.tracker.take(partition, offset, stream, *batch);
                self.buffer.push((partition.clone(), (stream.clone(), *batch)));
            }
            MessageVerdict::Known => {
                self.tracker.skip(partition, offset);
            }
            MessageVerdict::Stray => {}
        }
    }

    fn cut(&mut self) {
        if self.flight.is_none() && self.tracker.has_news(TABLE) {
            let rows = std::mem::take(&mut self.buffer).into_iter().map(|(_, batch)| batch).collect();
            self.flight = Some((rows, self.tracker.cut(TABLE)));
        }
    }

    /// The commit reaches the lake; `heard`: whether the reader learns how it ended.
    fn land(&mut self, lake: &mut ModelLake, heard: bool) {
        let Some((rows, progress)) = self.flight.take() else { return };
        let committed = lake.append(&rows, &progress);
        if committed && heard {
            self.tracker.committed(TABLE);
        } else if committed {
            // Tried again, and refused, since it had succeeded.
            self.flight = Some((rows, progress));
        } else {
            self.buffer.clear();
            for partition in self.tracker.forget(TABLE) {
                self.assign(&partition, lake);
            }
        }
    }
}

/// Two streams a partition, each batch numbered, some resent a little later.
fn log(random: &mut StdRng) -> Vec<Vec<Batch>> {
    let partition = |number| {
        let mut messages: Vec<Batch> = Vec::new();
        let mut next = [0i64; 2];
        for _ in 0..60 {
            let stream = random.random_range(0..2usize);
            let name = format!("{number}-{stream}");
            if next[stream] > 0 && random.random_range(0..4) == 0 {
                messages.push((name, random.random_range(0..next[stream])));
            } else {
                messages.push((name, next[stream]));
                next[stream] += 1;
            }
        }
        messages
    };
    (0..PARTITIONS).map(partition).collect()
}

fn step(random: &mut StdRng, log: &[Vec<Batch>], lake: &mut ModelLake, readers: &mut [Reader; 2]) {
    let who = random.random_range(0..2usize);
    let number = random.random_range(0..PARTITIONS);
    let partition = partition(number);
    match random.random_range(0..20) {
        0..10 => {
            if let Some(position) = readers[who].positions.get_mut(&partition) {
                let offset = *position;
                if let Some(batch) = log[number as usize].get(offset as usize) {
                    *position += 1;
                    readers[who].deliver(&partition, offset, batch);
                }
            }
        }
        10..13 => readers[who].cut(),
        13..16 => readers[who].land(lake, true),
        16 => readers[who].land(lake, false),
        // The partition moves; the one who loses it may not know yet, and goes on.
        17 => readers[who].assign(&partition, lake),
        18 => readers[who].revoke(&partition),
        // kill -9
        _ => readers[who] = Reader::default(),
    }
}

fn run(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let log = log(&mut random);
    let mut lake = ModelLake::default();
    let mut readers = [Reader::default(), Reader::default()];
    for _ in 0..2000 {
        step(&mut random, &log, &mut lake, &mut readers);
    }
    // In the end one reader has it all.
    let mut last = Reader::default();
    for number in 0..PARTITIONS {
        let partition = partition(number);
        last.assign(&partition, &lake);
        for offset in last.positions[&partition]..log[number as usize].len() as i64 {
            last.deliver(&partition, offset, &log[number as usize][offset as usize]);
        }
    }
    last.cut();
    last.land(&mut lake, true);

    let mut expected: Vec<Batch> = log.concat();
    expected.sort();
    expected.dedup();
    let mut got = lake.batches.clone();
    got.sort();
    assert_eq!(got, expected, "seed {seed}");
}

#[test]
fn every_batch_is_in_the_lake_once() {
    // Seeds that once found a fault are kept first.
    for seed in (0..300).chain([0xC0FFEE, 20_261_124]) {
        run(seed);
    }
}

#[test]
fn messages_are_judged_and_counted() {
    let mut tracker = Tracker::default();
    let place = partition(0);
    assert_eq!(tracker.judge(&place, 0, "s", 0), MessageVerdict::Stray, "not assigned");
    let recorded = Progress {
        partition: place.to_string(),
        from_offset: 5,
        next_offset: 5,
        batches: [("s".to_owned(), 3)].into(),
    };
    assert_eq!(tracker.assign(place.clone(), recorded).next, 5);
    assert!(!tracker.has_news(TABLE));
    let cases = [
        (4, "s", 9, MessageVerdict::Stray),
        (5, "s", 3, MessageVerdict::Known),
        (5, "s", 4, MessageVerdict::Take),
        (5, "t", 0, MessageVerdict::Take),
    ];
    for (offset, stream, batch, expected) in cases {
        assert_eq!(tracker.judge(&place, offset, stream, batch), expected, "{offset} {stream} {batch}");
    }
    assert_eq!(tracker.take(&place, 5, "s", 4), 0);
    assert_eq!(tracker.judge(&place, 6, "s", 4), MessageVerdict::Known);
    assert_eq!(tracker.skip(&place, 8), 2, "offsets 6 and 7 are missing");
    assert!(tracker.has_news(TABLE));
    let cut = tracker.cut(TABLE);
    assert_eq!((cut[0].next_offset, &cut[0].batches), (9, &[("s".to_owned(), 4)].into()));
    assert!(!tracker.has_news(TABLE));
    assert_eq!(tracker.judge(&place, 9, "s", 4), MessageVerdict::Known, "while it is being committed");
    assert_eq!(tracker.committed(TABLE)[0].next, 9);
    assert_eq!(tracker.judge(&place, 9, "s", 4), MessageVerdict::Known);
}

#[test]
fn a_held_partition_commits_earlier_messages_and_takes_no_later_ones() {
    let (mut tracker, place, other) = (Tracker::default(), partition(0), partition(1));
    for place in [&place, &other] {
        tracker.assign(place.clone(), Progress { partition: place.to_string(), ..Progress::default() });
    }
    tracker.take(&place, 0, "s", 0);
    tracker.hold(&place);
    for offset in [1, 2] {
        assert_eq!(tracker.judge(&place, offset, "s", offset), MessageVerdict::Stray);
        assert_eq!(tracker.skip(&place, offset), 0);
    }
    assert_eq!(tracker.judge(&other, 0, "t", 0), MessageVerdict::Take);
    let cut = tracker.cut(TABLE);
    assert_eq!(cut.iter().map(|progress| progress.next_offset).collect::<Vec<_>>(), [1]);
    assert_eq!(tracker.committed(TABLE), [Position { partition: place.clone(), next: 1 }]);
    assert!(!tracker.has_news(TABLE));
    // The next reader goes on at the message that was held.
    let recorded = Progress { partition: place.to_string(), from_offset: 1, next_offset: 1, ..Progress::default() };
    assert_eq!(tracker.assign(place.clone(), recorded).next, 1);
    assert_eq!(tracker.judge(&place, 1, "s", 1), MessageVerdict::Take);
}

#[test]
fn streams_that_the_lake_has_forgotten_are_forgotten() {
    let place = partition(0);
    let mut tracker = Tracker::default();
    let batches = [("ended".to_owned(), 3), ("running".to_owned(), 8)].into();
    tracker.assign(place.clone(), Progress { next_offset: 12, batches, ..Progress::default() });
    assert_eq!(tracker.judge(&place, 12, "ended", 3), MessageVerdict::Known);
    assert!(!tracker.has_stream(&place, "new"));
    tracker.take(&place, 12, "new", 0);
    tracker.cut(TABLE);
    tracker.take(&place, 13, "newest", 0);
    tracker.keep_streams(TABLE, &[("running".to_owned(), 8)].into());
    for (stream, expected) in [("ended", false), ("running", true), ("new", true), ("newest", true)] {
        assert_eq!(tracker.has_stream(&place, stream), expected, "{stream}");
    }
    assert_eq!(tracker.judge(&place, 14, "running", 8), MessageVerdict::Known);
}

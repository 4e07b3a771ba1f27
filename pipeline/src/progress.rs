//! What has been taken of each partition, what is being committed, what is committed. No IO.
//!
//! Life of an offset: delivered -> taken (its rows are in a buffer) -> cut (its rows are being committed) -> committed.
//! A table has at most one cut at a time. Everything not committed is forgotten when another writer committed first
//! ([`Tracker::forget`]) or the partition goes to another reader ([`Tracker::revoke`]); the log still has it.
//! A message that a newer release wrote holds its partition ([`Tracker::hold`]): what precedes it is committed,
//! nothing after it is taken.

use std::collections::{BTreeMap, HashMap};

use kerntrail_lake::Progress;
use kerntrail_schemas::Table;
use kerntrail_transport::{Partition, Position};

/// What to do with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageVerdict {
    /// Its rows are new.
    Take,
    /// Its batch was taken before: a resend.
    Known,
    /// Its partition is not assigned or is held, or its offset is before the position to read from.
    Stray,
}

/// How far one partition has come since it was assigned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Taken {
    /// Offset that the lake wants next.
    committed: i64,
    /// Offset expected next, and the batches taken, of what is being committed.
    cut: Option<(i64, BTreeMap<String, i64>)>,
    /// Offset expected next.
    next: i64,
    /// Batches taken since the cut.
    batches: BTreeMap<String, i64>,
    /// Whether the message at `next` waits for a newer release.
    held: bool,
}

/// What has been taken of each partition.
#[derive(Clone, Debug, Default)]
pub struct Tracker {
    partitions: BTreeMap<Partition, Taken>,
    /// Last batch of each stream that the lake has, by table.
    streams: HashMap<Table, HashMap<String, i64>>,
}

impl Tracker {
    /// Reads `partition` on from what the lake has `recorded`. What was taken of it and not committed is forgotten.
    pub fn assign(&mut self, partition: Partition, recorded: Progress) -> Position {
        let streams = self.streams.entry(partition.topic.table).or_default();
        for (stream, batch) in recorded.batches {
            raise(streams, stream, batch);
        }
        let next = recorded.next_offset;
        self.partitions.insert(partition.clone(), Taken { committed: next, next, ..Taken::default() });
        Position { partition, next }
    }

    /// Forgets `partition`: another reader has it.
    pub fn revoke(&mut self, partition: &Partition) {
        self.partitions.remove(partition);
    }

    /// The next message of `partition` waits for a newer release: takes no more of it until it is assigned again.
    pub fn hold(&mut self, partition: &Partition) {
        if let Some(taken) = self.partitions.get_mut(partition) {
            taken.held = true;
        }
    }

    /// The partitions of `table` that are read.
    pub fn partitions(&self, table: Table) -> Vec<Partition> {
        self.partitions.keys().filter(|partition| partition.topic.table == table).cloned().collect()
    }

    /// What to do with the message at `offset`. Changes nothing: follow with [`Tracker::take`] or [`Tracker::skip`].
    pub fn judge(&self, partition: &Partition, offset: i64, stream: &str, batch: i64) -> MessageVerdict {
        match self.partitions.get(partition) {
            Some(taken) if offset >= taken.next && !taken.held => {
                let cut = taken.cut.as_ref().and_then(|(_, batches)| batches.get(stream));
                let committed = self.streams.get(&partition.topic.table).and_then(|streams| streams.get(stream));
                let last = [taken.batches.get(stream), cut, committed].into_iter().flatten().max();
                if last.is_some_and(|last| batch <= *last) { MessageVerdict::Known } else { MessageVerdict::Take }
            }
            _ => MessageVerdict::Stray,
        }
    }

    /// Whether anything is known of the batches of `stream`.
    pub fn has_stream(&self, partition: &Partition, stream: &str) -> bool {
        let taken = self.partitions.get(partition);
        taken.is_some_and(|taken| {
            taken.batches.contains_key(stream)
                || taken.cut.as_ref().is_some_and(|(_, batches)| batches.contains_key(stream))
        }) || self.streams.get(&partition.topic.table).is_some_and(|streams| streams.contains_key(stream))
    }

    /// Forgets the streams of `table` that have expired in the lake: all except those in `recorded`.
    pub fn keep_streams(&mut self, table: Table, recorded: &BTreeMap<String, i64>) {
        if let Some(streams) = self.streams.get_mut(&table) {
            streams.retain(|stream, _| recorded.contains_key(stream));
        }
    }

    /// The rows of the message at `offset` are in the buffer. Returns how many offsets the log left out before it.
    pub fn take(&mut self, partition: &Partition, offset: i64, stream: &str, batch: i64) -> i64 {
        if let Some(taken) = self.partitions.get_mut(partition) {
            taken.batches.insert(stream.to_owned(), batch);
        }
        self.skip(partition, offset)
    }

    /// The message at `offset` is done with, without rows. Returns how many offsets the log left out before it.
    pub fn skip(&mut self, partition: &Partition, offset: i64) -> i64 {
        let open = |taken: &&mut Taken| offset >= taken.next && !taken.held;
        let Some(taken) = self.partitions.get_mut(partition).filter(open) else { return 0 };
        let missing = if taken.next > 0 { offset - taken.next } else { 0 };
        taken.next = offset + 1;
        missing
    }

    /// Whether anything of `table` was taken that is neither committed nor being committed.
    pub fn has_news(&self, table: Table) -> bool {
        self.of(table).any(|taken| taken.next > taken.cut.as_ref().map_or(taken.committed, |(next, _)| *next))
    }

    /// Starts to commit what was taken of `table`: the progress that goes with the buffered rows.
    /// Call it only when no cut of the table is in flight.
    pub fn cut(&mut self, table: Table) -> Vec<Progress> {
        let mut progress = Vec::new();
        for (partition, taken) in self.partitions.iter_mut().filter(|(partition, _)| partition.topic.table == table) {
            if taken.next > taken.committed {
                let batches = std::mem::take(&mut taken.batches);
                taken.cut = Some((taken.next, batches.clone()));
                progress.push(Progress {
                    partition: partition.to_string(),
                    from_offset: taken.committed,
                    next_offset: taken.next,
                    batches,
                });
            }
        }
        progress
    }

    /// The cut of `table` is in the lake. Returns the positions that the group may now commit.
    pub fn committed(&mut self, table: Table) -> Vec<Position> {
        let streams = self.streams.entry(table).or_default();
        let mut positions = Vec::new();
        for (partition, taken) in self.partitions.iter_mut().filter(|(partition, _)| partition.topic.table == table) {
            let Some((next, batches)) = taken.cut.take() else { continue };
            for (stream, batch) in batches {
                raise(streams, stream, batch);
            }
            taken.committed = next;
            positions.push(Position { partition: partition.clone(), next });
        }
        positions
    }

    /// Another writer has committed to `table` first: drops everything that is not committed. The returned partitions
    /// must be assigned again, with their progress read again, and sought.
    pub fn forget(&mut self, table: Table) -> Vec<Partition> {
        for taken in self.of_mut(table) {
            *taken = Taken { committed: taken.committed, next: taken.committed, ..Taken::default() };
        }
        self.partitions(table)
    }

    fn of(&self, table: Table) -> impl Iterator<Item = &Taken> {
        self.partitions.iter().filter(move |(partition, _)| partition.topic.table == table).map(|(_, taken)| taken)
    }

    fn of_mut(&mut self, table: Table) -> impl Iterator<Item = &mut Taken> {
        self.partitions.iter_mut().filter(move |(partition, _)| partition.topic.table == table).map(|(_, taken)| taken)
    }
}

fn raise(streams: &mut HashMap<String, i64>, stream: String, batch: i64) {
    streams.entry(stream).and_modify(|last| *last = batch.max(*last)).or_insert(batch);
}

#[cfg(test)]
mod tests;

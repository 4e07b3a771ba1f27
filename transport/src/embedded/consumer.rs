//! A member of a group of the embedded log.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::groups::MemberId;
use super::record::{self, Unreadable};
use super::{Shared, blocking, failed};
use crate::log::{Consumer, Delivered, Group, LogError, Partition, Polled, Position};

/// Payload bytes of one poll; at least one message comes even if it is larger.
const POLL_BYTES: usize = 16 << 20;

pub(super) struct EmbeddedConsumer {
    shared: Arc<Shared>,
    group: Group,
    member: MemberId,
    /// Next offset of each assigned partition.
    next: BTreeMap<Partition, i64>,
    /// Partitions in the order in which they are read, which rotates, so that a busy one does not keep the others waiting.
    /// A paused one is not among them.
    turns: VecDeque<Partition>,
}

impl EmbeddedConsumer {
    pub(super) fn new(shared: Arc<Shared>, group: Group, member: MemberId) -> Self {
        Self { shared, group, member, next: BTreeMap::new(), turns: VecDeque::new() }
    }

    /// A change of assignment that the caller must get before anything else.
    fn change(&mut self) -> Option<Polled> {
        let mut state = self.shared.state();
        let change = state.members.change(&self.group, self.member)?;
        match &change {
            Polled::Assigned(partitions) => {
                for partition in partitions {
                    let start = state.start(&self.group, partition);
                    state.set_read(&self.group, partition, start);
                    self.next.insert(partition.clone(), start);
                    self.turns.push_back(partition.clone());
                }
            }
            Polled::Revoked(partitions) => {
                self.next.retain(|partition, _| !partitions.contains(partition));
                drop(state);
                self.stop(partitions);
                // The members that gain them wait for this.
                self.shared.changed.notify_waiters();
            }
            Polled::Messages(_) => {}
        }
        Some(change)
    }

    /// Reads `partitions` no more.
    fn stop(&mut self, partitions: &[Partition]) {
        self.turns.retain(|partition| !partitions.contains(partition));
    }

    /// Partitions with something to read, in turn: topic id, and offsets `[from, to)`.
    fn ready(&self) -> Vec<Ready> {
        let state = self.shared.state();
        let ready = self.turns.iter().filter_map(|partition| {
            let (id, extent) = state.extent(partition)?;
            let from = (*self.next.get(partition)?).max(extent.low);
            (from < extent.next).then(|| Ready { partition: partition.clone(), id, from, to: extent.next })
        });
        ready.collect()
    }

    async fn read(&mut self, ready: Vec<Ready>, most: usize) -> Result<Vec<Delivered>, LogError> {
        let shared = Arc::clone(&self.shared);
        let read = blocking(move || Ok(read(&shared, &ready, most))).await?;
        // No await from here on: a poll that is dropped before this point has not advanced.
        for Delivered { partition, offset, .. } in &read.messages {
            self.next.insert(partition.clone(), offset + 1);
            self.shared.state().set_read(&self.group, partition, offset + 1);
        }
        match read.stopped {
            Some(error) if read.messages.is_empty() => {
                match &error {
                    LogError::Damaged { partition, offset, .. } => {
                        self.next.insert(partition.clone(), offset + 1);
                    }
                    LogError::Newer { partition, .. } => self.stop(std::slice::from_ref(partition)),
                    _ => {}
                }
                Err(error)
            }
            _ => {
                self.turns.rotate_left(1.min(self.turns.len()));
                Ok(read.messages)
            }
        }
    }
}

struct Ready {
    partition: Partition,
    id: u32,
    from: i64,
    to: i64,
}

struct Read {
    messages: Vec<Delivered>,
    /// Why reading stopped behind them: a damaged message, or one of a newer release.
    stopped: Option<LogError>,
}

fn read(shared: &Shared, ready: &[Ready], most: usize) -> Read {
    let mut read = Read { messages: Vec::new(), stopped: None };
    let mut bytes = 0;
    for Ready { partition, id, from, to } in ready {
        for found in shared.store.messages(*id, partition.number as u32, *from, *to) {
            if read.messages.len() >= most.max(1) || (bytes >= POLL_BYTES && !read.messages.is_empty()) {
                return read;
            }
            let message = found.map_err(|error| failed(format!("read {partition} from {from}"), error)).and_then(
                |(offset, bytes)| {
                    let unreadable = |why| match why {
                        Unreadable::Damaged(reason) => {
                            LogError::Damaged { partition: partition.clone(), offset, reason }
                        }
                        Unreadable::Newer(newer) => LogError::Newer { partition: partition.clone(), offset, newer },
                    };
                    Ok((offset, record::decode(&bytes).map_err(unreadable)?))
                },
            );
            match message {
                Ok((offset, message)) => {
                    bytes += message.payload.len();
                    read.messages.push(Delivered { partition: partition.clone(), offset, message });
                }
                Err(error) => {
                    read.stopped = Some(error);
                    return read;
                }
            }
        }
    }
    read
}

#[async_trait]
impl Consumer for EmbeddedConsumer {
    async fn poll(&mut self, most: usize, wait: Duration) -> Result<Polled, LogError> {
        let deadline = Instant::now() + wait;
        let shared = Arc::clone(&self.shared);
        loop {
            let changed = shared.changed.notified();
            tokio::pin!(changed);
            // From here on no change is missed.
            changed.as_mut().enable();
            if let Some(change) = self.change() {
                return Ok(change);
            }
            let ready = self.ready();
            if !ready.is_empty() {
                let messages = self.read(ready, most).await?;
                if !messages.is_empty() {
                    return Ok(Polled::Messages(messages));
                }
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                return Ok(Polled::Messages(Vec::new()));
            }
        }
    }

    async fn seek(&mut self, position: &Position) -> Result<(), LogError> {
        match self.next.get_mut(&position.partition) {
            Some(next) => {
                *next = position.next.max(0);
                self.shared.state().set_read(&self.group, &position.partition, *next);
                if !self.turns.contains(&position.partition) {
                    self.turns.push_back(position.partition.clone());
                }
                Ok(())
            }
            None => {
                let operation = format!("seek {} of {}", position.next, position.partition);
                Err(failed(operation, "the partition is not assigned"))
            }
        }
    }

    async fn pause(&mut self, partition: &Partition) -> Result<(), LogError> {
        self.stop(std::slice::from_ref(partition));
        Ok(())
    }

    async fn commit(&mut self, positions: &[Position]) -> Result<(), LogError> {
        let (shared, group, member) = (Arc::clone(&self.shared), self.group.clone(), self.member);
        let positions = positions.to_vec();
        blocking(move || shared.commit(&group, member, &positions)).await
    }
}

impl Drop for EmbeddedConsumer {
    fn drop(&mut self) {
        self.shared.leave(&self.group, self.member);
    }
}

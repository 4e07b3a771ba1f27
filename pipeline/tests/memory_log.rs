//! An event log in memory, with consumer groups, whose every step a test can make fail or stop.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Deref;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use kerntrail_transport::{
    Consumer, Delivered, EventLog, Group, LogError, Message, Partition, Polled, Position, Topic,
};
use tokio::sync::Notify;

/// Where a step can be made to fail or stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    Append,
    Poll,
    CommitBefore,
    CommitAfter,
}

/// What is in a place of a partition.
#[derive(Clone)]
pub enum Entry {
    Message(Message),
    /// Its headers cannot be read.
    Damaged,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<Partition, Vec<Entry>>,
    committed: HashMap<(Group, Partition), i64>,
    /// Partitions that the consumer of a number has and does not know of yet.
    news: HashMap<usize, Vec<Polled>>,
    /// Steps that fail with an error that says to try again, each once.
    fail: BTreeSet<Step>,
    /// Steps that never end.
    stop: BTreeSet<Step>,
    consumers: usize,
    /// Messages that the consumer of a number got.
    delivered: HashMap<usize, usize>,
}

#[derive(Default)]
pub struct Shared {
    state: Mutex<State>,
    appended: Notify,
    stopped: Notify,
    partitions: i32,
}

/// The log; clones are the same one.
#[derive(Clone)]
pub struct MemoryLog(Arc<Shared>);

impl Deref for MemoryLog {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl MemoryLog {
    pub fn new(partitions: i32) -> Self {
        Self(Arc::new(Shared { partitions, ..Shared::default() }))
    }

    /// Puts `entry` at the end of `partition`.
    pub fn push(&self, partition: &Partition, entry: Entry) {
        self.state.lock().unwrap().entries.entry(partition.clone()).or_default().push(entry);
        self.appended.notify_waiters();
    }

    pub fn fail(&self, step: Step) {
        self.state.lock().unwrap().fail.insert(step);
    }

    pub fn stop(&self, step: Step) {
        self.state.lock().unwrap().stop.insert(step);
    }

    pub async fn stopped(&self) {
        self.stopped.notified().await;
    }

    pub fn heal(&self) {
        let mut state = self.state.lock().unwrap();
        state.fail.clear();
        state.stop.clear();
    }

    /// Tells the consumer of that number (from 0, in the order of subscription).
    pub fn notify(&self, consumer: usize, news: Polled) {
        self.state.lock().unwrap().news.entry(consumer).or_default().push(news);
        self.appended.notify_waiters();
    }

    /// How many have subscribed.
    pub fn consumers(&self) -> usize {
        self.state.lock().unwrap().consumers
    }

    /// How many messages the consumer of that number got.
    pub fn delivered(&self, consumer: usize) -> usize {
        self.state.lock().unwrap().delivered.get(&consumer).copied().unwrap_or(0)
    }

    async fn step(&self, step: Step) -> Result<(), LogError> {
        let (fail, stop) = {
            let mut state = self.state.lock().unwrap();
            (state.fail.remove(&step), state.stop.contains(&step))
        };
        if stop {
            self.stopped.notify_one();
            std::future::pending::<()>().await;
        }
        if fail {
            let operation = format!("{step:?}");
            return Err(LogError::Failed { operation, source: "as the test wants it".into(), retriable: true });
        }
        Ok(())
    }
}

pub fn partition(topic: &Topic, number: i32) -> Partition {
    Partition { topic: topic.clone(), number }
}

#[async_trait]
impl EventLog for MemoryLog {
    async fn append(&self, topic: &Topic, messages: Vec<Message>) -> Result<(), LogError> {
        self.step(Step::Append).await?;
        for message in messages {
            self.push(&partition(topic, 0), Entry::Message(message));
        }
        Ok(())
    }

    async fn subscribe(&self, group: &Group, topics: &[Topic]) -> Result<Box<dyn Consumer>, LogError> {
        let number = {
            let mut state = self.state.lock().unwrap();
            state.consumers += 1;
            state.consumers - 1
        };
        let all = topics.iter().flat_map(|topic| (0..self.partitions).map(|number| partition(topic, number))).collect();
        // The first of a group has everything until the test says otherwise.
        if number == 0 || !self.state.lock().unwrap().news.contains_key(&number) {
            self.notify(number, Polled::Assigned(all));
        }
        Ok(Box::new(MemoryConsumer { log: self.clone(), group: group.clone(), number, positions: BTreeMap::new() }))
    }

    async fn end(&self, topic: &Topic) -> Result<Vec<Position>, LogError> {
        let state = self.state.lock().unwrap();
        let position = |number| {
            let partition = partition(topic, number);
            let next = state.entries.get(&partition).map_or(0, |entries| entries.len() as i64);
            Position { partition, next }
        };
        Ok((0..self.partitions).map(position).collect())
    }

    async fn oldest(&self, _: &Topic) -> Result<Vec<Position>, LogError> {
        Ok(Vec::new())
    }

    async fn committed(&self, group: &Group, topic: &Topic) -> Result<Vec<Position>, LogError> {
        let state = self.state.lock().unwrap();
        let of_topic = state.committed.iter().filter(|((of, partition), _)| of == group && partition.topic == *topic);
        Ok(of_topic.map(|((_, partition), next)| Position { partition: partition.clone(), next: *next }).collect())
    }
}

struct MemoryConsumer {
    log: MemoryLog,
    group: Group,
    number: usize,
    positions: BTreeMap<Partition, i64>,
}

impl MemoryConsumer {
    fn look(&mut self, most: usize) -> Option<Result<Polled, LogError>> {
        let mut state = self.log.state.lock().unwrap();
        if let Some(news) = state.news.get_mut(&self.number).filter(|news| !news.is_empty()) {
            let news = news.remove(0);
            match &news {
                Polled::Assigned(partitions) => {
                    for partition in partitions {
                        let key = (self.group.clone(), partition.clone());
                        let next = state.committed.get(&key).copied().unwrap_or(0);
                        self.positions.insert(partition.clone(), next);
                    }
                }
                Polled::Revoked(partitions) => self.positions.retain(|partition, _| !partitions.contains(partition)),
                Polled::Messages(_) => {}
            }
            return Some(Ok(news));
        }
        let mut messages = Vec::new();
        for (partition, next) in &mut self.positions {
            let entries = state.entries.get(partition).map_or(&[][..], |entries| &entries[..]);
            while let Some(entry) = entries.get(*next as usize).filter(|_| messages.len() < most) {
                match entry {
                    Entry::Message(message) => {
                        messages.push(Delivered {
                            partition: partition.clone(),
                            offset: *next,
                            message: message.clone(),
                        });
                        *next += 1;
                    }
                    Entry::Damaged if messages.is_empty() => {
                        let (partition, offset) = (partition.clone(), *next);
                        return Some(Err(LogError::Damaged { partition, offset, reason: "no headers".into() }));
                    }
                    Entry::Damaged => break,
                }
            }
        }
        *state.delivered.entry(self.number).or_default() += messages.len();
        (!messages.is_empty()).then_some(Ok(Polled::Messages(messages)))
    }
}

#[async_trait]
impl Consumer for MemoryConsumer {
    async fn poll(&mut self, most: usize, wait: Duration) -> Result<Polled, LogError> {
        self.log.step(Step::Poll).await?;
        let log = self.log.clone();
        let appended = log.appended.notified();
        if let Some(found) = self.look(most) {
            return found;
        }
        let _ = tokio::time::timeout(wait, appended).await;
        self.look(most).unwrap_or(Ok(Polled::Messages(Vec::new())))
    }

    async fn seek(&mut self, position: &Position) -> Result<(), LogError> {
        self.positions.insert(position.partition.clone(), position.next);
        Ok(())
    }

    async fn pause(&mut self, partition: &Partition) -> Result<(), LogError> {
        self.positions.remove(partition);
        Ok(())
    }

    async fn commit(&mut self, positions: &[Position]) -> Result<(), LogError> {
        self.log.step(Step::CommitBefore).await?;
        {
            let mut state = self.log.state.lock().unwrap();
            for position in positions {
                state.committed.insert((self.group.clone(), position.partition.clone()), position.next);
            }
        }
        self.log.step(Step::CommitAfter).await
    }
}

//! An event log in memory: one partition a topic, durable for as long as the value lives.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use kerntrail_transport::{
    Consumer, Delivered, EventLog, Group, LogError, Message, Partition, Polled, Position, Topic,
};
use tokio::sync::Notify;

#[derive(Default)]
struct Held {
    messages: BTreeMap<Topic, Vec<Message>>,
    committed: BTreeMap<(String, Topic), i64>,
    /// Offsets that cannot be read.
    damaged: Vec<(Topic, i64)>,
}

/// The log. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct MemoryLog {
    held: Arc<Mutex<Held>>,
    appended: Arc<Notify>,
}

impl MemoryLog {
    /// Makes the message at `offset` of `topic` unreadable.
    pub(crate) fn damage(&self, topic: &Topic, offset: i64) {
        self.held.lock().unwrap().damaged.push((topic.clone(), offset));
    }

    /// Offset that the sink `name` committed in `topic`.
    pub(crate) fn committed_by(&self, name: &str, topic: &Topic) -> i64 {
        let held = self.held.lock().unwrap();
        held.committed.get(&(format!("sink-{name}"), topic.clone())).copied().unwrap_or(0)
    }
}

fn partition(topic: &Topic) -> Partition {
    Partition { topic: topic.clone(), number: 0 }
}

#[async_trait]
impl EventLog for MemoryLog {
    async fn append(&self, topic: &Topic, messages: Vec<Message>) -> Result<(), LogError> {
        self.held.lock().unwrap().messages.entry(topic.clone()).or_default().extend(messages);
        self.appended.notify_waiters();
        Ok(())
    }

    async fn subscribe(&self, group: &Group, topics: &[Topic]) -> Result<Box<dyn Consumer>, LogError> {
        let held = self.held.lock().unwrap();
        let next = |topic: &Topic| held.committed.get(&(group.0.clone(), topic.clone())).copied().unwrap_or(0);
        let positions = topics.iter().map(|topic| (topic.clone(), next(topic))).collect();
        Ok(Box::new(MemoryConsumer { log: self.clone(), group: group.0.clone(), positions, assigned: false }))
    }

    async fn end(&self, topic: &Topic) -> Result<Vec<Position>, LogError> {
        let held = self.held.lock().unwrap();
        let next = held.messages.get(topic).map_or(0, |messages| messages.len() as i64);
        Ok(vec![Position { partition: partition(topic), next }])
    }

    async fn oldest(&self, _: &Topic) -> Result<Vec<Position>, LogError> {
        Ok(Vec::new())
    }

    async fn committed(&self, group: &Group, topic: &Topic) -> Result<Vec<Position>, LogError> {
        let held = self.held.lock().unwrap();
        let next = held.committed.get(&(group.0.clone(), topic.clone())).copied();
        Ok(next.map(|next| Position { partition: partition(topic), next }).into_iter().collect())
    }
}

struct MemoryConsumer {
    log: MemoryLog,
    group: String,
    positions: BTreeMap<Topic, i64>,
    assigned: bool,
}

impl MemoryConsumer {
    fn take(&mut self, most: usize) -> Result<Vec<Delivered>, LogError> {
        let held = self.log.held.lock().unwrap();
        let mut taken = Vec::new();
        for (topic, next) in &mut self.positions {
            for message in held.messages.get(topic).into_iter().flatten().skip(*next as usize) {
                if taken.len() == most {
                    return Ok(taken);
                }
                if held.damaged.contains(&(topic.clone(), *next)) {
                    if !taken.is_empty() {
                        return Ok(taken);
                    }
                    let offset = std::mem::replace(next, *next + 1);
                    let reason = "bits fell over".to_owned();
                    return Err(LogError::Damaged { partition: partition(topic), offset, reason });
                }
                taken.push(Delivered { partition: partition(topic), offset: *next, message: message.clone() });
                *next += 1;
            }
        }
        Ok(taken)
    }
}

#[async_trait]
impl Consumer for MemoryConsumer {
    async fn poll(&mut self, most: usize, wait: Duration) -> Result<Polled, LogError> {
        if !self.assigned {
            self.assigned = true;
            return Ok(Polled::Assigned(self.positions.keys().map(partition).collect()));
        }
        let appended = self.log.appended.clone();
        let notified = appended.notified();
        tokio::pin!(notified);
        notified.as_mut().enable();
        let taken = self.take(most)?;
        if !taken.is_empty() {
            return Ok(Polled::Messages(taken));
        }
        let _ = tokio::time::timeout(wait, notified).await;
        Ok(Polled::Messages(self.take(most)?))
    }

    async fn seek(&mut self, position: &Position) -> Result<(), LogError> {
        self.positions.insert(position.partition.topic.clone(), position.next);
        Ok(())
    }

    async fn pause(&mut self, partition: &Partition) -> Result<(), LogError> {
        self.positions.remove(&partition.topic);
        Ok(())
    }

    async fn commit(&mut self, positions: &[Position]) -> Result<(), LogError> {
        let mut held = self.log.held.lock().unwrap();
        for position in positions {
            held.committed.insert((self.group.clone(), position.partition.topic.clone()), position.next);
        }
        Ok(())
    }
}

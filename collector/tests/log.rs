//! An event log in memory that a test can make fail or wait.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use kerntrail_schemas::Table;
use kerntrail_transport::{Consumer, EventLog, Group, LogError, Message, Position, Topic, codec};
use serde_json::Value;
use tokio::sync::Semaphore;

/// What an append does instead of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Full,
    Retriable,
    /// Stores the messages, then reports a failure, as a broken connection does.
    StoredButFailed,
    Final,
}

/// Holds what was appended.
pub struct MemoryLog {
    messages: Mutex<Vec<(Topic, Message)>>,
    faults: Mutex<VecDeque<Fault>>,
    always: Option<Fault>,
    /// Each append takes a permit.
    pub permits: Semaphore,
}

impl Default for MemoryLog {
    fn default() -> Self {
        Self {
            messages: Mutex::default(),
            faults: Mutex::default(),
            always: None,
            permits: Semaphore::new(Semaphore::MAX_PERMITS),
        }
    }
}

impl MemoryLog {
    pub fn failing(faults: impl IntoIterator<Item = Fault>) -> Self {
        Self { faults: Mutex::new(faults.into_iter().collect()), ..Self::default() }
    }

    pub fn always(fault: Fault) -> Self {
        Self { always: Some(fault), ..Self::default() }
    }

    pub fn blocked() -> Self {
        Self { permits: Semaphore::new(0), ..Self::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Topic, Message)>> {
        self.messages.lock().unwrap()
    }

    /// All messages of `table`, resent ones too.
    pub fn messages(&self, table: Table) -> Vec<Message> {
        self.lock().iter().filter(|(topic, _)| topic.table == table).map(|(_, message)| message.clone()).collect()
    }

    pub fn topics(&self) -> Vec<String> {
        let mut topics: Vec<String> = self.lock().iter().map(|(topic, _)| topic.to_string()).collect();
        topics.sort();
        topics.dedup();
        topics
    }

    /// The rows of `table`; a batch that was resent counts once.
    pub fn batches(&self, table: Table) -> Vec<RecordBatch> {
        let mut seen = Vec::new();
        let mut batches = Vec::new();
        for message in self.messages(table) {
            let number = (message.headers.stream.clone(), message.headers.batch);
            if seen.contains(&number) {
                continue;
            }
            seen.push(number);
            let batch = codec::decode(table, message.headers.schema_version, &message.payload).unwrap();
            assert_eq!(batch.rows(), message.headers.rows as usize);
            batches.push(batch.flatten().unwrap());
        }
        batches
    }

    /// The same rows as JSON objects without NULLs.
    pub fn rows(&self, table: Table) -> Vec<Value> {
        let mut writer = arrow::json::LineDelimitedWriter::new(Vec::new());
        for batch in self.batches(table) {
            writer.write(&batch).unwrap();
        }
        writer.finish().unwrap();
        serde_json::Deserializer::from_slice(&writer.into_inner()).into_iter().map(Result::unwrap).collect()
    }
}

#[async_trait]
impl EventLog for MemoryLog {
    async fn append(&self, topic: &Topic, messages: Vec<Message>) -> Result<(), LogError> {
        self.permits.acquire().await.unwrap().forget();
        let fault = self.always.or_else(|| self.faults.lock().unwrap().pop_front());
        let failed = |retriable| LogError::Failed {
            operation: format!("append to {topic}"),
            source: "scripted".into(),
            retriable,
        };
        match fault {
            Some(Fault::Full) => return Err(LogError::Full { held: 1, limit: 1 }),
            Some(Fault::Retriable) => return Err(failed(true)),
            Some(Fault::Final) => return Err(failed(false)),
            Some(Fault::StoredButFailed) | None => {}
        }
        self.lock().extend(messages.into_iter().map(|message| (topic.clone(), message)));
        if fault.is_some() { Err(failed(true)) } else { Ok(()) }
    }

    async fn subscribe(&self, _: &Group, _: &[Topic]) -> Result<Box<dyn Consumer>, LogError> {
        Err(LogError::Failed { operation: "subscribe".into(), source: "nobody reads here".into(), retriable: false })
    }

    async fn end(&self, _: &Topic) -> Result<Vec<Position>, LogError> {
        Ok(Vec::new())
    }

    async fn oldest(&self, _: &Topic) -> Result<Vec<Position>, LogError> {
        Ok(Vec::new())
    }

    async fn committed(&self, _: &Group, _: &Topic) -> Result<Vec<Position>, LogError> {
        Ok(Vec::new())
    }
}

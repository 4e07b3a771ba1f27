//! Topics: looking them up, and creating missing ones.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::KafkaOptions;
use super::client::{self, Context, TIMEOUT, failed};
use crate::log::LogError;

pub(super) struct Topics {
    client: BaseConsumer<Context>,
    admin: AdminClient<Context>,
    partitions: i32,
    replication: i32,
    known: Mutex<HashSet<String>>,
}

impl Topics {
    pub(super) fn new(options: &KafkaOptions) -> Result<Self, LogError> {
        Ok(Self {
            client: client::watcher(options, None)?,
            admin: client::admin(options)?,
            partitions: options.partitions,
            replication: options.replication,
            known: Mutex::default(),
        })
    }

    /// Offsets of the oldest message of a partition and of the one after the newest. Blocks, and waits while its
    /// leadership moves.
    pub(super) fn offsets(&self, name: &str, number: i32) -> Result<(i64, i64), LogError> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            match self.client.fetch_watermarks(name, number, TIMEOUT) {
                Ok(offsets) => return Ok(offsets),
                // Asking again for the leader also keeps this from spinning.
                Err(error) if has_moved(&error) && Instant::now() < deadline => drop(self.count(name)?),
                Err(error) => return Err(failed(format!("read the offsets of {name}/{number}"), error)),
            }
        }
    }

    pub(super) fn is_known(&self, name: &str) -> bool {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).contains(name)
    }

    /// Creates the topic unless it exists. Blocks.
    pub(super) fn ensure(&self, name: &str) -> Result<(), LogError> {
        if self.is_known(name) {
            return Ok(());
        }
        if self.count(name)?.is_none() {
            self.make(name)?;
            self.await_leaders(name)?;
        }
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
        Ok(())
    }

    /// Number of partitions of the topic, which is created unless it exists. Blocks.
    pub(super) fn partitions(&self, name: &str) -> Result<i32, LogError> {
        self.ensure(name)?;
        Ok(self.count(name)?.unwrap_or(0))
    }

    /// Number of partitions; `None` if the topic does not exist.
    fn count(&self, name: &str) -> Result<Option<i32>, LogError> {
        let operation = || format!("read the partitions of {name}");
        let answer = self.client.fetch_metadata(Some(name), TIMEOUT).map_err(|error| failed(operation(), error))?;
        client::note_back();
        let Some(topic) = answer.topics().iter().find(|topic| topic.name() == name) else { return Ok(None) };
        match topic.error().map(RDKafkaErrorCode::from) {
            None => Ok(Some(topic.partitions().len() as i32)),
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => Ok(None),
            Some(code) => Err(failed(operation(), KafkaError::MetadataFetch(code))),
        }
    }

    fn make(&self, name: &str) -> Result<(), LogError> {
        let operation = || format!("create the topic {name}");
        let topic = NewTopic::new(name, self.partitions, TopicReplication::Fixed(self.replication));
        let options = AdminOptions::new().request_timeout(Some(TIMEOUT)).operation_timeout(Some(TIMEOUT));
        let outcome = futures::executor::block_on(self.admin.create_topics([&topic], &options));
        for made in outcome.map_err(|error| failed(operation(), error))? {
            match made {
                Ok(_) => tracing::info!(topic = name, partitions = self.partitions, "created a topic"),
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((_, code)) => return Err(failed(operation(), KafkaError::AdminOp(code))),
            }
        }
        Ok(())
    }

    /// Waits until brokers know the new topic.
    fn await_leaders(&self, name: &str) -> Result<(), LogError> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            // Each question goes to a broker and back, so this does not spin.
            if self.count(name)?.is_some_and(|count| count > 0) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let error = KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition);
                return Err(failed(format!("wait for the new topic {name}"), error));
            }
        }
    }
}

fn has_moved(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::NotLeaderForPartition | RDKafkaErrorCode::LeaderNotAvailable)
    )
}

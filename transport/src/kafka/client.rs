//! Settings, logs and errors of librdkafka's clients.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::AdminClient;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::FutureProducer;

use super::KafkaOptions;
use crate::blocking::failed_for_good;
use crate::codec::MAX_PAYLOAD_BYTES;
use crate::log::{Group, LogError};

/// Longest wait for an answer to a question (metadata, offsets).
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum size of a message: payload, and room for key and headers.
const MAX_MESSAGE_BYTES: usize = MAX_PAYLOAD_BYTES + (48 << 10);
/// Kilobytes of messages on their way to the brokers.
const SENDING_KBYTES: &str = "65536";
/// Kilobytes that a consumer fetches ahead.
const FETCHED_KBYTES: &str = "16384";

/// Properties that exactly-once delivery depends on.
const FIXED: &[&str] = &[
    "acks",
    "auto.offset.reset",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "group.id",
    "message.timeout.ms",
    "delivery.timeout.ms",
    "request.required.acks",
];

/// Refuses properties that cannot be used.
pub(super) fn check(options: &KafkaOptions) -> Result<(), LogError> {
    let wrong = options.properties.iter().find_map(|(name, value)| {
        let reason = check_property(name, value).err()?;
        Some(format!("{name}: {reason}"))
    });
    wrong.map_or(Ok(()), |wrong| Err(failed_for_good("use the Kafka properties", wrong)))
}

/// Refuses a property that librdkafka does not know or take, or that would break what this module promises.
pub(super) fn check_property(name: &str, value: &str) -> Result<(), String> {
    if FIXED.contains(&name) {
        return Err("it cannot be changed: exactly-once delivery depends on it".to_owned());
    }
    match ClientConfig::new().set(name, value).create_native_config() {
        Ok(_) => Ok(()),
        // librdkafka's words; the error's own would have the value, which may be a secret.
        Err(KafkaError::ClientConfig(_, words, ..)) => Err(words),
        Err(error) => Err(error.to_string()),
    }
}

fn config(options: &KafkaOptions, own: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &options.bootstrap_servers).set("client.id", &options.client_id);
    config.set("reconnect.backoff.max.ms", "1000");
    for (name, value) in own {
        config.set(*name, *value);
    }
    for (name, value) in &options.properties {
        config.set(name, value);
    }
    config
}

pub(super) fn producer(options: &KafkaOptions) -> Result<FutureProducer<Context>, LogError> {
    let largest = MAX_MESSAGE_BYTES.to_string();
    let own = [
        ("enable.idempotence", "true"),
        ("enable.gapless.guarantee", "true"),
        ("message.timeout.ms", "0"),
        ("queue.buffering.max.kbytes", SENDING_KBYTES),
        ("message.max.bytes", largest.as_str()),
        ("compression.type", "none"),
        // As Java's clients place keys.
        ("partitioner", "murmur2_random"),
    ];
    let made = config(options, &own).create_with_context(Context);
    made.map_err(|error| failed("create the Kafka producer", error))
}

pub(super) fn admin(options: &KafkaOptions) -> Result<AdminClient<Context>, LogError> {
    config(options, &[]).create_with_context(Context).map_err(|error| failed("create the Kafka admin client", error))
}

/// A client for metadata and offsets that joins no group; committed offsets are those of `group`.
pub(super) fn watcher(options: &KafkaOptions, group: Option<&Group>) -> Result<BaseConsumer<Context>, LogError> {
    let mut config = config(options, &[("enable.auto.commit", "false"), ("allow.auto.create.topics", "false")]);
    if let Some(group) = group {
        config.set("group.id", &group.0);
    }
    config.create_with_context(Context).map_err(|error| failed("create a Kafka client", error))
}

pub(super) fn member(options: &KafkaOptions, group: &Group) -> ClientConfig {
    let own = [
        ("group.id", group.0.as_str()),
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("auto.offset.reset", "earliest"),
        ("allow.auto.create.topics", "false"),
        ("partition.assignment.strategy", "cooperative-sticky"),
        ("queued.max.messages.kbytes", FETCHED_KBYTES),
        ("fetch.wait.max.ms", "100"),
    ];
    config(options, &own)
}

/// Passes librdkafka's own messages on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context;

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        note(&error, reason);
    }
}

impl ConsumerContext for Context {}

pub(super) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    // `note` logs once that a broker is away; here it would be logged at every attempt to reach it.
    tracing::debug!(?level, facility, message, "librdkafka");
}

/// Whether all brokers were away at the last look, so that only a change is logged. A process talks to one cluster.
static AWAY: AtomicBool = AtomicBool::new(false);

pub(super) fn note(error: &KafkaError, reason: &str) {
    if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
        tracing::debug!(%error, reason, "Kafka");
    } else if !AWAY.swap(true, Ordering::Relaxed) {
        tracing::warn!("no Kafka broker can be reached; retrying");
    }
}

/// A broker has answered.
pub(super) fn note_back() {
    if AWAY.load(Ordering::Relaxed) && AWAY.swap(false, Ordering::Relaxed) {
        tracing::info!("a Kafka broker is reachable again");
    }
}

/// Runs `work` where it may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    crate::blocking::blocking("Kafka", work).await
}

/// The error of an operation; its code says whether it may pass.
pub(super) fn failed(operation: impl Into<String>, error: KafkaError) -> LogError {
    let retriable = is_retriable(&error);
    LogError::Failed { operation: operation.into(), source: Box::new(error), retriable }
}

/// No broker has acknowledged in time.
pub(super) fn offline(operation: impl Into<String>, waited: Duration) -> LogError {
    let source = format!("no acknowledgement within {} s", waited.as_secs()).into();
    LogError::Failed { operation: operation.into(), source, retriable: true }
}

/// Whether waiting may help: not where the request itself is wrong, or not allowed.
fn is_retriable(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    let code = match error {
        KafkaError::AdminOp(code) => Some(*code),
        KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_) | KafkaError::Nul(_) => return false,
        KafkaError::AdminOpCreation(_) => return false,
        other => other.rdkafka_error_code(),
    };
    !matches!(
        code,
        Some(
            Code::MessageSizeTooLarge
                | Code::InvalidMessage
                | Code::InvalidMessageSize
                | Code::InvalidTopic
                | Code::InvalidPartitions
                | Code::InvalidReplicationFactor
                | Code::PolicyViolation
                | Code::TopicAuthorizationFailed
                | Code::GroupAuthorizationFailed
                | Code::ClusterAuthorizationFailed
                | Code::SaslAuthenticationFailed
                | Code::Authentication
                | Code::UnsupportedVersion
                | Code::IllegalGeneration
                | Code::UnknownMemberId
                | Code::FencedInstanceId
        )
    )
}

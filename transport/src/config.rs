//! The settings of the event log.

use kerntrail_common::period::Period;
use kerntrail_common::settings::checked;
use kerntrail_common::size::Size;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::{EmbeddedOptions, KafkaOptions};

/// `[log]`: the event log.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// Where the event log is stored, which the lake and the sinks read.
    pub kind: LogKind,
    /// Maximum bytes of messages in the embedded log or the spool, at least 1MiB; at the limit, writers wait.
    #[serde(deserialize_with = "max_size")]
    pub max_size: Size,
    /// How long rows stay in the embedded log for a sink that is no longer configured, while there is room, for example `7d`.
    /// After that time the next start forgets them.
    pub keep_for_removed_sinks: Period,
    /// The Kafka cluster, with `kind = "kafka"`.
    pub kafka: KafkaOptions,
}

impl Default for LogConfig {
    fn default() -> Self {
        let max_size = Size(EmbeddedOptions::default().max_bytes);
        let keep_for_removed_sinks = Period::seconds(7 * 24 * 3_600);
        Self { kind: LogKind::Embedded, max_size, keep_for_removed_sinks, kafka: KafkaOptions::default() }
    }
}

/// Which event log.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum LogKind {
    /// In the data folder; one machine.
    Embedded,
    /// In Apache Kafka, behind a spool in the data folder.
    Kafka,
}

fn max_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Size, D::Error> {
    checked(deserializer, Size::at_least(1 << 20))
}

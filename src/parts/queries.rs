//! The process that answers queries: how `run` starts it, and what it gets to know.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use kerntrail_common::settings::checked;
use kerntrail_common::size::Size;
use kerntrail_query_engine::{Capacity, Limits};
use kerntrail_query_service::isolation::Supervisor;
use kerntrail_query_service::isolation::confine::MemoryGroup;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use tokio::process::Command;

use crate::config::Config;
use crate::logging::LoggingConfig;
use crate::parts;

/// The process that answers queries over HTTP.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServeConfig {
    /// Maximum memory of the process that answers all queries of the HTTP service, at least 256MiB. Beyond it, the process
    /// is ended and started again; running queries end with an error, and nothing else is affected.
    #[serde(deserialize_with = "memory")]
    pub memory: Size,
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self { memory: Size(2 << 30) }
    }
}

fn memory<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Size, D::Error> {
    checked(deserializer, Size::at_least(256 << 20))
}

/// The environment variable with the [`Task`] of the process.
pub const TASK: &str = "KERNTRAIL_SERVE_TASK";

/// What the process gets to know. It has no secrets of the configuration.
#[derive(Debug, Deserialize, Serialize)]
pub struct Task {
    /// Where the lake is.
    pub lake: String,
    /// Whose tables are read.
    pub tenant: String,
    /// What one query may use.
    pub limits: Limits,
    /// What all of them may use together, with everything else in the process.
    pub memory: Size,
    /// Folder of the control group that bounds the memory, where there is one.
    pub group: Option<PathBuf>,
    /// The program's own messages.
    pub logging: LoggingConfig,
}

impl Task {
    /// What queries share: half of the process's memory may be reserved or held, an eighth by one query beyond what it reserved,
    /// and five eighths may be in memory. The rest is for what operators make in one step.
    pub fn capacity(&self) -> Capacity {
        let eighths = |count| NonZeroUsize::new(self.memory.bytes() / 8 * count).unwrap_or(NonZeroUsize::MIN);
        Capacity {
            total_memory: eighths(4),
            held_memory: eighths(4),
            unreserved_memory: eighths(1),
            resident_memory: Some(eighths(5)),
            ..Capacity::default()
        }
    }
}

/// Will run the query process, and the group that bounds its memory where one can be made.
pub fn supervisor(config: &Config) -> anyhow::Result<(Supervisor, Option<MemoryGroup>)> {
    let group = MemoryGroup::create(config.serve.memory.0);
    let task = Task {
        lake: parts::lake_uri(config),
        tenant: config.tenant.clone(),
        limits: config.query,
        memory: config.serve.memory,
        group: group.as_ref().map(|group| group.folder().to_owned()),
        logging: config.logging.clone(),
    };
    let task: Arc<str> = serde_json::to_string(&task)?.into();
    let command = move || {
        // This very program, also once an upgrade has replaced its file.
        let mut command = Command::new("/proc/self/exe");
        command.arg0("kerntrail").arg("serve").env(TASK, &*task);
        // The allocator gives freed memory back within 10 ms instead of a second: as much as all queries may hold can be freed
        // and asked for anew in that time.
        command.env("MIMALLOC_PURGE_DELAY", "10");
        command
    };
    Ok((Supervisor::new(command), group))
}

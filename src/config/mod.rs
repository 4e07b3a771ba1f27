//! The configuration: one TOML file, and for every value an environment variable and a flag.
//!
//! Each part has its settings in its own struct, in its own crate or file, with their documentation, defaults and
//! checks; [`Config`] composes them. Order: built-in default, file, environment, flag; the last one that is set wins.

mod load;
mod schema;
mod sources;

use std::path::PathBuf;

use kerntrail_collector::config::{CollectorConfig, KubernetesConfig, NodeConfig};
use kerntrail_common::settings::{checked, not_empty};
use kerntrail_detections::DetectorConfig;
use kerntrail_pipeline::PipelineConfig;
use kerntrail_query_engine::Limits;
use kerntrail_sinks::SinkConfig;
use kerntrail_transport::LogConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

pub use load::{ConfigError, Overrides, ValueOrigin, load};
pub use schema::{SETTINGS, Setting, schema, sink_keys};
pub use sources::Sources;

use crate::logging::LoggingConfig;
use crate::parts::http::HttpConfig;
use crate::parts::queries::ServeConfig;

/// Only a start reads it, unlike the other settings of rules.
const RULES_ENABLED: &str = "rules.enabled";

/// The configuration of kerntrail.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Folder of the embedded log, the lake and all state; `/var/lib/kerntrail` for root, `~/.local/share/kerntrail`
    /// for other users.
    #[serde(deserialize_with = "not_empty")]
    pub data_dir: PathBuf,
    /// Owner of the events, part of the topic names and of the lake's folder: 1 to 64 letters, digits, `-` and `_`.
    #[serde(deserialize_with = "tenant")]
    #[schemars(regex(pattern = "^[A-Za-z0-9_-]{1,64}$"))]
    pub tenant: String,
    /// Name of the Kubernetes cluster, a column of every row; empty: unknown.
    pub cluster: String,
    /// The node whose processes are watched.
    pub node: NodeConfig,
    /// Collection from the kernel.
    pub collector: CollectorConfig,
    /// The watch of the node's pods.
    pub kubernetes: KubernetesConfig,
    /// The event log.
    pub log: LogConfig,
    /// The Delta lake.
    pub lake: PipelineConfig,
    /// The HTTP service.
    pub http: HttpConfig,
    /// Limits of a query.
    pub query: Limits,
    /// The process that answers queries over HTTP.
    pub serve: ServeConfig,
    /// Detection rules.
    pub rules: DetectorConfig,
    /// The program's own messages.
    pub logging: LoggingConfig,
    /// Destinations of events.
    sinks: Vec<SinkConfig>,
    /// Why the sinks cannot be used, where they cannot.
    #[serde(skip)]
    sink_error: Option<ConfigError>,
    /// Where each value was written.
    #[serde(skip)]
    pub sources: Sources,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: default_data_dir(),
            tenant: kerntrail_schemas::DEFAULT_TENANT.into(),
            cluster: String::new(),
            node: NodeConfig::default(),
            collector: CollectorConfig::default(),
            kubernetes: KubernetesConfig::default(),
            log: LogConfig::default(),
            lake: PipelineConfig::default(),
            http: HttpConfig::default(),
            query: Limits::default(),
            serve: ServeConfig::default(),
            rules: DetectorConfig::default(),
            logging: LoggingConfig::default(),
            sinks: Vec::new(),
            sink_error: None,
            sources: Sources::default(),
        }
    }
}

/// What the configuration is read from.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// The file, where there is one.
    pub file: Option<PathBuf>,
    /// What was set outside the file.
    pub overrides: Overrides,
}

impl Inputs {
    /// The configuration as it is now. Errors: as [`load`].
    pub fn load(&self) -> Result<Config, ConfigError> {
        load(self.file.as_deref(), &self.overrides)
    }
}

impl Config {
    /// What a running program does when it is to follow `read`: rules and sinks are those of `read`, all else stays. Also
    /// the other settings that `read` changes; they hold from the next start on.
    pub fn followed_by(&self, read: Self) -> (Self, Vec<&'static str>) {
        let (before, after) = (toml::Value::try_from(self).ok(), toml::Value::try_from(&read).ok());
        let differs = |setting: &&Setting| {
            let value = |config: &Option<toml::Value>| {
                setting.path.split('.').try_fold(config.clone()?, |value, key| value.get(key).cloned())
            };
            let is_followed = setting.path.starts_with("rules.") && setting.path != RULES_ENABLED;
            !is_followed && value(&before) != value(&after)
        };
        let later = SETTINGS.iter().filter(differs).map(|setting| setting.path.as_str()).collect();
        let rules = DetectorConfig { enabled: self.rules.enabled, ..read.rules };
        let Self { sinks, sink_error, sources, .. } = read;
        (Self { rules, sinks, sink_error, sources, ..self.clone() }, later)
    }

    /// The destinations of events.
    ///
    /// Errors: one of them cannot be read. Only commands that use sinks report that: a key may come from the environment
    /// of the service, which other commands do not have.
    pub fn sinks(&self) -> Result<&[SinkConfig], ConfigError> {
        match &self.sink_error {
            Some(error) => Err(error.clone()),
            None => Ok(&self.sinks),
        }
    }
}

/// `/var/lib/kerntrail` for root, the user's own data folder otherwise.
fn default_data_dir() -> PathBuf {
    // SAFETY: geteuid reads a number of this process and cannot fail.
    if unsafe { libc::geteuid() } == 0 {
        return "/var/lib/kerntrail".into();
    }
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share"));
    // Empty counts as unset, and a relative path as well (XDG Base Directory Specification).
    let xdg = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let base = xdg.or_else(home);
    base.unwrap_or_else(std::env::temp_dir).join("kerntrail")
}

/// A tenant's name becomes part of Kafka's topics and a folder's name.
fn tenant<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    checked(deserializer, |name: &String| match (1..=64).contains(&name.len()) && name.chars().all(allowed) {
        true => Ok(()),
        false => Err(format!("{name:?} is not 1 to 64 of a-z, A-Z, 0-9, - and _")),
    })
}

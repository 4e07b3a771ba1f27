//! The configuration: one TOML file, and for every value an environment variable and a flag.
//!
//! Order: built-in default, file, environment, flag; the last one that speaks wins.

mod check;
mod keys;
mod load;
mod sources;

use std::collections::BTreeMap;
use std::path::PathBuf;

use kerntrail_sinks::SinkConfig;
use serde::{Deserialize, Serialize};

pub use check::listen_address;
pub use kerntrail_common::{period::Period, size::Size};
pub use keys::{SETTINGS, default_of};
pub use load::{ConfigError, Origin, Overrides, load};
pub use sources::Sources;

/// All of it. Each field's meaning is its line in [`SETTINGS`].
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub data_dir: PathBuf,
    pub tenant: String,
    pub cluster: String,
    pub node: Node,
    pub collector: Collector,
    pub kubernetes: Kubernetes,
    pub log: Log,
    pub lake: Lake,
    pub http: Http,
    pub query: Query,
    pub rules: Rules,
    pub logging: Logging,
    pub sinks: Vec<SinkConfig>,
    /// Where each value was written.
    #[serde(skip)]
    pub sources: Sources,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: default_data_dir(),
            tenant: "default".into(),
            cluster: String::new(),
            node: Node::default(),
            collector: Collector::default(),
            kubernetes: Kubernetes::default(),
            log: Log::default(),
            lake: Lake::default(),
            http: Http::default(),
            query: Query::default(),
            rules: Rules::default(),
            logging: Logging::default(),
            sinks: Vec::new(),
            sources: Sources::default(),
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

/// The machine whose processes are watched.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Node {
    pub name: String,
    pub root: PathBuf,
    pub pid: u32,
}

impl Default for Node {
    fn default() -> Self {
        Self { name: String::new(), root: "/".into(), pid: 1 }
    }
}

impl Node {
    /// The configured name, or the kernel's host name.
    pub fn name(&self) -> String {
        if !self.name.is_empty() {
            return self.name.clone();
        }
        let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        match hostname.trim() {
            "" => "localhost".into(),
            name => name.into(),
        }
    }
}

/// Live collection from the kernel.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Collector {
    pub enabled: bool,
    pub ring_size: Size,
    pub max_processes: usize,
    pub batch_interval: Period,
    pub batch_rows: usize,
    pub mask: Vec<String>,
}

impl Default for Collector {
    fn default() -> Self {
        Self {
            enabled: true,
            ring_size: Size(16 << 20),
            max_processes: 65_536,
            batch_interval: Period::seconds(1),
            batch_rows: 8_192,
            mask: Vec::new(),
        }
    }
}

/// The node's pod watch.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Kubernetes {
    pub watch: Watch,
    pub kubeconfig: PathBuf,
}

impl Default for Kubernetes {
    fn default() -> Self {
        Self { watch: Watch::Auto, kubeconfig: PathBuf::new() }
    }
}

/// Where the API server is found.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Watch {
    /// `kubeconfig` where it is set, else the pod's service account where there is one, else none.
    Auto,
    /// No watch.
    Off,
}

/// The event log.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    pub kind: LogKind,
    pub max_size: Size,
    pub kafka: Kafka,
}

impl Default for Log {
    fn default() -> Self {
        Self { kind: LogKind::Embedded, max_size: Size(4 << 30), kafka: Kafka::default() }
    }
}

/// Which event log.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum LogKind {
    /// In the data folder; one machine.
    Embedded,
    /// Apache Kafka, with the embedded log as the collector's spool.
    Kafka,
}

/// The Kafka cluster.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Kafka {
    pub bootstrap: String,
    pub partitions: i32,
    pub replication: i32,
    pub properties: BTreeMap<String, String>,
}

impl Default for Kafka {
    fn default() -> Self {
        Self { bootstrap: "127.0.0.1:9092".into(), partitions: 1, replication: 1, properties: BTreeMap::new() }
    }
}

/// The Delta lake.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lake {
    pub uri: String,
    pub flush_interval: Period,
    pub flush_rows: usize,
    pub flush_size: Size,
    pub compact_interval: Period,
    pub vacuum_keep: Period,
}

impl Default for Lake {
    fn default() -> Self {
        Self {
            uri: String::new(),
            flush_interval: Period::seconds(1),
            flush_rows: 100_000,
            flush_size: Size(64 << 20),
            compact_interval: Period::seconds(60),
            vacuum_keep: Period::seconds(3600),
        }
    }
}

/// The HTTP service.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    pub listen: String,
}

impl Default for Http {
    fn default() -> Self {
        Self { listen: "127.0.0.1:7474".into() }
    }
}

/// Limits of a query.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Query {
    pub memory: Size,
    pub timeout: Period,
    pub max_rows: usize,
}

impl Default for Query {
    fn default() -> Self {
        Self { memory: Size(512 << 20), timeout: Period::seconds(60), max_rows: 1_000_000 }
    }
}

/// Detection rules.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    pub enabled: bool,
    pub dir: PathBuf,
    pub interval: Period,
}

impl Default for Rules {
    fn default() -> Self {
        Self { enabled: true, dir: PathBuf::new(), interval: Period::seconds(2) }
    }
}

/// The program's own messages.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Logging {
    pub level: String,
    pub format: LogFormat,
}

impl Default for Logging {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Text }
    }
}

/// Shape of the program's own messages.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

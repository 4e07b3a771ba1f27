//! What can be configured.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::mask::MaskConfig;

/// Configuration of a collector; a missing key has its default, an unknown one is an error.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct CollectorConfig {
    /// Name of the node, as Kubernetes knows it; empty: the host name.
    pub node: String,
    /// Name of the cluster; empty: none.
    pub cluster: String,
    /// Tenant whose topics the rows go to.
    pub tenant: String,
    /// Root directory of the node whose processes these are: `/`, `/host` in a DaemonSet.
    pub host_root: PathBuf,
    /// Process id of the node's init, as this process's own `/proc` has it.
    pub host_pid: u32,
    /// Pod watch: `off`, `in-cluster` or the path of a kubeconfig.
    pub kube: Kube,
    /// Rows of a table after which a batch leaves.
    pub batch_rows: usize,
    /// Bytes of a table's rows (estimated, not compressed) after which a batch leaves; at most 1 MiB.
    pub batch_bytes: usize,
    /// Milliseconds after which a batch leaves.
    pub batch_wait_ms: u64,
    /// Batches that wait for the event log; when they are as many, the kernel's ring holds the rest.
    pub queue_batches: usize,
    /// Bytes of the kernel's ring; a power of two.
    pub ring_bytes: u32,
    /// Processes held; further ones have rows with less context, and `event_loss` says so.
    pub max_processes: usize,
    /// Milliseconds that the last rows have to reach the event log when the collector ends.
    pub drain_timeout_ms: u64,
    /// Directory of the file that says until when the last run saw everything; none: a gap between runs does not show.
    pub state_dir: Option<PathBuf>,
    /// Which texts in command lines are masked.
    pub mask: MaskConfig,
}

impl Default for CollectorConfig {
    fn default() -> Self {
        Self {
            node: String::new(),
            cluster: String::new(),
            tenant: "default".into(),
            host_root: "/".into(),
            host_pid: 1,
            kube: Kube::Off,
            batch_rows: 8_192,
            batch_bytes: 1 << 20,
            batch_wait_ms: 1_000,
            queue_batches: 64,
            ring_bytes: 16 << 20,
            max_processes: 32_768,
            drain_timeout_ms: 10_000,
            state_dir: None,
            mask: MaskConfig::default(),
        }
    }
}

/// How the API server is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Kube {
    /// Not at all.
    #[default]
    Off,
    /// With the service account of the pod that this process runs in.
    InCluster,
    /// With a kubeconfig.
    Kubeconfig(PathBuf),
}

impl From<String> for Kube {
    fn from(text: String) -> Self {
        match text.as_str() {
            "" | "off" => Self::Off,
            "in-cluster" => Self::InCluster,
            _ => Self::Kubeconfig(text.into()),
        }
    }
}

impl<'de> Deserialize<'de> for Kube {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

impl Serialize for Kube {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => serializer.serialize_str("off"),
            Self::InCluster => serializer.serialize_str("in-cluster"),
            Self::Kubeconfig(path) => path.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        let read = |text: &str| serde_json::from_str::<CollectorConfig>(text);
        assert_eq!(read("{}").unwrap(), CollectorConfig::default());
        let kubes = [
            (r#"{"kube": "off"}"#, Kube::Off),
            (r#"{"kube": "in-cluster"}"#, Kube::InCluster),
            (r#"{"kube": "/etc/k.conf"}"#, Kube::Kubeconfig("/etc/k.conf".into())),
        ];
        for (text, kube) in kubes {
            assert_eq!(read(text).unwrap().kube, kube);
        }
        let error = read(r#"{"host_rot": "/host"}"#).unwrap_err().to_string();
        assert!(error.contains("host_rot") && error.contains("host_root"), "{error}");
    }
}

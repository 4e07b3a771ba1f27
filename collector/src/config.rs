//! The settings of the collector, of the node that it watches, and of the watch of that node's pods.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kerntrail_common::period::Period;
use kerntrail_common::settings::{checked, more_than_zero, not_empty, within};
use kerntrail_common::size::Size;
use kerntrail_transport::codec::MAX_ROWS;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::mask::MaskConfig;

/// Where a pod finds its service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// `[collector]`: collection from the kernel. Skipped fields are not settings; the program that starts a collector
/// fills them in.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct CollectorConfig {
    /// Collect events from the kernel; needs root and BPF.
    pub enabled: bool,
    /// Size of the ring buffer between kernel and collector, 64KiB to 1GiB; rounded up to a power of two.
    #[serde(deserialize_with = "ring_size")]
    pub ring_size: Size,
    /// Maximum processes in the process table. Rows of further processes have less context; `event_loss` records that.
    #[serde(deserialize_with = "max_processes")]
    #[schemars(range(min = 1, max = 4194304))]
    pub max_processes: usize,
    /// Longest time that a row waits for its batch to fill.
    pub batch_interval: Period,
    /// Maximum rows in a batch, up to 65536.
    #[serde(deserialize_with = "batch_rows")]
    #[schemars(range(min = 1, max = 65536))]
    pub batch_rows: usize,
    /// Additional regular expressions for secrets in an argument. The text of the group `secret`, or else the whole
    /// match, is masked before it leaves the node.
    pub mask: MaskConfig,
    /// The node whose processes are watched.
    #[serde(skip)]
    pub node: NodeConfig,
    /// How the API server is reached.
    #[serde(skip)]
    pub kube: Kube,
    /// Name of the cluster; empty: unknown.
    #[serde(skip)]
    pub cluster: String,
    /// Tenant whose topics the rows go to.
    #[serde(skip)]
    pub tenant: String,
    /// Folder of the file that records until when the last run collected; without it, gaps between runs are not
    /// recorded.
    #[serde(skip)]
    pub state_dir: Option<PathBuf>,
    /// Maximum bytes of a batch (estimated, before compression); at most 1 MiB.
    #[serde(skip)]
    pub batch_bytes: usize,
    /// Batches that wait for the event log; at the limit, further events stay in the ring buffer.
    #[serde(skip)]
    pub queue_batches: usize,
    /// How long a stopping collector waits until its last rows are in the event log.
    #[serde(skip)]
    pub drain_timeout: Duration,
}

impl Default for CollectorConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            ring_size: Size(16 << 20),
            max_processes: 65_536,
            batch_interval: Period::seconds(1),
            batch_rows: 8_192,
            mask: MaskConfig::default(),
            node: NodeConfig::default(),
            kube: Kube::Off,
            cluster: String::new(),
            tenant: kerntrail_schemas::DEFAULT_TENANT.into(),
            state_dir: None,
            batch_bytes: 1 << 20,
            queue_batches: 64,
            drain_timeout: Duration::from_secs(10),
        }
    }
}

impl CollectorConfig {
    /// Bytes of the ring buffer.
    pub(crate) fn ring_bytes(&self) -> u32 {
        u32::try_from(self.ring_size.0).unwrap_or(u32::MAX)
    }
}

/// The kernel has no more process numbers (`PID_MAX_LIMIT`).
const MOST_PROCESSES: usize = 4 << 20;

fn max_processes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    checked(deserializer, |count| within(count, 1..=MOST_PROCESSES))
}

fn batch_rows<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    checked(deserializer, |rows| within(rows, 1..=MAX_ROWS))
}

fn ring_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Size, D::Error> {
    checked(deserializer, |size: &Size| match (64 << 10..=1 << 30).contains(&size.0) {
        true => Ok(()),
        false => Err("the ring must be 64KiB to 1GiB".to_owned()),
    })
}

/// `[node]`: the machine whose processes are watched.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct NodeConfig {
    /// Name of the node, a column of every row; empty: the kernel's host name where `root` is `/`, and below another
    /// root the one in `etc/hostname`, or else the kernel's.
    pub name: String,
    /// Root of the node's file system: `/` on the node itself, `/host` in a pod that mounts it there.
    #[serde(deserialize_with = "not_empty")]
    pub root: PathBuf,
    /// Further folders, below `root`, in which a container runtime keeps a folder for each container with its OCI bundle
    /// (`config.json`). Those of containerd, CRI-O, Docker, podman, k3s, RKE2, k0s and MicroK8s are known.
    pub runtimes: Vec<String>,
    /// Process id of the node's init as this program sees it; its namespaces are the host's.
    #[serde(deserialize_with = "more_than_zero")]
    #[schemars(range(min = 1))]
    pub pid: u32,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self { name: String::new(), root: "/".into(), runtimes: Vec::new(), pid: 1 }
    }
}

impl NodeConfig {
    /// The configured name, or else the host name.
    pub fn name(&self) -> String {
        if !self.name.is_empty() {
            return self.name.clone();
        }
        let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
        let file = read(&self.root.join("etc/hostname"));
        host_name(&self.root, &read(Path::new("/proc/sys/kernel/hostname")), &file).to_owned()
    }
}

/// The host name of the node whose file system is at `root`, from what the kernel and `etc/hostname` there (hostname(5))
/// say; either may be empty.
fn host_name<'a>(root: &Path, kernel: &'a str, file: &'a str) -> &'a str {
    // Below another root, this process may be in a pod, for which the kernel has another name than for the node.
    let file = if root == Path::new("/") { "" } else { file };
    let lines = file.lines().map(str::trim).filter(|line| !line.starts_with('#') && !line.starts_with("localhost"));
    let mut names = lines.chain([kernel.trim()]).filter(|name| !name.is_empty());
    names.next().unwrap_or("localhost")
}

/// `[kubernetes]`: the watch of the node's pods.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct KubernetesConfig {
    /// Whether the node's pods are watched for labels, workload and service account.
    pub watch: Watch,
    /// Kubeconfig for the watch of pods; empty: the pod's service account, where there is one.
    pub kubeconfig: PathBuf,
}

impl Default for KubernetesConfig {
    fn default() -> Self {
        Self { watch: Watch::Auto, kubeconfig: PathBuf::new() }
    }
}

/// Whether pods are watched.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Watch {
    /// If there is a kubeconfig or a service account.
    Auto,
    /// Never.
    Off,
}

impl KubernetesConfig {
    /// How the API server is reached.
    pub fn access(&self) -> Kube {
        match self.watch {
            Watch::Off => Kube::Off,
            Watch::Auto if !self.kubeconfig.as_os_str().is_empty() => Kube::Kubeconfig(self.kubeconfig.clone()),
            Watch::Auto if Path::new(SERVICE_ACCOUNT).exists() => Kube::InCluster,
            Watch::Auto => Kube::Off,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        let read = |text: &str| serde_json::from_str::<CollectorConfig>(text);
        assert_eq!(read("{}").unwrap(), CollectorConfig::default());
        let error = read(r#"{"ring_sise": "1MiB"}"#).unwrap_err().to_string();
        assert!(error.contains("ring_sise") && error.contains("ring_size"), "{error}");
        for wrong in [r#"{"ring_size": "1KiB"}"#, r#"{"batch_rows": 0}"#, r#"{"mask": ["("]}"#, r#"{"mask": [""]}"#] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn access_to_the_api_server() {
        for (text, kube) in [
            (r#"{"watch": "off", "kubeconfig": "/etc/k.conf"}"#, Kube::Off),
            (r#"{"kubeconfig": "/etc/k.conf"}"#, Kube::Kubeconfig("/etc/k.conf".into())),
        ] {
            assert_eq!(serde_json::from_str::<KubernetesConfig>(text).unwrap().access(), kube, "{text}");
        }
    }

    #[test]
    fn host_name_of_a_node() {
        for (root, kernel, file, name) in [
            ("/", "kernel\n", "file\n", "kernel"),
            ("/", "", "file\n", "localhost"),
            ("/host", "kernel\n", "file\n", "file"),
            ("/host", "kernel\n", "# a comment\n\n  file  \nother\n", "file"),
            ("/host", "kernel\n", "localhost.localdomain\n", "kernel"),
            ("/host", "kernel\n", "# a comment\n", "kernel"),
            ("/host", "kernel\n", "", "kernel"),
            ("/host", "", "", "localhost"),
        ] {
            assert_eq!(host_name(Path::new(root), kernel, file), name, "{root} {kernel:?} {file:?}");
        }
    }

    #[test]
    fn name_of_a_node() {
        let root = tempfile::tempdir().unwrap();
        let mut node = NodeConfig { root: root.path().into(), ..NodeConfig::default() };
        let kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(node.name(), kernel.trim());
        std::fs::create_dir(root.path().join("etc")).unwrap();
        std::fs::write(root.path().join("etc/hostname"), "worker-7\n").unwrap();
        assert_eq!(node.name(), "worker-7");
        node.name = "n1".into();
        assert_eq!(node.name(), "n1");
    }
}

//! The node whose processes these are: its name, boot and reference namespaces.

use std::fs;
use std::path::{Path, PathBuf};

use kerntrail_schemas::identity::{BootHash, BootId, ProcessUid};

use crate::cgroups::kernel_device_of;
use crate::config::{CollectorConfig, NodeConfig};
use crate::container;
use crate::event::ProcessRef;
use crate::source::SourceRecord;
use crate::users::Users;

/// What is known of a node from the start.
#[derive(Clone, Debug)]
pub struct Node {
    /// Name of the node.
    pub name: String,
    /// Name of the cluster.
    pub cluster: Option<String>,
    /// Its machine id (machine-id(5)).
    pub host_id: Option<String>,
    /// This boot of its kernel.
    pub boot_id: BootId,
    /// The boot's part of process uids.
    pub boot_hash: BootHash,
    /// Its root directory.
    pub root: PathBuf,
    /// Names of its users.
    pub users: Users,
    /// Further folders of container runtimes, below the root.
    pub runtimes: Vec<String>,
    /// A procfs that knows processes by their ids in the root pid namespace.
    pub procfs: PathBuf,
    /// Thread group id of its init.
    pub init: u32,
    /// Its own mount namespace; `None` when it could not be read.
    pub mnt_ns: Option<u32>,
    /// Its own pid namespace.
    pub pid_ns: Option<u32>,
    /// Its own network namespace.
    pub net_ns: Option<u32>,
    /// Device of its root file system (kernel encoding).
    pub root_dev: Option<u32>,
    /// Container that its init runs in, for a node that is itself a container; it does not count as a container.
    pub container: Option<String>,
}

/// A fact about the node that is needed and cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}", path.display())]
pub struct NodeError {
    path: PathBuf,
    #[source]
    source: std::io::Error,
}

impl Node {
    /// Reads the facts of the node that `config` names.
    ///
    /// Errors: the boot id cannot be read.
    pub fn read(config: &CollectorConfig) -> Result<Self, NodeError> {
        let boot_id = read_line(Path::new("/proc/sys/kernel/random/boot_id"))?;
        let NodeConfig { root, pid, .. } = &config.node;
        let proc = PathBuf::from(format!("/proc/{pid}"));
        let cgroups = fs::read_to_string(proc.join("cgroup")).unwrap_or_default();
        let node = Self {
            name: config.node.name(),
            cluster: Some(config.cluster.clone()).filter(|name| !name.is_empty()),
            host_id: machine_id(root),
            boot_hash: BootHash::of(&boot_id),
            boot_id: BootId::new(boot_id),
            users: Users::of(root),
            root: root.clone(),
            runtimes: config.node.runtimes.clone(),
            procfs: procfs(root),
            init: *pid,
            mnt_ns: namespace(&proc, "mnt"),
            pid_ns: namespace(&proc, "pid"),
            net_ns: namespace(&proc, "net"),
            root_dev: kernel_device_of(root).ok(),
            container: cgroups.lines().find_map(container_of_line),
        };
        Ok(node)
    }

    /// Takes the namespaces of the node's init, where procfs does not show them, from its kernel record; or, for the
    /// machine's own init, from that of kthreadd, which stays in the namespaces that both started in.
    pub fn complete(&mut self, existing: &[SourceRecord]) {
        let find = |tgid: u32| {
            let mut tasks = existing.iter().filter_map(|record| Some(&record.event.as_ref().ok()?.task));
            tasks.find(|task| task.process.tgid == tgid)
        };
        let known = |number: u32| Some(number).filter(|number| *number != 0);
        if let Some(init) = find(self.init).or_else(|| find(KTHREADD).filter(|_| self.init == 1)) {
            self.mnt_ns = self.mnt_ns.or(known(init.state.mnt_ns));
            self.pid_ns = self.pid_ns.or(known(init.state.pid_ns));
            self.net_ns = self.net_ns.or(known(init.state.net_ns));
        }
        if self.mnt_ns.is_none() || self.pid_ns.is_none() {
            let pid = self.init;
            tracing::warn!(
                pid,
                "cannot read the namespaces of the node's init, so in_host_* stay NULL; check node.pid"
            );
        }
    }

    /// The uid of `process`; `None` if there is no process, or only its pid is known.
    pub fn uid_of(&self, process: &ProcessRef) -> Option<ProcessUid> {
        let known = process.tgid != 0 && process.start_boottime != 0;
        known.then(|| ProcessUid::new(&self.boot_hash, process.start_boottime, process.tgid))
    }

    /// Whether `process` is the node's init.
    pub fn is_init(&self, process: &ProcessRef) -> bool {
        process.tgid == self.init
    }
}

/// Parent of all kernel threads, in the root pid namespace.
const KTHREADD: u32 = 2;
/// Inode number of the root pid namespace (PROC_PID_INIT_INO).
const ROOT_PID_NS: u32 = 0xEFFF_FFFC;

/// This process's own, unless it shows a pid namespace other than the root's; then the host's, where that is mounted.
fn procfs(host_root: &Path) -> PathBuf {
    let own = PathBuf::from("/proc");
    if namespace(&own.join("self"), "pid") == Some(ROOT_PID_NS) { own } else { host_root.join("proc") }
}

/// 32 hex digits; a system that is not set up yet has none, or another text.
fn machine_id(root: &Path) -> Option<String> {
    let id = read_line(&root.join("etc/machine-id")).ok()?;
    (id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

fn read_line(path: &Path) -> Result<String, NodeError> {
    let wrong = |source| NodeError { path: path.to_owned(), source };
    let line = fs::read_to_string(path).map_err(wrong)?.trim().to_owned();
    if line.is_empty() { Err(wrong(std::io::ErrorKind::InvalidData.into())) } else { Ok(line) }
}

/// Inode number of a namespace of `proc` (`/proc/<pid>`).
fn namespace(proc: &Path, kind: &str) -> Option<u32> {
    let link = fs::read_link(proc.join("ns").join(kind)).ok()?;
    namespace_number(link.to_str()?)
}

/// The number in `mnt:[4026531841]`.
fn namespace_number(link: &str) -> Option<u32> {
    link.split_once(":[")?.1.strip_suffix(']')?.parse().ok()
}

/// The container in a line of `/proc/<pid>/cgroup`: `<number>:<controllers>:<path>`.
fn container_of_line(line: &str) -> Option<String> {
    container::parse(line.splitn(3, ':').nth(2)?).map(|found| found.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_proc_are_parsed() {
        assert_eq!(namespace_number("mnt:[4026531841]"), Some(4_026_531_841));
        assert_eq!(namespace_number("mnt:4026531841"), None);
        let id = "0123456789abcdef".repeat(4);
        assert_eq!(container_of_line(&format!("0::/system.slice/docker-{id}.scope")), Some(id));
        assert_eq!(container_of_line("9:name=systemd:/"), None);
        assert_eq!(container_of_line(""), None);
    }

    #[test]
    fn machine_ids() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(machine_id(root.path()), None);
        fs::create_dir(root.path().join("etc")).unwrap();
        for (text, id) in [
            ("0123456789abcdef0123456789abcdef\n", Some("0123456789abcdef0123456789abcdef")),
            ("uninitialized\n", None),
            ("", None),
        ] {
            fs::write(root.path().join("etc/machine-id"), text).unwrap();
            assert_eq!(machine_id(root.path()).as_deref(), id, "{text:?}");
        }
    }

    #[test]
    fn this_machine_as_a_node() {
        let pid = std::process::id();
        let config = CollectorConfig {
            node: NodeConfig { name: "n1".into(), pid, ..NodeConfig::default() },
            ..CollectorConfig::default()
        };
        let node = Node::read(&config).unwrap();
        assert!(node.mnt_ns.is_some() && node.pid_ns.is_some() && node.root_dev.is_some());
        assert_eq!((node.name.as_str(), node.cluster.as_deref()), ("n1", None));
        assert!(node.is_init(&ProcessRef { tgid: pid, start_boottime: 9 }));
        let nobody = CollectorConfig { node: NodeConfig { pid: u32::MAX, ..config.node }, ..config };
        assert_eq!(Node::read(&nobody).unwrap().mnt_ns, None);
    }
}

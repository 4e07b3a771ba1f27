//! A complete, real Kubernetes node: etcd, API server, controllers, scheduler, kubelet, containerd and runc.
//!
//! The node has its own mount, pid, network, UTS and IPC namespaces and its own root file system; its PID 1 is
//! `kube/node/init.sh`. In a test that escapes from a pod, the node is "the host", never the machine. The kernel and the
//! cgroup hierarchies are the machine's: BPF sees the node's processes, and their pids within the node are the last
//! ones of `NSpid`. Only one node can run at a time, since its cgroups have fixed names.
//!
//! A test may run anything in a privileged pod, except what bypasses the namespaces and reaches the machine's kernel:
//! see `kube/node/root.sh`.

mod cgroups;
mod proxy;

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kerntrail_common::lock::FileLock;
use serde_json::Value;

use self::cgroups::Cgroups;
use self::proxy::Proxy;
use crate::process::Process;
use crate::{cache, wait};

/// The image that pods of the tests use: busybox and curl. Set `imagePullPolicy: IfNotPresent`.
pub const IMAGE: &str = "registry.local/busybox:1";
/// The node's name.
pub const NAME: &str = "kt-node";
/// A bearer token for the group `system:masters`.
pub const ADMIN_TOKEN: &str = "admin-token-1";
/// A bearer token for the user `collector`, which has only the rights that a test grants it.
pub const COLLECTOR_TOKEN: &str = "collector-token-1";
/// The API server's address from inside the node.
pub const API_INSIDE: &str = "https://10.88.0.1:6443";

/// A running node. Dropping it stops the node.
#[derive(Debug)]
pub struct Node {
    // Dropped in this order: the proxy, the node, the cgroups it left, the lock that allows one node.
    proxy: Proxy,
    process: Option<Process>,
    cgroups: Cgroups,
    _only_one: FileLock,
    dir: PathBuf,
    kt: PathBuf,
    pid: u32,
}

impl Node {
    /// Starts a node that keeps its state in `dir` (an empty folder, not on an overlay file system), and waits until it
    /// is ready for pods. While another node runs, it waits up to 10 minutes for that to end.
    pub fn up(dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        let dir = dir.canonicalize()?;
        let kt = cache::fetch("kube")?.join("kt");
        let only_one = take_turn()?;
        end_earlier()?;
        let cgroups = Cgroups::claim()?;

        let scripts = cache::testbed().join("kube/node");
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--net", "--uts", "--ipc", "--fork", "--kill-child"]);
        command.arg(scripts.join("root.sh")).arg(&dir);
        command.arg(scripts.join("init.sh")).args([dir.as_os_str(), kt.as_os_str(), OsStr::new(NAME)]);
        let mut process = Process::start("the Kubernetes node", command, &dir.join("node.log"))?;
        let unshare = process.pid();
        std::fs::write(pid_file()?, unshare.to_string()).context("write the node's pid")?;
        let pid = process.wait_ready(Duration::from_secs(240), || child_of(unshare))?;
        // init.sh writes the admin's configuration once the node has its own network namespace and root.
        let inside = dir.join("admin.kubeconfig");
        let inside_config = process.wait_ready(Duration::from_secs(240), || Ok(std::fs::read_to_string(&inside)?))?;
        let proxy = Proxy::start(pid)?;
        let mut node = Self { proxy, process: None, cgroups, _only_one: only_one, dir, kt, pid };
        let outside_config = inside_config.replace("https://127.0.0.1:6443", &node.api_url());
        std::fs::write(node.kubeconfig(), outside_config).context("write the kubeconfig")?;
        let ready = process.wait_ready(Duration::from_secs(600), || node.is_ready());
        // On an error, too, the processes must end before their cgroups are removed: see the order of the fields.
        node.process = Some(process);
        ready.with_context(|| node.state_of_servers())?;
        Ok(node)
    }

    /// The pid of the node's PID 1 on the machine: `host.pid` for a collector that runs outside the node.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The node's root file system on the machine: `host.root` for a collector that runs outside the node.
    pub fn root(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.pid))
    }

    /// The API server's address from outside the node. Its certificate is signed by [`Node::ca`].
    pub fn api_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.proxy.port())
    }

    /// The certificate of the CA that signed the API server's.
    pub fn ca(&self) -> PathBuf {
        self.dir.join("keys/ca.crt")
    }

    /// An administrator's kubeconfig for use from outside the node.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("outside.kubeconfig")
    }

    /// The API server's audit log (`audit.k8s.io/v1`, one event a line).
    pub fn audit_log(&self) -> PathBuf {
        self.dir.join("audit.log")
    }

    /// A command that runs inside the node but in none of its pods, as root.
    ///
    /// It sees the machine's files as they were at the start, and may write to its own copy; `dir` of [`Node::up`] is
    /// shared with the machine under the same path.
    pub fn enter<S: AsRef<OsStr>>(&self, command: impl IntoIterator<Item = S>) -> Command {
        let mut nsenter = Command::new("nsenter");
        nsenter.args(["-t", &self.pid.to_string(), "-m", "-p", "-n", "-u", "-i", "--"]).args(command);
        nsenter
    }

    /// A kubectl command with administrator's rights that runs outside the node.
    pub fn kubectl_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.kt);
        command.arg("kubectl").arg("--kubeconfig").arg(self.kubeconfig()).args(arguments);
        // kubectl caches API discovery below HOME.
        command.env("HOME", &self.dir);
        command
    }

    /// Runs kubectl and returns its standard output.
    ///
    /// Errors: it failed; the error has its messages.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let output = self.kubectl_command(arguments).stdin(Stdio::null()).output().context("run kubectl")?;
        printed(&format!("kubectl {}", arguments.join(" ")), output)
    }

    /// Applies one or more YAML documents.
    pub fn apply(&self, yaml: &str) -> Result<()> {
        let mut child = self
            .kubectl_command(&["apply", "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("run kubectl apply")?;
        child.stdin.take().context("no standard input")?.write_all(yaml.as_bytes()).context("send the YAML")?;
        printed("kubectl apply", child.wait_with_output()?).map(drop)
    }

    /// Waits until the pod is running with all containers ready, and returns it as JSON.
    pub fn wait_pod_running(&self, namespace: &str, pod: &str, limit: Duration) -> Result<Value> {
        wait::until(&format!("pod {namespace}/{pod} to run"), limit, || {
            let text = self.kubectl(&["-n", namespace, "get", "pod", pod, "-o", "json"])?;
            let found: Value = serde_json::from_str(&text)?;
            let status = &found["status"];
            let containers = status["containerStatuses"].as_array().map(Vec::as_slice).unwrap_or_default();
            let ready = !containers.is_empty() && containers.iter().all(|container| container["ready"] == true);
            ensure!(ready && status["phase"] == "Running", "its status is {status}");
            Ok(found)
        })
    }

    /// Runs a command in a pod with `kubectl exec` and returns its output and exit status, whatever that is.
    pub fn exec(&self, namespace: &str, pod: &str, command: &[&str]) -> Result<Output> {
        let mut kubectl = self.kubectl_command(&["-n", namespace, "exec", pod, "--"]);
        kubectl.args(command).stdin(Stdio::null()).output().context("run kubectl exec")
    }

    /// Shuts the node down and removes its cgroups. The files in its folder stay.
    pub fn down(mut self) -> Result<()> {
        let process = self.process.take().context("the node is not running")?;
        process.terminate(Duration::from_secs(60))?;
        self.cgroups.remove()
    }

    fn is_ready(&self) -> Result<()> {
        let node = self.kubectl(&["get", "node", NAME, "-o", "json"])?;
        let node: Value = serde_json::from_str(&node)?;
        let conditions = node["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
        let ready = conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
        ensure!(ready, "its conditions are {}", node["status"]["conditions"]);
        // Without it no pod can be created in the namespace.
        self.kubectl(&["-n", "default", "get", "serviceaccount", "default"]).map(drop)
    }

    fn state_of_servers(&self) -> String {
        let logs = ["kubelet", "kube-apiserver", "containerd", "images"].map(|name| {
            let text = std::fs::read_to_string(self.dir.join(format!("logs/{name}.log"))).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            format!("{name}:\n{}", lines[lines.len().saturating_sub(5)..].join("\n"))
        });
        format!("the last messages of its servers:\n{}", logs.join("\n"))
    }
}

/// Waits until no other node of this user's tests runs on this machine, and takes the lock that keeps others away.
fn take_turn() -> Result<FileLock> {
    let path = cache::root()?.join("node.lock");
    wait::until("another test's Kubernetes node to end", Duration::from_secs(600), || {
        FileLock::take(&path).with_context(|| format!("lock {}", path.display()))
    })
}

/// The file with the pid of the last node's outermost process.
fn pid_file() -> Result<PathBuf> {
    Ok(cache::root()?.join("node.pid"))
}

/// Ends the node of an earlier test that was killed before it could do so itself; its init process ends all others.
fn end_earlier() -> Result<()> {
    let noted = std::fs::read_to_string(pid_file()?).unwrap_or_default();
    let Ok(pid) = noted.trim().parse::<libc::pid_t>() else { return Ok(()) };
    // The number may belong to another process by now.
    let is_node = || std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| is_of_node(&line));
    if is_node() {
        // SAFETY: the process is a node that an earlier test started.
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
    wait::until("an earlier node to end", Duration::from_secs(240), || {
        ensure!(!is_node(), "process {pid} runs");
        Ok(())
    })
}

/// Whether a command line (proc_pid_cmdline(5)) is that of a node's outermost process.
fn is_of_node(line: &[u8]) -> bool {
    let mut words = line.split(|byte| *byte == 0);
    words.next() == Some(b"unshare") && words.any(|word| word.ends_with(b"kube/node/root.sh"))
}

/// The pid of the only child of `parent`.
fn child_of(parent: u32) -> Result<u32> {
    let line = format!("PPid:\t{parent}\n");
    for entry in std::fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse::<u32>() else { continue };
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        if status.contains(&line) {
            return Ok(pid);
        }
    }
    anyhow::bail!("process {parent} has no child")
}

fn printed(what: &str, output: Output) -> Result<String> {
    let messages = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{what} failed ({}): {}", output.status, messages.trim_end());
    String::from_utf8(output.stdout).with_context(|| format!("{what} printed what is not UTF-8"))
}

//! The cgroups that a node creates, and how they are distinguished from others.
//!
//! The kubelet and containerd create `kubepods` and `k8s.io` at the top of every hierarchy and do not remove them. A
//! node starts only where these do not exist, or where a list in the cache says that an earlier node left them; so all
//! of them belong to the node afterwards. They are removed with `rmdir`, which refuses a cgroup that has processes.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::{cache, wait};

const HIERARCHIES: &str = "/sys/fs/cgroup";
const TOP: [&str; 2] = ["kubepods", "k8s.io"];

/// The claim to a node's top-level cgroups. Dropping it removes those that are empty.
#[derive(Debug)]
pub(super) struct Cgroups {
    list: PathBuf,
    ours: Vec<PathBuf>,
}

impl Cgroups {
    /// Removes what an earlier node left, processes included, and records which cgroups the new one may create.
    ///
    /// Errors: such cgroups exist and are not ours, for example because this machine is a Kubernetes node itself.
    pub(super) fn claim() -> Result<Self> {
        let list = cache::root()?.join("node.cgroups");
        let noted = std::fs::read_to_string(&list).unwrap_or_default();
        let earlier: Vec<PathBuf> = noted.lines().map(PathBuf::from).collect();
        earlier.iter().for_each(|path| end_processes(path));
        remove_all(&earlier).context("remove the cgroups that an earlier node left")?;
        let ours = candidates()?;
        for path in &ours {
            ensure!(!path.exists(), "{} belongs to another kubelet or container runtime", path.display());
        }
        let text: Vec<String> = ours.iter().map(|path| path.display().to_string()).collect();
        std::fs::write(&list, text.join("\n")).with_context(|| format!("write {}", list.display()))?;
        Ok(Self { list, ours })
    }

    /// Removes the node's cgroups; waits for its last processes to end.
    pub(super) fn remove(&self) -> Result<()> {
        remove_all(&self.ours)?;
        match std::fs::remove_file(&self.list) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).context("remove the list of cgroups"),
            _ => Ok(()),
        }
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        // What cannot be removed stays in the list, for the next node.
        let _ = self.remove();
    }
}

/// The node's top-level cgroups in each hierarchy: a folder on cgroup v1, the mount itself on v2.
fn candidates() -> Result<Vec<PathBuf>> {
    let mount = Path::new(HIERARCHIES);
    let mut hierarchies = vec![mount.to_owned()];
    if !mount.join("cgroup.controllers").exists() {
        hierarchies.clear();
        for entry in std::fs::read_dir(mount).with_context(|| format!("read {HIERARCHIES}"))? {
            let path = entry?.path();
            if path.join("cgroup.procs").exists() {
                hierarchies.push(path.canonicalize()?);
            }
        }
        hierarchies.sort();
        hierarchies.dedup();
    }
    Ok(hierarchies.iter().flat_map(|hierarchy| TOP.map(|name| hierarchy.join(name))).collect())
}

fn remove_all(paths: &[PathBuf]) -> Result<()> {
    for path in paths {
        wait::until("the node's cgroups to be empty", Duration::from_secs(60), || {
            remove_tree(path).with_context(|| format!("remove {}", path.display()))
        })?;
    }
    Ok(())
}

/// Ends the processes in the cgroups at and below `path`: those of an earlier node whose test was killed.
fn end_processes(path: &Path) {
    let pids = std::fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    for pid in pids.lines().filter_map(|line| line.parse::<libc::pid_t>().ok()) {
        // SAFETY: the process is in a cgroup that a node of these tests made, since the list in the cache names it.
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            end_processes(&entry.path());
        }
    }
}

fn remove_tree(path: &Path) -> io::Result<()> {
    let entries = match std::fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    std::fs::remove_dir(path)
}

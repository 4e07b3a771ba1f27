//! How much memory and processor time the query process may take from the others.
//!
//! Memory: a control group where this process may make one (cgroup v1; cgroup v2 where the service manager delegates
//! one, as `Delegate=` of systemd does), which the kernel enforces on resident memory by ending the query process. Else
//! `RLIMIT_DATA`, which bounds what it maps, so that it ends itself when an allocation fails.
//! Source: Linux, Documentation/admin-guide/cgroup-v1/memory.rst and cgroup-v2.rst; setrlimit(2).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use kerntrail_common::error::chain;

/// Added to the nice value: a busy collector gets about nine tenths of a processor that both want.
const NICE: libc::c_int = 10;
/// The first that the kernel ends when the whole machine is out of memory (proc_pid_oom_score_adj(5)).
const OOM_SCORE: &str = "1000";
/// Names of control groups made here; the process id of the maker follows.
const PREFIX: &str = "kerntrail-queries-";

/// A control group with bounded memory. Removed on drop, if no process is left in it.
#[derive(Debug)]
pub struct MemoryGroup(PathBuf);

impl MemoryGroup {
    /// A group of at most `bytes` for processes that this one starts; `None` where that is not possible.
    pub fn create(bytes: u64) -> Option<Self> {
        let parent = Hierarchy::of_this_process()?;
        remove_abandoned(&parent.folder);
        let folder = parent.folder.join(format!("{PREFIX}{}", std::process::id()));
        let made = fs::create_dir(&folder).and_then(|()| {
            let group = Self(folder.clone());
            fs::write(folder.join(parent.limit_file), bytes.to_string())?;
            // Swapping would only delay the end. Absent where the kernel does not count swap.
            let _ = fs::write(folder.join(parent.swap_file.0), (parent.swap_file.1)(bytes));
            Ok(group)
        });
        made.inspect_err(|error| tracing::debug!(folder = %folder.display(), error = chain(error), "no control group"))
            .ok()
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.0
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// Where groups can be made: below the group that this process is in.
struct Hierarchy {
    folder: PathBuf,
    limit_file: &'static str,
    /// The file that keeps the group from swapping, and what is written into it.
    swap_file: (&'static str, fn(u64) -> String),
}

impl Hierarchy {
    /// Of cgroup v1, the memory controller's; of v2, the group of this process where it may give memory to others.
    fn of_this_process() -> Option<Self> {
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let v1 = folder(&groups, &mounts, "memory").map(|folder| Self {
            folder,
            limit_file: "memory.limit_in_bytes",
            swap_file: ("memory.memsw.limit_in_bytes", |bytes| bytes.to_string()),
        });
        v1.or_else(|| {
            let folder = folder(&groups, &mounts, "")?;
            let given = fs::read_to_string(folder.join("cgroup.subtree_control")).ok()?;
            given.split_whitespace().any(|controller| controller == "memory").then_some(Self {
                folder,
                limit_file: "memory.max",
                swap_file: ("memory.swap.max", |_| "0".to_owned()),
            })
        })
    }
}

/// The folder of this process's group in the hierarchy of `controller`; of cgroup v2 for an empty one.
fn folder(groups: &str, mounts: &str, controller: &str) -> Option<PathBuf> {
    let group = groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        controllers.split(',').any(|name| name == controller).then_some(path)
    })?;
    let (root, mount) = mounts.lines().find_map(|line| {
        // mount id, parent, device, root, mount point, options, tags, -, type, source, options of the file system
        let (mount, file_system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let (root, point) = (mount.next()?, mount.next()?);
        let mut file_system = file_system.split(' ');
        let (kind, options) = (file_system.next()?, file_system.nth(1)?);
        let fits = match controller {
            "" => kind == "cgroup2",
            name => kind == "cgroup" && options.split(',').any(|option| option == name),
        };
        fits.then_some((root, point))
    })?;
    // In a container, a mount may show only the container's own part.
    let below = Path::new(group).strip_prefix(root).ok()?;
    Some(Path::new(mount).join(below))
}

/// Removes the groups of programs that were killed.
fn remove_abandoned(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let maker = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if maker.is_some_and(|maker| !Path::new("/proc").join(maker).exists()) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// How the memory of this process is bounded.
#[derive(Debug)]
pub enum Confinement {
    /// By a control group.
    Group,
    /// By `RLIMIT_DATA`, in bytes.
    Mapped(u64),
}

/// Bounds this process, before it starts threads: `memory` bytes by `group`, else by what it maps, for which `stacks`
/// bytes of its threads' stacks are added; behind others in processor time; and the first to end when the whole machine
/// is out of memory.
pub fn confine(memory: u64, stacks: u64, group: Option<&Path>) -> io::Result<Confinement> {
    // Neither is needed for what follows.
    let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    // SAFETY: changes a number of this process.
    let _ = unsafe { libc::nice(NICE) };
    if let Some(group) = group
        && fs::write(group.join("cgroup.procs"), std::process::id().to_string()).is_ok()
    {
        return Ok(Confinement::Group);
    }
    let bytes = memory.saturating_add(stacks);
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: the limit is a valid structure, and the call keeps no pointer to it.
    match unsafe { libc::setrlimit(libc::RLIMIT_DATA, &limit) } {
        0 => Ok(Confinement::Mapped(bytes)),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
30 22 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
35 30 0:31 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct
36 30 0:32 /docker/ab /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
";

    #[test]
    fn the_folder_of_a_group() {
        let groups = "4:memory:/docker/ab/x\n2:cpu,cpuacct:/user\n0::/system.slice/a:b.service\n";
        for (controller, expected) in [
            ("memory", Some("/sys/fs/cgroup/memory/x")),
            ("cpu", Some("/sys/fs/cgroup/cpu,cpuacct/user")),
            ("", Some("/sys/fs/cgroup/unified/system.slice/a:b.service")),
            ("pids", None),
        ] {
            assert_eq!(folder(groups, MOUNTS, controller).as_deref(), expected.map(Path::new), "{controller:?}");
        }
        assert_eq!(folder("4:memory:/elsewhere\n", MOUNTS, "memory"), None);
    }
}

//! Control groups with bounded memory: cgroup v1; cgroup v2 where this process may divide its own group, as with
//! `Delegate=` of systemd and in a container.
//!
//! Source: Linux, Documentation/admin-guide/cgroup-v1/memory.rst and cgroup-v2.rst.

use std::fs;
use std::path::{Path, PathBuf};

use kerntrail_common::error::chain;

/// Names of control groups made here; the process id of the maker follows.
const PREFIX: &str = "kerntrail-queries-";
/// The group of cgroup v2 into which this process moves, so that the one above can be divided.
const OWN: &str = "kerntrail-main";

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
    /// Of cgroup v1, the memory controller's; of v2, the group of this process where it may divide its memory.
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
            divide(&folder, "memory", std::process::id(), groups.lines().any(|line| line == "0::/"))?;
            Some(Self { folder, limit_file: "memory.max", swap_file: ("memory.swap.max", |_| "0".to_owned()) })
        })
    }
}

/// Lets the group `folder` of cgroup v2, in which the process `own` is, give `controller` to groups below it; `None` where
/// it may not; `is_root`: `own` sees it as the root. A group that does so has no processes of its own, so `own` moves below it first (cgroup-v2.rst, "No
/// Internal Process Constraint").
fn divide(folder: &Path, controller: &str, own: u32, is_root: bool) -> Option<()> {
    let has = |file: &str| {
        let names = fs::read_to_string(folder.join(file)).unwrap_or_default();
        names.split_whitespace().any(|name| name == controller)
    };
    if has("cgroup.subtree_control") {
        return Some(());
    }
    let is_alone = fs::read_to_string(folder.join("cgroup.procs")).ok()?.trim() == own.to_string();
    if !has("cgroup.controllers") || !is_delegated(folder, is_root) || !is_alone {
        return None;
    }
    let below = folder.join(OWN);
    let divided = (|| {
        fs::create_dir(&below)?;
        fs::write(below.join("cgroup.procs"), own.to_string())?;
        fs::write(folder.join("cgroup.subtree_control"), format!("+{controller}"))
    })();
    if let Err(error) = &divided {
        tracing::debug!(folder = %folder.display(), error = chain(error), "the control group cannot be divided");
        let _ = fs::write(folder.join("cgroup.procs"), own.to_string());
        let _ = fs::remove_dir(&below);
    }
    divided.ok()
}

/// Whether what is below the group `folder` is this program's: systemd says so by an attribute (`Delegate=`, see
/// systemd's CGROUP_DELEGATION page); a container with a view of its own sees its group as the root, which only the
/// real root shows without `cgroup.type`.
fn is_delegated(folder: &Path, is_root: bool) -> bool {
    let by_systemd = ["user.delegate", "trusted.delegate"].into_iter().any(|name| {
        let mut value = [0; 1];
        rustix::fs::getxattr(folder, name, &mut value).is_ok_and(|length| value[..length] == *b"1")
    });
    by_systemd || (is_root && folder.join("cgroup.type").exists())
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

    /// Here no group of cgroup v2 has memory, so another controller is divided: `hugetlb`, which every kernel leaves there.
    #[test]
    fn a_delegated_group_is_divided() {
        const CONTROLLER: &str = "hugetlb";
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        let root = mounts.lines().find_map(|line| {
            let mut words = line.split(' ');
            let (point, kind) = (words.nth(1)?, words.next()?);
            (kind == "cgroup2").then(|| PathBuf::from(point))
        });
        let Some(root) = root.filter(|root| fs::write(root.join("cgroup.subtree_control"), "+hugetlb").is_ok()) else {
            eprintln!("skipped: no cgroup v2 whose controller {CONTROLLER} can be given to groups");
            return;
        };
        let folder = root.join(format!("kerntrail-test-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        fs::write(folder.join("cgroup.procs"), child.id().to_string()).unwrap();

        assert_eq!(divide(&folder, CONTROLLER, child.id(), false), None, "not delegated");
        assert!(is_delegated(&folder, true), "the root of a container's view");
        assert!(!is_delegated(&root, true), "the real root");
        rustix::fs::setxattr(&folder, "trusted.delegate", b"1", rustix::fs::XattrFlags::empty()).unwrap();
        assert_eq!(divide(&folder, CONTROLLER, child.id() + 1, false), None, "another process is in the group");
        assert_eq!(divide(&folder, "cpu", child.id(), false), None, "no such controller");
        assert_eq!(divide(&folder, CONTROLLER, child.id(), false), Some(()));
        let inside = fs::read_to_string(folder.join(OWN).join("cgroup.procs")).unwrap();
        assert_eq!(inside.trim(), child.id().to_string());
        let queries = folder.join("queries");
        fs::create_dir(&queries).unwrap();
        assert!(queries.join("hugetlb.2MB.max").exists());
        assert_eq!(divide(&folder, CONTROLLER, child.id(), false), Some(()), "divided already");

        child.kill().unwrap();
        child.wait().unwrap();
        for group in [queries, folder.join(OWN), folder] {
            fs::remove_dir(group).unwrap();
        }
    }
}

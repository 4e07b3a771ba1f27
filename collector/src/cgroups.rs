//! The path of a cgroup by its id.
//!
//! An exec record has the path of its cgroup. Records of a process that was moved later have only an id;
//! cgroup file systems open a directory by its id (kernfs file handles), exactly and without a search.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Ids remembered; beyond that, all are forgotten and looked up again.
const MOST_IDS: usize = 8_192;
/// `FILEID_KERNFS` (include/linux/exportfs.h).
const FILEID_KERNFS: libc::c_int = 0xfe;

/// The cgroup file systems of this machine, and what is known of their directories.
#[derive(Debug, Default)]
pub struct Cgroups {
    mounts: Vec<(PathBuf, OwnedFd)>,
    known: HashMap<u64, Option<String>>,
}

impl Cgroups {
    /// The v2 hierarchy and the v1 `pids` hierarchy, as far as they are mounted: those whose ids events carry.
    pub fn of_this_machine() -> Self {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let open = |path: PathBuf| File::open(&path).ok().map(|file| (path, OwnedFd::from(file)));
        Self { mounts: mount_points(&table).into_iter().filter_map(open).collect(), known: HashMap::new() }
    }

    /// A machine whose cgroups are known only when they are learned.
    pub fn none() -> Self {
        Self::default()
    }

    /// Notes the path of a cgroup, from an event that had both.
    pub fn learn(&mut self, id: u64, path: &str) {
        if self.known.get(&id).is_none_or(|known| known.as_deref() != Some(path)) {
            self.remember(id, Some(path.to_owned()));
        }
    }

    /// The path of cgroup `id`; `None` when it no longer exists or its hierarchy is not mounted.
    pub fn path(&mut self, id: u64) -> Option<&str> {
        if !self.known.contains_key(&id) {
            let found = self.mounts.iter().find_map(|(mount, fd)| path_of(mount, fd, id).ok());
            self.remember(id, found);
        }
        self.known.get(&id)?.as_deref()
    }

    fn remember(&mut self, id: u64, path: Option<String>) {
        if self.known.len() >= MOST_IDS {
            self.known.clear();
        }
        self.known.insert(id, path);
    }
}

/// Mount points of the v2 hierarchy, then of the v1 `pids` hierarchy.
fn mount_points(mountinfo: &str) -> Vec<PathBuf> {
    let of = |wanted: &dyn Fn(&str, &str) -> bool| {
        mountinfo.lines().find_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let mut right = right.split(' ');
            let (kind, options) = (right.next()?, right.nth(1)?);
            wanted(kind, options).then(|| left.split(' ').nth(4).map(PathBuf::from))?
        })
    };
    let unified = of(&|kind, _| kind == "cgroup2");
    let pids = of(&|kind, options| kind == "cgroup" && options.split(',').any(|option| option == "pids"));
    unified.into_iter().chain(pids).collect()
}

#[repr(C)]
struct KernfsHandle {
    bytes: libc::c_uint,
    kind: libc::c_int,
    id: u64,
}

/// The path below `mount` of the directory with this id.
fn path_of(mount: &Path, fd: &OwnedFd, id: u64) -> io::Result<String> {
    let mut handle = KernfsHandle { bytes: 8, kind: FILEID_KERNFS, id };
    // SAFETY: `handle` has the layout of struct file_handle with eight bytes of f_handle, lives through the call, and
    // `fd` is an open directory of that file system.
    let opened = unsafe {
        libc::syscall(libc::SYS_open_by_handle_at, fd.as_raw_fd(), &raw mut handle, libc::O_PATH | libc::O_CLOEXEC)
    };
    let raw = i32::try_from(opened).ok().filter(|raw| *raw >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the call above just opened it, and nobody else has it.
    let opened = unsafe { OwnedFd::from_raw_fd(raw) };
    let path = fs::read_link(format!("/proc/self/fd/{}", opened.as_raw_fd()))?;
    let below = path.strip_prefix(mount).map_err(io::Error::other)?;
    Ok(format!("/{}", below.display()))
}

/// Device of the file system that holds `path`, in the kernel's encoding (major << 20 | minor).
pub(crate) fn kernel_device_of(path: &Path) -> io::Result<u32> {
    let path = CString::new(path.as_os_str().as_encoded_bytes())?;
    let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: `path` ends in NUL and `stat` has room for the answer.
    if unsafe { libc::stat(path.as_ptr(), stat.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: stat succeeded, so it filled the answer.
    let device = unsafe { stat.assume_init() }.st_dev;
    Ok((libc::major(device) << 20) | libc::minor(device))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn mounts_of_a_hybrid_machine() {
        let table = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime shared:4 - cgroup cgroup rw,pids
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
";
        let expected = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup/pids"].map(PathBuf::from);
        assert_eq!(mount_points(table), expected);
        assert_eq!(mount_points(""), Vec::<PathBuf>::new());
    }

    #[test]
    fn learned_paths_are_found_and_their_number_is_bounded() {
        let mut cgroups = Cgroups::none();
        assert_eq!(cgroups.path(7), None);
        cgroups.learn(7, "/a");
        assert_eq!(cgroups.path(7), Some("/a"));
        cgroups.learn(7, "/b");
        assert_eq!(cgroups.path(7), Some("/b"), "the id was used again");
        for id in 0..MOST_IDS as u64 * 2 {
            cgroups.learn(id, "/c");
        }
        assert!(cgroups.known.len() <= MOST_IDS);
    }

    #[test]
    fn a_real_directory_by_its_id() {
        let mut cgroups = Cgroups::of_this_machine();
        let Some((mount, directory)) = cgroups.mounts.iter().find_map(|(mount, _)| {
            let directory = mount.join(format!("kerntrail-test-{}", std::process::id()));
            fs::create_dir(&directory).ok().map(|()| (mount.clone(), directory))
        }) else {
            assert!(
                std::env::var_os("CI").is_none(),
                "no cgroup can be made: root and a writable cgroup mount are needed"
            );
            eprintln!("skipped: no cgroup can be made here (needs root and a writable cgroup mount)");
            return;
        };
        let id = fs::metadata(&directory).unwrap().ino();
        let found = cgroups.path(id).map(ToOwned::to_owned);
        fs::remove_dir(&directory).unwrap();
        assert_eq!(found, Some(format!("/{}", directory.strip_prefix(&mount).unwrap().display())));
    }
}

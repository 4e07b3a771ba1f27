//! setns, unshare, mount, move_mount, pivot_root, chroot.

use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};
use std::ptr::null;

use kerntrail_ebpf::probes::privilege::privilege_op as op;
use kerntrail_ebpf::records::flags;
use tempfile::TempDir;

use crate::live::{Live, assert_is_self, become_nobody, checked, kernel_dev, own_mounts, own_ns, refused};

/// A folder, its resolved path and that path for system calls.
fn folder() -> (TempDir, PathBuf, CString) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    let name = name(&path);
    (folder, path, name)
}

fn name(path: &Path) -> CString {
    CString::new(path.to_str().unwrap()).unwrap()
}

#[test]
fn unshare_has_the_states_before_and_after() {
    let Some(mut live) = Live::start() else { return };
    let story = live.run_in_child(|| {
        // SAFETY: changes the namespaces of the child.
        unsafe { checked(libc::unshare(libc::CLONE_NEWNS | libc::CLONE_NEWNET))? };
        Ok(())
    });
    let call = story.call(op::UNSHARE).record;
    assert_eq!((call.ret, call.header.flags), (0, 0));
    assert_eq!(call.call_flags, (libc::CLONE_NEWNS | libc::CLONE_NEWNET) as u64);
    let (before, after) = (call.before, call.task.state);
    assert_eq!((before.mnt_ns, before.net_ns), (own_ns("mnt"), own_ns("net")));
    assert!(after.mnt_ns != before.mnt_ns && after.net_ns != before.net_ns);
    assert_eq!((after.pid_ns, after.user_ns, after.cgroup_id), (before.pid_ns, before.user_ns, before.cgroup_id));
}

#[test]
fn a_new_user_namespace_gives_capabilities() {
    let Some(mut live) = Live::start() else { return };
    let story = live.run_in_child(|| {
        // SAFETY: changes the effective group of the child.
        unsafe { checked(libc::syscall(libc::SYS_setresgid, -1, 65533, -1))? };
        become_nobody()?;
        // SAFETY: changes the namespaces of the child.
        unsafe { checked(libc::unshare(libc::CLONE_NEWUSER))? };
        Ok(())
    });
    let call = story.call(op::UNSHARE).record;
    assert_eq!((call.before.euid, call.before.egid, call.before.cap_effective), (65534, 65533, 0));
    assert_eq!(call.task.gid, 0);
    assert!(call.task.state.cap_effective & 1 << 21 != 0);
    assert_ne!(call.task.state.user_ns, call.before.user_ns);
}

#[test]
fn a_new_pid_namespace_applies_to_children() {
    let Some(mut live) = Live::start() else { return };
    let story = live.run_in_child(|| {
        // SAFETY: changes the namespaces of the child.
        unsafe { checked(libc::unshare(libc::CLONE_NEWPID))? };
        Ok(())
    });
    let call = story.call(op::UNSHARE).record;
    assert_ne!(call.task.state.pid_ns, call.before.pid_ns);
}

#[test]
fn setns_by_file() {
    let Some(mut live) = Live::start() else { return };
    let story = live.run_in_child(|| {
        // SAFETY: system calls with NUL-ended strings.
        unsafe {
            let own = checked(libc::open(c"/proc/self/ns/mnt".as_ptr(), libc::O_RDONLY))? as i32;
            own_mounts()?;
            // nstype 0: whatever the descriptor is.
            checked(libc::setns(own, 0))?;
        }
        Ok(())
    });
    let call = story.call(op::SETNS).record;
    assert_eq!((call.ret, call.call_flags), (0, libc::CLONE_NEWNS as u64));
    assert_ne!(call.before.mnt_ns, own_ns("mnt"));
    assert_eq!(call.task.state.mnt_ns, own_ns("mnt"));
    assert_eq!(call.target_process.tgid, 0);
}

#[test]
fn setns_by_pidfd_names_the_process() {
    let Some(mut live) = Live::start() else { return };
    let story = live.run_in_child(|| {
        // SAFETY: system calls without pointers.
        unsafe {
            let parent = checked(libc::syscall(libc::SYS_pidfd_open, libc::getppid(), 0))? as i32;
            checked(libc::unshare(libc::CLONE_NEWUTS | libc::CLONE_NEWNET))?;
            checked(libc::setns(parent, libc::CLONE_NEWUTS | libc::CLONE_NEWNET))?;
        }
        Ok(())
    });
    let call = story.call(op::SETNS).record;
    assert_eq!((call.ret, call.call_flags), (0, (libc::CLONE_NEWUTS | libc::CLONE_NEWNET) as u64));
    assert_eq!(call.task.state.net_ns, own_ns("net"));
    assert_ne!(call.before.net_ns, own_ns("net"));
    // Before 6.9 a pidfd cannot be distinguished from other anonymous files.
    if call.target_process.tgid != 0 {
        assert_is_self(call.target_process);
    }
}

#[test]
fn a_refused_setns_is_recorded() {
    let Some(mut live) = Live::start() else { return };
    let story = live.run_in_child(|| {
        // SAFETY: system calls with NUL-ended strings.
        unsafe {
            let own = checked(libc::open(c"/proc/self/ns/mnt".as_ptr(), libc::O_RDONLY))? as i32;
            become_nobody()?;
            refused(libc::setns(own, libc::CLONE_NEWNS), libc::EPERM)?;
            refused(libc::setns(-1, libc::CLONE_NEWNET), libc::EBADF)
        }
    });
    let calls = story.calls(op::SETNS);
    let seen: Vec<_> = calls.iter().map(|call| (call.record.ret, call.record.call_flags)).collect();
    let expected = [(libc::EPERM, libc::CLONE_NEWNS), (libc::EBADF, libc::CLONE_NEWNET)];
    assert_eq!(seen, expected.map(|(errno, kind)| (-i64::from(errno), kind as u64)));
    assert!(calls.iter().all(|call| call.record.before == call.record.task.state && call.record.before.euid == 65534));
}

#[test]
fn a_mount_is_read_from_the_mount_itself() {
    let Some(mut live) = Live::start() else { return };
    let (_folder, path, at) = folder();
    let directory = at.clone();
    let story = live.run_in_child(move || {
        own_mounts()?;
        // SAFETY: NUL-ended strings; the mount namespace is the child's own.
        unsafe {
            checked(libc::chdir(directory.as_ptr()))?;
            checked(libc::mkdir(c"m".as_ptr(), 0o700))?;
            // A relative target: the record has where it really went.
            checked(libc::mount(c"none".as_ptr(), c"m".as_ptr(), c"tmpfs".as_ptr(), libc::MS_NOSUID, null()))?;
        }
        Ok(())
    });
    // The first mount is that of own_mounts: a change of propagation mounts nothing.
    let calls = story.calls(op::MOUNT);
    assert_eq!(calls.len(), 2);
    assert_eq!((calls[0].record.target_dev, calls[0].target.as_str()), (0, "/"));
    let call = &calls[1];
    assert_eq!(call.record.header.flags, flags::TARGET_RESOLVED);
    assert_eq!(call.target, path.join("m").to_str().unwrap());
    assert_eq!((call.source.as_str(), call.fs_type.as_str()), ("none", "tmpfs"));
    assert_eq!((call.record.ret, call.record.call_flags), (0, libc::MS_NOSUID));
    assert!(call.record.target_dev != 0 && call.record.target_dev != kernel_dev(&path));
}

#[test]
fn a_bind_mount_has_the_device_of_its_source() {
    let Some(mut live) = Live::start() else { return };
    let (_folder, path, at) = folder();
    let story = live.run_in_child(move || {
        own_mounts()?;
        let flags = libc::MS_BIND | libc::MS_REC;
        // SAFETY: NUL-ended strings; the mount namespace is the child's own.
        unsafe { checked(libc::mount(c"/".as_ptr(), at.as_ptr(), null(), flags, null()))? };
        Ok(())
    });
    let call = &story.calls(op::MOUNT)[1];
    assert_eq!(call.source, "/");
    // The whole tree came along: the record is about its top.
    assert_eq!(call.target, path.to_str().unwrap());
    assert_eq!(call.record.target_dev, kernel_dev(Path::new("/")));
}

#[test]
fn a_refused_mount_has_the_requested_paths() {
    let Some(mut live) = Live::start() else { return };
    let (_folder, path, at) = folder();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let story = live.run_in_child(move || {
        // SAFETY: NUL-ended strings; the last call has a bad address on purpose.
        unsafe {
            checked(libc::chdir(at.as_ptr()))?;
            checked(libc::mkdir(c"m".as_ptr(), 0o700))?;
            become_nobody()?;
            refused(libc::mount(c"none".as_ptr(), c"m".as_ptr(), c"proc".as_ptr(), 0, null()), libc::EPERM)?;
            refused(libc::mount(c"none".as_ptr(), 8 as *const _, c"proc".as_ptr(), 0, null()), libc::EFAULT)
        }
    });
    let calls = story.calls(op::MOUNT);
    let call = &calls[0];
    assert_eq!((call.record.ret, call.record.header.flags), (-i64::from(libc::EPERM), 0));
    assert_eq!((call.source.as_str(), call.target.as_str(), call.fs_type.as_str()), ("none", "m", "proc"));
    assert_eq!((call.cwd.as_str(), call.record.target_dev), (path.to_str().unwrap(), 0));
    assert_eq!(calls[1].record.header.flags & flags::TARGET_UNREAD, flags::TARGET_UNREAD);
}

const FSCONFIG_CMD_CREATE: libc::c_int = 6;
const MOVE_MOUNT_F_EMPTY_PATH: libc::c_int = 4;

#[test]
fn move_mount_of_a_new_mount() {
    let Some(mut live) = Live::start() else { return };
    let (_folder, path, at) = folder();
    let story = live.run_in_child(move || {
        own_mounts()?;
        // SAFETY: NUL-ended strings and null pointers where the calls take none.
        unsafe {
            let context = checked(libc::syscall(libc::SYS_fsopen, c"tmpfs".as_ptr(), 0))? as i32;
            let nothing = null::<libc::c_char>();
            checked(libc::syscall(libc::SYS_fsconfig, context, FSCONFIG_CMD_CREATE, nothing, nothing, 0))?;
            let mount = checked(libc::syscall(libc::SYS_fsmount, context, 0, 0))? as i32;
            let flags = MOVE_MOUNT_F_EMPTY_PATH;
            checked(libc::syscall(libc::SYS_move_mount, mount, c"".as_ptr(), libc::AT_FDCWD, at.as_ptr(), flags))?;
            become_nobody()?;
            // The kernel refuses before it looks at the path, which must be in memory to be read: a copy is.
            let target = c"/mnt".to_owned();
            refused(
                libc::syscall(libc::SYS_move_mount, mount, c"".as_ptr(), libc::AT_FDCWD, target.as_ptr(), flags),
                libc::EPERM,
            )
        }
    });
    let calls = story.calls(op::MOVE_MOUNT);
    let call = &calls[0];
    assert_eq!((call.record.ret, call.record.header.flags), (0, flags::TARGET_RESOLVED));
    assert_eq!((call.source.as_str(), call.fs_type.as_str()), ("none", "tmpfs"));
    assert_eq!(call.target, path.to_str().unwrap());
    assert_ne!(call.record.target_dev, 0);
    assert_eq!((calls[1].record.ret, calls[1].target.as_str()), (-i64::from(libc::EPERM), "/mnt"));
}

#[test]
fn pivot_root_has_the_new_root() {
    let Some(mut live) = Live::start() else { return };
    let (_folder, path, at) = folder();
    let story = live.run_in_child(move || {
        own_mounts()?;
        // SAFETY: NUL-ended strings; the mount namespace is the child's own.
        unsafe {
            checked(libc::mount(at.as_ptr(), at.as_ptr(), null(), libc::MS_BIND, null()))?;
            checked(libc::chdir(at.as_ptr()))?;
            checked(libc::mkdir(c"old".as_ptr(), 0o700))?;
            refused(libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c"none".as_ptr()), libc::ENOENT)?;
            checked(libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c"old".as_ptr()))?;
        }
        Ok(())
    });
    let calls = story.calls(op::PIVOT_ROOT);
    assert_eq!((calls[0].record.ret, calls[0].record.target_dev), (-i64::from(libc::ENOENT), 0));
    let call = &calls[1];
    assert_eq!((call.record.ret, call.record.header.flags), (0, 0));
    assert_eq!((call.source.as_str(), call.target.as_str()), (".", "old"));
    assert_eq!(call.cwd, path.to_str().unwrap());
    assert_eq!(call.record.target_dev, kernel_dev(&path));
}

#[test]
fn chroot_is_read_from_the_new_root() {
    let Some(mut live) = Live::start() else { return };
    let (_folder, path, at) = folder();
    fs::create_dir(path.join("inner")).unwrap();
    let story = live.run_in_child(move || {
        // SAFETY: NUL-ended strings; changes the root of the child.
        unsafe {
            checked(libc::chdir(at.as_ptr()))?;
            refused(libc::chroot(c"none".as_ptr()), libc::ENOENT)?;
            checked(libc::chroot(c".".as_ptr()))?;
            // From inside, as that process sees it.
            checked(libc::chroot(c"/inner/../inner".as_ptr()))?;
            become_nobody()?;
            refused(libc::chroot(c"/".as_ptr()), libc::EPERM)
        }
    });
    let calls = story.calls(op::CHROOT);
    let seen: Vec<_> =
        calls.iter().map(|call| (call.record.ret, call.target.as_str(), call.record.target_dev)).collect();
    let dev = kernel_dev(&path);
    let expected = [
        (-i64::from(libc::ENOENT), "none", 0),
        (0, path.to_str().unwrap(), dev),
        (0, "/inner", dev),
        (-i64::from(libc::EPERM), "/", 0),
    ];
    assert_eq!(seen, expected);
    assert_eq!(calls[0].cwd, path.to_str().unwrap());
}

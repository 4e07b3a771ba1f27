//! The programs also load where a kernel lacks a field or names it differently; then they record less, but nothing wrong.
//!
//! The kernel under test stays the same; only its BTF is changed, so that other branches of the programs are taken,
//! verified and run.

use std::ffi::CString;
use std::fs;
use std::process::Command;
use std::ptr::null;

use kerntrail_ebpf::probes::privilege::privilege_op as op;
use kerntrail_ebpf::records::flags;

use crate::live::{Live, Story, allowed, checked, own_mounts};

/// The kernel's BTF with some names changed; a new name is not longer than the old one.
pub(crate) fn renamed(names: &[(&str, &str)]) -> Vec<u8> {
    let mut btf = fs::read("/sys/kernel/btf/vmlinux").unwrap();
    for (old, new) in names {
        let whole = format!("\0{old}\0");
        let at = btf.windows(whole.len()).position(|window| window == whole.as_bytes());
        let Some(at) = at else { continue };
        let mut padded = new.as_bytes().to_vec();
        padded.resize(old.len(), 0);
        btf[at + 1..at + 1 + old.len()].copy_from_slice(&padded);
    }
    btf
}

/// An exec, and a mount whose target was given as a relative path; returns the folder of the mount too.
fn exec_and_mount(names: &[(&str, &str)]) -> Option<(Story, Story, String)> {
    if !allowed() {
        return None;
    }
    let mut live = Live::with_btf(&renamed(names));
    let exec = live.run(&mut Command::new("/bin/true"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    let at = CString::new(path.to_str().unwrap()).unwrap();
    let mount = live.run_in_child(move || {
        own_mounts()?;
        // SAFETY: NUL-ended strings; the mount namespace is the child's own.
        unsafe {
            checked(libc::chdir(at.as_ptr()))?;
            checked(libc::mkdir(c"m".as_ptr(), 0o700))?;
            checked(libc::mount(c"none".as_ptr(), c"m".as_ptr(), c"tmpfs".as_ptr(), 0, null()))?;
        }
        Ok(())
    });
    Some((exec, mount, path.to_str().unwrap().to_owned()))
}

#[test]
fn before_6_15_the_parent_of_a_cgroup_has_another_name() {
    let Some((exec, ..)) = exec_and_mount(&[]) else { return };
    let Some((older, ..)) = exec_and_mount(&[("__parent", "parent")]) else { return };
    assert_eq!(older.exec[0].1, exec.exec[0].1);
}

#[test]
fn before_6_13_the_newest_mount_is_found_in_the_tree() {
    let Some((_, story, path)) = exec_and_mount(&[("mnt_last_node", "mnt_x")]) else { return };
    let call = &story.calls(op::MOUNT)[1];
    assert_eq!((call.target.clone(), call.record.header.flags), (format!("{path}/m"), flags::TARGET_RESOLVED));
    assert_ne!(call.record.target_dev, 0);
}

#[test]
fn before_6_8_the_paths_of_a_mount_come_from_the_caller() {
    let names = [("mnt_id_unique", "mnt_x"), ("mnt_last_node", "mnt_y"), ("mnt_node", "mnt_z"), ("mounts", "mnt")];
    let Some((_, story, path)) = exec_and_mount(&names) else { return };
    let call = &story.calls(op::MOUNT)[1];
    assert_eq!((call.target.as_str(), call.cwd.as_str()), ("m", path.as_str()));
    assert_eq!((call.record.header.flags, call.record.target_dev), (0, 0));
}

#[test]
fn without_audit_the_login_uid_is_unset() {
    let Some((exec, ..)) = exec_and_mount(&[("loginuid", "login_x")]) else { return };
    assert_eq!(exec.exec[0].0.task.login_uid, u32::MAX);
}

#[test]
fn without_the_pids_controller_the_v2_cgroup_is_used() {
    let Some((exec, ..)) = exec_and_mount(&[("pids_cgrp_id", "pids_x")]) else { return };
    let unified = fs::read_to_string("/proc/self/cgroup").unwrap();
    let path = unified.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/").to_owned();
    assert_eq!(exec.exec[0].1.cgroup, path);
}

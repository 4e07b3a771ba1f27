//! Without privileges the error says what is missing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use kerntrail_ebpf::{LoadError, LoadOptions, Programs};

const NOBODY: u32 = 65534;

/// Run as a child by the next test, as nobody.
#[test]
fn loading_as_nobody() {
    // SAFETY: no arguments.
    if unsafe { libc::geteuid() } != NOBODY {
        return;
    }
    let Err(LoadError::Missing(missing)) = Programs::load(&LoadOptions::default()) else { panic!("loaded as nobody") };
    println!("{missing}");
}

#[test]
fn an_unprivileged_user_sees_what_is_missing() {
    // SAFETY: no arguments.
    if unsafe { libc::geteuid() } != 0 {
        assert!(std::env::var_os("CI").is_none(), "only root can become nobody");
        eprintln!("skipped: only root can become nobody");
        return;
    }
    // Where nobody can reach it.
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("tests");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let output = Command::new(program)
        .args(["--exact", "refused::loading_as_nobody", "--nocapture"])
        .uid(NOBODY)
        .gid(NOBODY)
        .current_dir("/")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("not allowed to load BPF programs; run as root"), "{text}");
}

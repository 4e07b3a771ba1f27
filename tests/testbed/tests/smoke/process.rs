//! What all servers share: a process ends with its handle and with the test process, and a wait has a limit.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use kerntrail_testbed::process::Process;
use kerntrail_testbed::wait;

use crate::LIMIT;

/// A shell with a child, so that the group has two members; the shell writes the child's pid to a file.
fn family(dir: &Path) -> Result<(Process, u32)> {
    let file = dir.join("child");
    let mut command = Command::new("sh");
    command.args(["-c", "sleep 600 & echo $! >\"$1.new\"; mv \"$1.new\" \"$1\"; wait", "sh"]).arg(&file);
    let mut process = Process::start("a shell", command, &dir.join("log"))?;
    let text = process.wait_ready(LIMIT, || Ok(std::fs::read_to_string(&file)?))?;
    Ok((process, text.trim().parse()?))
}

fn wait_gone(pid: u32) -> Result<()> {
    wait::until(&format!("process {pid} to be gone"), LIMIT, || {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // A zombie that its new parent has not reaped yet counts as gone.
        ensure!(state.is_empty() || state.contains(") Z "), "{state}");
        Ok(())
    })
}

#[test]
fn drop_kills_the_process_group() {
    let dir = tempfile::tempdir().unwrap();
    let (process, child) = family(dir.path()).unwrap();
    let pid = process.pid();
    drop(process);
    wait_gone(pid).unwrap();
    wait_gone(child).unwrap();
}

#[test]
fn terminate_stops_the_process_group() {
    let dir = tempfile::tempdir().unwrap();
    let (process, child) = family(dir.path()).unwrap();
    process.terminate(LIMIT).unwrap();
    wait_gone(child).unwrap();
}

/// Runs this test again in a process of its own and kills that: the guard must kill its server.
#[test]
fn a_killed_test_leaves_no_server_behind() {
    const ROLE: &str = "KERNTRAIL_TESTBED_TO_BE_KILLED";
    if let Some(dir) = std::env::var_os(ROLE) {
        let (process, _) = family(Path::new(&dir)).unwrap();
        let _ = wait::until::<()>("the parent to kill this process", LIMIT * 10, || bail!("still alive"));
        drop(process);
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut test = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "process::a_killed_test_leaves_no_server_behind"])
        .env(ROLE, dir.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let child = wait::until("the inner server", LIMIT, || Ok(std::fs::read_to_string(dir.path().join("child"))?));
    test.kill().unwrap();
    test.wait().unwrap();
    wait_gone(child.unwrap().trim().parse().unwrap()).unwrap();
}

#[test]
fn a_server_that_fails_to_start_is_reported_with_its_messages() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "echo no such setting; exit 3"]);
    let mut process = Process::start("a shell", command, &dir.path().join("log")).unwrap();
    let error = process.wait_ready::<()>(LIMIT, || bail!("not there")).unwrap_err();
    assert!(format!("{error:#}").contains("no such setting"), "{error:#}");
}

#[test]
fn a_wait_that_times_out_reports_the_last_state_seen() {
    let mut calls = 0;
    let error = wait::until::<()>("the impossible", Duration::from_millis(50), || {
        calls += 1;
        bail!("seen {calls} times")
    });
    assert!(calls > 1);
    assert!(format!("{:#}", error.unwrap_err()).ends_with(&format!("last seen: seen {calls} times")));
}

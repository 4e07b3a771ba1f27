//! A server process in its own process group, which is killed when its handle is dropped.
//!
//! `Drop` does not run when the test process is killed, nor for a server held in a `static`. So each server has a
//! guard: a shell that reads from a pipe whose other end only the test process holds. When the test process ends, for
//! whatever reason, the read returns and the guard kills the server's process group. Stopping a server ends its guard
//! before the server is reaped, so that the guard never signals a group id that has been reused.

use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::wait;

/// A started server process.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    child: Child,
    guard: Child,
    reaped: bool,
    log: PathBuf,
}

impl Process {
    /// Starts `command` in a process group of its own, with its output appended to the file `log`.
    pub fn start(name: &'static str, mut command: Command, log: &Path) -> Result<Self> {
        let output = append(log)?;
        let mut child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(output.try_clone().context("duplicate the log's descriptor")?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("start {name}: {command:?}"))?;
        match guard(child.id()) {
            Ok(guard) => Ok(Self { name, child, guard, reaped: false, log: log.to_owned() }),
            Err(error) => {
                // Without a guard nothing else would stop the server.
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// The process id in the test's pid namespace.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `probe` returns `Ok`; fails when the process ends or `limit` passes before.
    pub fn wait_ready<T>(&mut self, limit: Duration, mut probe: impl FnMut() -> Result<T>) -> Result<T> {
        let what = format!("{} to be ready", self.name);
        let outcome = wait::until(&what, limit, || match self.has_ended() {
            true => Ok(None),
            false => probe().map(Some),
        });
        match outcome {
            Ok(Some(value)) => Ok(value),
            Ok(None) => bail!("{} ended during startup; its last messages:\n{}", self.name, self.log_tail()),
            Err(error) => {
                Err(error.context(format!("{} is not ready; its last messages:\n{}", self.name, self.log_tail())))
            }
        }
    }

    /// Sends SIGTERM to the process group and waits for the process; kills what still runs after `limit`.
    ///
    /// Errors: the process did not end in time; it has been killed.
    pub fn terminate(mut self, limit: Duration) -> Result<ExitStatus> {
        self.signal_group(libc::SIGTERM);
        let ended = wait::until(&format!("{} to end after SIGTERM", self.name), limit, || {
            ensure!(self.has_ended(), "it still runs");
            Ok(())
        });
        let status = self.end_now();
        ended.and(status)
    }

    /// Sends SIGKILL to the process group.
    pub fn kill(mut self) {
        let _ = self.end_now();
    }

    /// The last lines of the log, for error messages.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Whether the process has ended. Does not reap it, so that its process and group ids are not reused.
    fn has_ended(&self) -> bool {
        // SAFETY: an all-zero siginfo_t is a valid value of this plain C struct.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        // SAFETY: info is valid for writes during the call, and the id belongs to a child that is not yet reaped.
        let answered = unsafe { libc::waitid(libc::P_PID, self.child.id(), &raw mut info, options) } == 0;
        // SAFETY: the kernel filled in the child's id, or left the zero when the child still runs.
        answered && unsafe { info.si_pid() } != 0
    }

    fn signal_group(&self, signal: libc::c_int) {
        // SAFETY: the group belongs to a child that is reaped only in end_now, after the last signal, so the id has not
        // been reused. The call touches no memory of this process.
        unsafe { libc::kill(-(self.child.id() as libc::pid_t), signal) };
    }

    /// Stops the guard, kills the group, and only then reaps the process.
    fn end_now(&mut self) -> Result<ExitStatus> {
        let _ = self.guard.kill();
        let _ = self.guard.wait();
        if !self.reaped {
            self.signal_group(libc::SIGKILL);
            self.reaped = true;
        }
        self.child.wait().with_context(|| format!("wait for {}", self.name))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.end_now();
    }
}

fn append(path: &Path) -> Result<File> {
    OpenOptions::new().create(true).append(true).open(path).with_context(|| format!("open {}", path.display()))
}

fn guard(group: u32) -> Result<Child> {
    Command::new("/bin/sh")
        .args(["-c", "read -r _; kill -s KILL -- \"-$1\"", "testbed-guard", &group.to_string()])
        // A Ctrl-C at the terminal must not stop the guard before it has killed the server.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("start the guard shell")
}

//! fork, exec, exit.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use kerntrail_ebpf::probes::process::fd_kind;
use kerntrail_ebpf::records::flags;

use crate::live::{Live, Strings, assert_is_self, checked, kernel_dev, own_mounts, own_ns};

/// The cgroup that the kernel programs name: v2, or v1 `pids` where v2 has only its root.
fn own_cgroup() -> String {
    let lines = fs::read_to_string("/proc/self/cgroup").unwrap();
    let find =
        |start: &str| lines.lines().filter_map(|line| line.split_once(start)).map(|(_, path)| path.to_owned()).next();
    let unified = find("0::").filter(|path| path != "/");
    unified.or_else(|| find(":pids:")).unwrap_or_else(|| "/".to_owned())
}

#[test]
fn all_fields_of_a_program_are_recorded() {
    let Some(mut live) = Live::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let cwd = folder.path().canonicalize().unwrap();
    let mut command = Command::new("/bin/true");
    command.args(["a b", "", "c\nd", "ü"]).current_dir(&cwd).stdin(Stdio::null()).stdout(Stdio::piped());
    let story = live.run(&mut command);

    assert_eq!((story.fork.len(), story.exec.len(), story.exit.len()), (1, 1, 1), "{story:?}");
    let (program, strings) = &story.exec[0];
    let binary = fs::canonicalize("/bin/true").unwrap();
    let expected = Strings {
        exe: binary.to_str().unwrap().to_owned(),
        cwd: cwd.to_str().unwrap().to_owned(),
        cgroup: own_cgroup(),
        args: ["/bin/true", "a b", "", "c\nd", "ü"].map(str::to_owned).to_vec(),
    };
    assert_eq!(*strings, expected);
    assert_eq!(program.header.flags, 0);
    assert_eq!((program.inode, program.dev), (fs::metadata(&binary).unwrap().ino(), kernel_dev(&binary)));
    assert_eq!((program.stdin_kind, program.stdout_kind), (fd_kind::FD_OTHER, fd_kind::FD_PIPE));

    let task = program.task;
    assert_is_self(task.parent);
    assert_eq!((task.uid, task.gid, task.state.euid, task.state.egid), (0, 0, 0, 0));
    assert!(task.comm.starts_with(b"true\0"), "{:?}", task.comm);
    let namespaces = ["mnt", "pid_for_children", "net", "user"].map(own_ns);
    let state = task.state;
    assert_eq!([state.mnt_ns, state.pid_ns, state.net_ns, state.user_ns], namespaces);
    assert!(state.cap_effective & 1 << 21 != 0, "CAP_SYS_ADMIN");
    let login_uid: u32 =
        fs::read_to_string("/proc/self/loginuid").map_or(u32::MAX, |text| text.trim().parse().unwrap());
    assert_eq!(task.login_uid, login_uid);
}

#[test]
fn fork_exec_and_exit_identify_the_same_process() {
    let Some(mut live) = Live::start() else { return };
    let story = live.run(&mut Command::new("/bin/true"));
    let (fork, exec, exit) = (story.fork[0], story.exec[0].0, story.exit[0]);
    assert_is_self(fork.task.parent);
    assert_eq!(fork.task.process, exec.task.process);
    assert_eq!(fork.task.process, exit.task.process);
    assert_eq!(fork.task.parent, exit.task.parent);
    assert!(fork.header.boot_ns <= exec.header.boot_ns && exec.header.boot_ns <= exit.header.boot_ns);
    assert!(fork.task.process.start_boottime <= fork.header.boot_ns);
    // SAFETY: no pointers.
    let (session, group) = unsafe { (libc::getsid(0), libc::getpgrp()) };
    assert_eq!((fork.task.session_leader.tgid, fork.task.group_leader.tgid), (session as u32, group as u32));
}

#[test]
fn programs_of_a_process_are_counted() {
    let Some(mut live) = Live::start() else { return };
    let story = live.run(Command::new("/bin/sh").args(["-c", "exec /bin/sh -c 'exec /bin/true'"]));
    let counts: Vec<_> = story.exec.iter().map(|(program, _)| program.task.exec_seq).collect();
    assert_eq!((story.fork[0].task.exec_seq, counts, story.exit[0].task.exec_seq), (0, vec![1, 2, 3], 3));
}

#[test]
fn a_group_leader_is_itself() {
    let Some(mut live) = Live::start() else { return };
    let story = live.run(Command::new("/bin/true").process_group(0));
    let task = story.exec[0].0.task;
    assert_eq!(task.group_leader, task.process);
}

#[test]
fn exit_status_and_signal() {
    let Some(mut live) = Live::start() else { return };
    for (script, status) in [("exit 0", 0), ("exit 3", 3 << 8), ("kill -KILL $$", 9), ("kill -TERM $$", 15)] {
        let story = live.run(Command::new("/bin/sh").args(["-c", script]));
        assert_eq!(story.exit.len(), 1, "{script}");
        assert_eq!(story.exit[0].status & !0x80, status, "{script}");
    }
}

/// Run as a child by the next test: a process with several threads.
#[test]
fn threads() {
    let threads: Vec<_> = (0..4).map(|n| std::thread::spawn(move || n)).collect();
    let sum: i32 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert_eq!(sum, 6);
}

#[test]
fn threads_are_not_processes() {
    let Some(mut live) = Live::start() else { return };
    let mut child = Command::new(std::env::current_exe().unwrap());
    let story = live.run(child.args(["--exact", "process::threads"]).stdout(Stdio::null()));
    assert_eq!((story.fork.len(), story.exec.len(), story.exit.len()), (1, 1, 1), "{story:?}");
    for fork in &story.fork {
        assert_eq!(fork.task.tid, fork.task.process.tgid);
    }
    assert_eq!(story.exit[0].status, 0);
}

#[test]
fn kinds_of_stdin() {
    let Some(mut live) = Live::start() else { return };
    let (socket, _peer) = UnixStream::pair().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = File::create_new(folder.path().join("in")).unwrap();
    let (_master, terminal) = pseudo_terminal();
    let cases: [(Stdio, u32); 5] = [
        (OwnedFd::from(socket).into(), fd_kind::FD_SOCKET),
        (file.into(), fd_kind::FD_FILE),
        (terminal.into(), fd_kind::FD_TTY),
        (Stdio::piped(), fd_kind::FD_PIPE),
        (Stdio::null(), fd_kind::FD_OTHER),
    ];
    for (stdin, kind) in cases {
        let story = live.run(Command::new("/bin/sh").args(["-c", "exit 0"]).stdin(stdin));
        assert_eq!(story.exec[0].0.stdin_kind, kind);
    }
    let mut closed = Command::new("/bin/true");
    // SAFETY: closes a descriptor of the child.
    unsafe { closed.pre_exec(|| checked(libc::close(0)).map(drop)) };
    assert_eq!(live.run(&mut closed).exec[0].0.stdin_kind, fd_kind::FD_CLOSED);
}

fn pseudo_terminal() -> (OwnedFd, OwnedFd) {
    let (mut master, mut slave) = (-1, -1);
    let (name, termios, size) = (std::ptr::null_mut(), std::ptr::null(), std::ptr::null());
    // SAFETY: the two descriptors are written, nothing else is asked for.
    checked(unsafe { libc::openpty(&mut master, &mut slave, name, termios, size) }).unwrap();
    // SAFETY: openpty made both and nobody else has them.
    unsafe { (OwnedFd::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) }
}

#[test]
fn the_controlling_terminal() {
    let Some(mut live) = Live::start() else { return };
    let (_master, terminal) = pseudo_terminal();
    let mut command = Command::new("/bin/true");
    command.stdin(Stdio::from(terminal));
    // SAFETY: makes the child leader of a session, with its stdin as terminal.
    unsafe {
        command.pre_exec(|| {
            checked(libc::setsid())?;
            checked(libc::ioctl(0, libc::TIOCSCTTY, 0)).map(drop)
        });
    }
    let task = live.run(&mut command).exec[0].0.task;
    assert!(task.tty.starts_with(b"pts"), "{:?}", task.tty);
    assert_eq!(task.session_leader, task.process);
}

#[test]
fn a_program_that_is_only_in_memory() {
    let Some(mut live) = Live::start() else { return };
    // SAFETY: a NUL-ended name.
    let fd = checked(unsafe { libc::memfd_create(c"kt test".as_ptr(), 0) }).unwrap() as i32;
    // SAFETY: the descriptor was just made.
    let mut file = unsafe { File::from_raw_fd(fd) };
    file.write_all(&fs::read("/bin/true").unwrap()).unwrap();
    let (program, strings) = live.run(&mut Command::new(format!("/proc/self/fd/{fd}"))).exec.remove(0);
    assert_eq!(program.header.flags, flags::EXE_UNNAMED);
    assert_eq!(strings.exe, "/memfd:kt test");
}

#[test]
fn a_program_that_was_deleted() {
    let Some(mut live) = Live::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap().join("gone");
    fs::copy("/bin/true", &path).unwrap();
    // Without O_CLOEXEC, so that the child can run it after its name is gone.
    let name = CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: a NUL-ended path.
    let fd = checked(unsafe { libc::open(name.as_ptr(), libc::O_RDONLY) }).unwrap() as i32;
    // SAFETY: the descriptor was just made.
    let file = unsafe { OwnedFd::from_raw_fd(fd) };
    fs::remove_file(&path).unwrap();
    let (program, strings) = live.run(&mut Command::new(format!("/proc/self/fd/{}", file.as_raw_fd()))).exec.remove(0);
    assert_eq!(program.header.flags, flags::EXE_DELETED);
    assert_eq!(strings.exe, path.to_str().unwrap());
    drop(file);
}

#[test]
fn truncated_arguments_are_flagged() {
    let Some(mut live) = Live::start() else { return };
    let story = live.run(Command::new("/bin/true").arg("x".repeat(10_000)).arg("last"));
    let (program, strings) = &story.exec[0];
    assert_eq!((program.header.flags, program.args_len), (flags::ARGS_CUT, 8192));
    // The last one is cut, so `strings` drops it.
    assert_eq!(strings.args[0], "/bin/true");
}

#[test]
fn a_deep_working_directory() {
    let Some(mut live) = Live::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut deep = folder.path().canonicalize().unwrap();
    for depth in 0..30 {
        deep.push(format!("{depth}-{}", "d".repeat(60)));
    }
    fs::create_dir_all(&deep).unwrap();
    let (program, strings) = live.run(Command::new("/bin/true").current_dir(&deep)).exec.remove(0);
    assert_eq!((program.header.flags, strings.cwd.as_str()), (0, deep.to_str().unwrap()));
}

#[test]
fn of_a_directory_that_is_too_deep_the_last_components_are_kept() {
    let Some(mut live) = Live::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut deep = folder.path().canonicalize().unwrap();
    for depth in 0..80 {
        deep.push(format!("{depth}"));
    }
    fs::create_dir_all(&deep).unwrap();
    let (program, strings) = live.run(Command::new("/bin/true").current_dir(&deep)).exec.remove(0);
    assert_eq!(program.header.flags, flags::CWD_CUT);
    assert!(strings.cwd.ends_with("/78/79") && deep.to_str().unwrap().ends_with(&strings.cwd), "{}", strings.cwd);
}

#[test]
fn paths_are_as_the_process_sees_them() {
    let Some(mut live) = Live::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let root = CString::new(folder.path().canonicalize().unwrap().to_str().unwrap()).unwrap();
    let mut command = Command::new("/bin/true");
    // SAFETY: system calls with NUL-ended strings, in a child with mounts of its own.
    unsafe {
        command.pre_exec(move || {
            own_mounts()?;
            let bind = libc::MS_BIND | libc::MS_REC;
            checked(libc::mount(c"/".as_ptr(), root.as_ptr(), std::ptr::null(), bind, std::ptr::null()))?;
            checked(libc::chroot(root.as_ptr()))?;
            checked(libc::chdir(c"/usr/bin".as_ptr())).map(drop)
        });
    }
    let (program, strings) = live.run(&mut command).exec.remove(0);
    assert_eq!(program.header.flags, 0);
    assert_eq!(strings.exe, fs::canonicalize("/bin/true").unwrap().to_str().unwrap());
    assert_eq!(strings.cwd, "/usr/bin");
    assert_ne!(program.task.state.mnt_ns, own_ns("mnt"));
}

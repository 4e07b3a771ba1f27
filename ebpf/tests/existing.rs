//! Processes that already ran.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use kerntrail_ebpf::Batch;
use kerntrail_ebpf::probes::process::{Program, fd_kind};
use kerntrail_ebpf::probes::tasks::kind;
use kerntrail_ebpf::records::{EXISTING_CPU, Header, flags, read};

use crate::live::{Live, Story, Strings, assert_is_self, strings};

fn of_pid(batch: &Batch, pid: u32) -> (Program, Strings) {
    let mut found = batch.iter().filter_map(|record| {
        let (program, rest) = read::<Program>(record).unwrap();
        (program.task.process.tgid == pid).then(|| (program, strings(&program, rest)))
    });
    let first = found.next().unwrap_or_else(|| panic!("{pid} is not among {}", batch.len()));
    assert!(found.next().is_none(), "{pid} comes twice");
    first
}

#[test]
fn a_running_program_is_the_same_as_in_its_exec() {
    let Some(mut live) = Live::start() else { return };
    let mut child = Command::new("/bin/cat")
        .arg("-")
        .arg("")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let child = child.as_mut().unwrap();
    let pid = child.id();
    live.wait("exec", |records| (!Story::of(records, pid).exec.is_empty()).then_some(()));
    let batch = live.programs.existing(Path::new("/proc")).unwrap();
    drop(child.stdin.take());
    child.wait().unwrap();
    let (exec, exec_strings) = live.until_exit(pid).exec.remove(0);

    let (program, found) = of_pid(&batch, pid);
    assert_eq!(found, exec_strings);
    assert_eq!(found.args, ["/bin/cat", "-", ""]);
    assert_eq!((program.header.kind, program.header.cpu, program.header.flags), (kind::EXISTING, EXISTING_CPU, 0));
    assert_eq!((program.task.process, program.task.parent), (exec.task.process, exec.task.parent));
    assert_eq!((program.task.state, program.task.session_leader), (exec.task.state, exec.task.session_leader));
    assert_eq!((program.inode, program.dev, program.task.exec_seq), (exec.inode, exec.dev, 1));
    assert_eq!((program.stdin_kind, program.stdout_kind), (fd_kind::FD_PIPE, fd_kind::FD_OTHER));
}

#[test]
fn this_process_is_the_parent_of_what_it_starts() {
    let Some(mut live) = Live::start() else { return };
    let batch = live.programs.existing(Path::new("/proc")).unwrap();
    let story = live.run(&mut Command::new("/bin/true"));
    let (own, found) = of_pid(&batch, std::process::id());
    assert_is_self(own.task.process);
    assert_eq!(own.task.process, story.fork[0].task.parent);
    assert_eq!(found.exe, std::env::current_exe().unwrap().to_str().unwrap());
    assert_eq!(found.args, std::env::args().collect::<Vec<_>>());
}

#[test]
fn a_process_that_ended_and_is_not_waited_for_does_not_run() {
    let Some(mut live) = Live::start() else { return };
    let mut child = Command::new("/bin/true").spawn().unwrap();
    live.until_exit(child.id());
    let batch = live.programs.existing(Path::new("/proc")).unwrap();
    let is_child = |record: &[u8]| read::<Program>(record).unwrap().0.task.process.tgid == child.id();
    let listed = batch.iter().any(is_child);
    child.wait().unwrap();
    assert!(!listed, "{} is listed", child.id());
}

#[test]
fn every_process_is_listed_once_and_numbered() {
    let Some(mut live) = Live::start() else { return };
    let mut next = 0;
    // The second run continues the numbers.
    for _ in 0..2 {
        let batch = live.programs.existing(Path::new("/proc")).unwrap();
        for record in batch.iter() {
            let (header, _) = read::<Header>(record).unwrap();
            assert_eq!((header.seq, header.size as usize), (next, record.len()));
            next += 1;
        }
        let mut processes: Vec<_> =
            batch.iter().map(|record| read::<Program>(record).unwrap().0.task.process.tgid).collect();
        let parent = std::os::unix::process::parent_id();
        assert!(processes.contains(&std::process::id()) && processes.contains(&parent));
        processes.sort_unstable();
        let twice: Vec<_> = processes.windows(2).filter(|pair| pair[0] == pair[1]).collect();
        assert!(twice.is_empty(), "{twice:?}");
    }
}

#[test]
fn kernel_threads_and_unread_arguments_are_flagged() {
    let Some(mut live) = Live::start() else { return };
    // Not a procfs: nothing to read.
    let folder = tempfile::tempdir().unwrap();
    let batch = live.programs.existing(folder.path()).unwrap();
    let (own, found) = of_pid(&batch, std::process::id());
    assert_eq!((own.header.flags, found.args.len()), (flags::ARGS_UNREAD, 0));
    let programs: Vec<Program> = batch.iter().map(|record| read::<Program>(record).unwrap().0).collect();
    let Some(kthreadd) = programs.iter().find(|program| program.task.comm.starts_with(b"kthreadd\0")) else {
        eprintln!("no kthreadd in {}", fs::read_to_string("/proc/version").unwrap());
        return;
    };
    assert_eq!((kthreadd.header.flags, kthreadd.exe_len), (flags::KERNEL_THREAD, 0));
}

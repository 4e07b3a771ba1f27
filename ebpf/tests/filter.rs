//! What is filtered, by cgroup and by kind, with real processes in a real cgroup.

use std::fs::{self, File};
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use kerntrail_ebpf::probes::network::kind::NETWORK;
use kerntrail_ebpf::probes::privilege::kind::PRIVILEGE;
use kerntrail_ebpf::probes::process::kind::{EXEC, EXIT, FORK};
use kerntrail_ebpf::probes::tasks::kind::EXISTING;
use kerntrail_ebpf::probes::{self, Filtered};
use kerntrail_ebpf::records::{Header, flags, read};
use kerntrail_ebpf::{Counters, FilterError, GapTracker, LoadError, LoadOptions, Verdict};

use crate::live::{Live, Story, checked, header};

/// A cgroup of the v2 hierarchy, removed at the end.
struct Cgroup {
    path: PathBuf,
    procs: File,
}

impl Cgroup {
    /// `None` where no cgroup2 is mounted that can be written.
    fn new() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let mount = mounts.lines().find_map(|line| {
            let fields: Vec<_> = line.split(' ').collect();
            (fields[2] == "cgroup2").then(|| PathBuf::from(fields[1]))
        });
        let name = format!("kerntrail-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = mount.map(|mount| mount.join(name));
        if let Some(path) = path.filter(|path| fs::create_dir(path).is_ok()) {
            let procs = File::options().write(true).open(path.join("cgroup.procs")).unwrap();
            return Some(Self { path, procs });
        }
        assert!(std::env::var_os("CI").is_none(), "no cgroup2 that can be written");
        eprintln!("skipped: no cgroup2 that can be written");
        None
    }

    fn id(&self) -> u64 {
        fs::metadata(&self.path).unwrap().ino()
    }

    /// Moves the process that calls what it returns.
    fn enter(&self) -> impl Fn() -> io::Result<()> + Send + Sync + 'static {
        let procs = self.procs.as_raw_fd();
        // SAFETY: a byte of a constant; the descriptor is open as long as the cgroup is there.
        move || checked(unsafe { libc::syscall(libc::SYS_write, procs, c"0".as_ptr(), 1) }).map(drop)
    }

    /// A shell in this cgroup.
    fn shell(&self, script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        let enter = self.enter();
        // SAFETY: a system call.
        unsafe { command.args(["-c", script]).pre_exec(enter) };
        command
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Its processes were waited for; the kernel may take a moment longer.
        for _ in 0..100 {
            if fs::remove_dir(&self.path).is_ok() {
                return;
            }
            std::thread::yield_now();
        }
    }
}

/// A child, in the cgroup or not, that calls unshare(2) once and connects once.
fn unshare_and_connect(live: &mut Live, cgroup: Option<&Cgroup>) -> Story {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let enter = cgroup.map(Cgroup::enter);
    live.run_in_child(move || {
        if let Some(enter) = &enter {
            enter()?;
        }
        // SAFETY: changes the namespaces of the child.
        unsafe { checked(libc::unshare(libc::CLONE_NEWUTS))? };
        let stream = TcpStream::connect(address)?;
        // With a reset the connection ends in close(2), before the child does; a FIN ends it when the peer's ACK comes.
        let reset = libc::linger { l_onoff: 1, l_linger: 0 };
        let (value, size) = ((&raw const reset).cast(), size_of::<libc::linger>() as libc::socklen_t);
        // SAFETY: the socket is open, and `value` is of `size` bytes.
        unsafe { checked(libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, value, size))? };
        drop(stream);
        Ok(())
    })
}

/// Privilege and network records of a child, by number.
fn kinds(story: &Story) -> (usize, usize) {
    (story.privilege.len(), story.network().len())
}

fn filtered(counters: &Counters, kind: u32) -> u64 {
    counters.read().iter().map(|cpu| cpu.filtered[kind as usize]).sum()
}

/// Detaches the programs and checks that every number arrived.
fn assert_nothing_is_missing(live: &mut Live, counters: &Counters) {
    live.finish();
    let mut tracker = GapTracker::new();
    live.records.iter().for_each(|record| tracker.observe_record(record));
    let counters = counters.read();
    assert_eq!(tracker.finish(&counters), []);
    let numbered = live.records.iter().filter(|record| header(record).is_numbered()).count() as u64;
    assert_eq!(counters.iter().map(|cpu| cpu.next_seq).sum::<u64>(), numbered);
}

#[test]
fn a_kind_is_dropped_for_one_cgroup() {
    let Some(mut live) = Live::start() else { return };
    let Some(cgroup) = Cgroup::new() else { return };
    let counters = live.programs.counters().unwrap();
    let mut filter = live.programs.filter().unwrap();
    filter.set(cgroup.id(), PRIVILEGE, Verdict::Drop).unwrap();
    // connect and close.
    assert_eq!(kinds(&unshare_and_connect(&mut live, Some(&cgroup))), (0, 2));
    assert_eq!(kinds(&unshare_and_connect(&mut live, None)), (1, 2));
    assert_eq!((filtered(&counters, PRIVILEGE), filtered(&counters, NETWORK)), (1, 0));
    filter.set(cgroup.id(), NETWORK, Verdict::Drop).unwrap();
    filter.clear(cgroup.id(), PRIVILEGE).unwrap();
    assert_eq!(kinds(&unshare_and_connect(&mut live, Some(&cgroup))), (1, 0));
    assert_eq!((filtered(&counters, PRIVILEGE), filtered(&counters, NETWORK)), (1, 2));
    filter.clear_cgroup(cgroup.id()).unwrap();
    assert_eq!(kinds(&unshare_and_connect(&mut live, Some(&cgroup))), (1, 2));
    assert_nothing_is_missing(&mut live, &counters);
}

#[test]
fn the_default_applies_to_kinds_that_no_entry_decides() {
    let Some(mut live) = Live::start() else { return };
    let (Some(cgroup), Some(other)) = (Cgroup::new(), Cgroup::new()) else { return };
    let counters = live.programs.counters().unwrap();
    let mut filter = live.programs.filter().unwrap();
    filter.set_default(PRIVILEGE, Verdict::Drop).unwrap();
    assert_eq!(kinds(&unshare_and_connect(&mut live, Some(&cgroup))), (0, 2));
    filter.set(cgroup.id(), PRIVILEGE, Verdict::Pass).unwrap();
    filter.set(other.id(), NETWORK, Verdict::Drop).unwrap();
    assert_eq!(kinds(&unshare_and_connect(&mut live, Some(&cgroup))), (1, 2));
    assert_eq!(kinds(&unshare_and_connect(&mut live, Some(&other))), (0, 0));
    assert_eq!(kinds(&unshare_and_connect(&mut live, None)), (0, 2));
    filter.set_default(PRIVILEGE, Verdict::Pass).unwrap();
    assert_eq!(kinds(&unshare_and_connect(&mut live, None)), (1, 2));
    assert_nothing_is_missing(&mut live, &counters);
}

/// Who made a connection is known although the cgroup's execs are filtered.
#[test]
fn dropped_programs_are_still_sent_for_the_process_table_without_a_number() {
    let Some(mut live) = Live::start() else { return };
    let Some(cgroup) = Cgroup::new() else { return };
    let counters = live.programs.counters().unwrap();
    let mut filter = live.programs.filter().unwrap();
    for kind in [FORK, EXEC, EXIT] {
        filter.set(cgroup.id(), kind, Verdict::Drop).unwrap();
    }
    let mut shell = cgroup.shell("/bin/true one; unshare -u /bin/true two; exit 3");
    let story = live.run(&mut shell);
    // Its fork came before it entered the cgroup.
    assert_eq!(story.fork[0].header.flags, 0);
    assert_eq!((story.exec[0].0.header.flags, story.exec[0].0.header.seq), (flags::FILTERED, 0));
    assert_eq!(story.exec[0].1.args[0], "/bin/sh");
    assert_eq!((story.exit[0].header.flags, story.exit[0].status), (flags::FILTERED, 3 << 8));
    let marked: Vec<Header> = live.records.iter().map(|record| read::<Header>(record).unwrap().0).collect();
    let marked = marked.iter().filter(|header| header.flags & flags::FILTERED != 0);
    let (forks, execs, exits) = marked.fold((0, 0, 0), |(forks, execs, exits), header| match header.kind {
        FORK => (forks + 1, execs, exits),
        EXEC => (forks, execs + 1, exits),
        EXIT => (forks, execs, exits + 1),
        other => panic!("kind {other} is marked"),
    });
    // The shell, both programs and unshare(1), which runs the second in its own place.
    assert_eq!((forks, execs, exits), (2, 4, 3));
    assert_eq!([FORK, EXEC, EXIT, PRIVILEGE].map(|kind| filtered(&counters, kind)), [2, 4, 3, 0]);
    let calls = live.records.iter().filter(|record| header(record).kind == PRIVILEGE).count();
    assert!(calls >= 1, "the call of unshare(1) is not a program");
    assert_nothing_is_missing(&mut live, &counters);
}

#[test]
fn filtered_events_take_no_numbers_when_the_ring_is_full() {
    let Some(mut live) = Live::with(LoadOptions { ring_bytes: 1, ..LoadOptions::default() }) else { return };
    let counters = live.programs.counters().unwrap();
    let mut filter = live.programs.filter().unwrap();
    for record in probes::records().filter(|record| record.filtered != Filtered::Never) {
        filter.set_default(record.kind, Verdict::Drop).unwrap();
    }
    let before: u64 = counters.read().iter().map(|cpu| cpu.next_seq).sum();
    for _ in 0..40 {
        Command::new("/bin/true").arg("x".repeat(300)).status().unwrap();
    }
    live.programs.detach();
    let counters = counters.read();
    assert!(counters.iter().map(|cpu| cpu.context_lost).sum::<u64>() > 0);
    // Only what other tests did between loading and filtering took numbers.
    assert_eq!(counters.iter().map(|cpu| cpu.next_seq).sum::<u64>(), before);
}

#[test]
fn some_kinds_cannot_be_filtered() {
    let options = LoadOptions { filter_cgroups: 1, ..LoadOptions::default() };
    let Some(mut live) = Live::with(options) else { return };
    let mut filter = live.programs.filter().unwrap();
    for kind in [0, EXISTING, 63, 64, u32::MAX] {
        let error = filter.set(7, kind, Verdict::Drop).unwrap_err();
        assert!(matches!(error, FilterError::Kind(wrong) if wrong == kind), "{error}");
        assert!(filter.set_default(kind, Verdict::Drop).is_err());
    }
    filter.set(7, EXEC, Verdict::Drop).unwrap();
    filter.set(7, FORK, Verdict::Drop).unwrap();
    let full = filter.set(8, EXEC, Verdict::Drop).unwrap_err();
    assert_eq!(full.to_string(), "no room for a filter of cgroup 8: 1 cgroups have one");
    filter.clear(7, EXEC).unwrap();
    assert!(filter.set(8, EXEC, Verdict::Drop).is_err());
    filter.clear(7, FORK).unwrap();
    filter.set(8, EXEC, Verdict::Drop).unwrap();
    filter.clear_cgroup(9).unwrap();
    let Some(mut live) = Live::with(LoadOptions { filter_cgroups: 0, ..LoadOptions::default() }) else { return };
    assert!(matches!(live.programs.filter(), Err(LoadError::NoFilter)));
    let story = live.run(&mut Command::new("/bin/true"));
    assert_eq!(story.exec.len(), 1);
}

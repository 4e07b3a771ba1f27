//! Loads the programs and waits for records; starts the children that trigger them.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aya::{Btf, Endianness};
use kerntrail_common::error::chain;
use kerntrail_ebpf::probes::network::{self, Network};
use kerntrail_ebpf::probes::privilege::{self, Privilege};
use kerntrail_ebpf::probes::process::{Exit, Fork, Program, kind};
use kerntrail_ebpf::probes::{CONCERNS, Concern};
use kerntrail_ebpf::records::{self, Header, Layout, Ref, flags};
use kerntrail_ebpf::{Batch, LoadError, LoadOptions, Programs, Reader, preflight};
use tokio::runtime::Runtime;

const LIMIT: Duration = Duration::from_secs(240);

/// Whether the programs can be loaded; prints why if not.
pub(crate) fn allowed() -> bool {
    let Err(missing) = preflight() else { return true };
    assert!(std::env::var_os("CI").is_none(), "{missing}");
    eprintln!("skipped: {missing}");
    false
}

/// The loaded programs and their records so far.
pub(crate) struct Live {
    pub(crate) programs: Programs,
    reader: Reader,
    runtime: Runtime,
    pub(crate) records: Vec<Vec<u8>>,
}

impl Live {
    /// `None` where BPF is not allowed.
    pub(crate) fn start() -> Option<Self> {
        Self::with(LoadOptions::default())
    }

    pub(crate) fn with(options: LoadOptions) -> Option<Self> {
        allowed().then(|| Self::of(Programs::load(&options)))
    }

    /// Stands in for another kernel: its types are those that `btf` describes.
    pub(crate) fn with_btf(btf: &[u8]) -> Self {
        let btf = Btf::parse(btf, Endianness::default()).unwrap();
        Self::of(Programs::load_with_btf(&LoadOptions::default(), &btf, CONCERNS))
    }

    /// Loads `concerns`, which may name hooks that this kernel lacks.
    pub(crate) fn with_concerns(concerns: &[Concern]) -> Self {
        Self::of(Programs::load_concerns(&LoadOptions::default(), concerns))
    }

    fn of(programs: Result<Programs, LoadError>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut programs = programs.unwrap_or_else(|error| panic!("{}", shortened(&error)));
        let reader = {
            let _inside = runtime.enter();
            programs.reader().unwrap()
        };
        Self { programs, reader, runtime, records: Vec::new() }
    }

    /// Reads until `wanted` finds what it looks for in all the records so far.
    pub(crate) fn wait<T>(&mut self, what: &str, mut wanted: impl FnMut(&[Vec<u8>]) -> Option<T>) -> T {
        let end = Instant::now() + LIMIT;
        let mut batch = Batch::new();
        loop {
            if let Some(found) = wanted(&self.records) {
                return found;
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {what} in {} records", self.records.len());
            let read = self.runtime.block_on(async { tokio::time::timeout(left, self.reader.read(&mut batch)).await });
            if let Ok(read) = read {
                read.unwrap();
                self.records.extend(batch.iter().map(<[u8]>::to_vec));
            }
        }
    }

    /// Takes the programs out and what is left in the ring.
    pub(crate) fn finish(&mut self) {
        self.programs.detach();
        let mut batch = Batch::new();
        while self.reader.take(&mut batch) > 0 {
            self.records.extend(batch.iter().map(<[u8]>::to_vec));
        }
    }

    /// Reads until process `pid` has exited, then gives all its records.
    pub(crate) fn until_exit(&mut self, pid: u32) -> Story {
        self.wait(&format!("exit of {pid}"), |records| exit_of(records, pid));
        Story::of(&self.records, pid)
    }

    /// Runs `command` to its end and gives its records.
    pub(crate) fn run(&mut self, command: &mut Command) -> Story {
        let mut child = command.spawn().unwrap();
        child.wait().unwrap();
        self.until_exit(child.id())
    }

    /// Runs `work` in a child that then ends. It must not allocate: it runs between fork and exec.
    pub(crate) fn run_in_child(&mut self, work: impl FnMut() -> io::Result<()> + Send + Sync + 'static) -> Story {
        let mut child = spawn_in_child(work);
        let status = child.wait().unwrap();
        let story = self.until_exit(child.id());
        assert!(status.success(), "{status}; {:?}", story.privilege);
        story
    }
}

fn spawn_in_child(work: impl FnMut() -> io::Result<()> + Send + Sync + 'static) -> Child {
    let mut command = Command::new("/never/run");
    let mut work = work;
    // SAFETY: the closure makes system calls only, and ends the process itself: what follows fork is not run.
    unsafe {
        command.pre_exec(move || {
            let code = match work() {
                Ok(()) => 0,
                Err(error) => error.raw_os_error().unwrap_or(255).min(255),
            };
            libc::_exit(code)
        });
    }
    // The pipe by which spawn learns of a failed exec closes at _exit, as at an exec.
    command.stdin(Stdio::null()).spawn().unwrap()
}

/// An error with its causes; the verifier's log shortened to its end.
fn shortened(error: &(dyn std::error::Error + 'static)) -> String {
    let text = chain(error);
    let start = text.len().saturating_sub(3000);
    text[text.ceil_char_boundary(start)..].to_owned()
}

/// What one process did, in the order in which it did it.
#[derive(Debug, Default)]
pub(crate) struct Story {
    pub(crate) fork: Vec<Fork>,
    pub(crate) exec: Vec<(Program, Strings)>,
    pub(crate) privilege: Vec<(Privilege, Vec<Vec<u8>>)>,
    pub(crate) exit: Vec<Exit>,
    /// Records of other kinds.
    other: Vec<Vec<u8>>,
}

/// Strings of a program.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Strings {
    pub(crate) exe: String,
    pub(crate) cwd: String,
    pub(crate) cgroup: String,
    pub(crate) args: Vec<String>,
}

pub(crate) fn header(record: &[u8]) -> Header {
    records::read::<Header>(record).unwrap().0
}

/// The record as `T`, if its process is `pid`.
macro_rules! of_pid {
    ($type:ty, $record:expr, $pid:expr) => {{
        let (fixed, rest) = records::read::<$type>($record).unwrap();
        (fixed.task.process.tgid == $pid).then_some((fixed, rest))
    }};
}

fn exit_of(records: &[Vec<u8>], pid: u32) -> Option<Exit> {
    let exits = records.iter().filter(|record| header(record).kind == kind::EXIT);
    exits.filter_map(|record| of_pid!(Exit, record, pid)).map(|(exit, _)| exit).next()
}

impl Story {
    pub(crate) fn of(records: &[Vec<u8>], pid: u32) -> Self {
        let mut records: Vec<_> = records.iter().collect();
        records.sort_by_key(|record| header(record).boot_ns);
        let mut story = Self::default();
        for record in records {
            assert_eq!(header(record).size as usize, record.len());
            match header(record).kind {
                kind::FORK => story.fork.extend(of_pid!(Fork, record, pid).map(|(fork, _)| fork)),
                kind::EXEC => story.exec.extend(of_pid!(Program, record, pid).map(|(p, rest)| (p, strings(&p, rest)))),
                privilege::kind::PRIVILEGE => {
                    story.privilege.extend(of_pid!(Privilege, record, pid).map(|(p, rest)| (p, parts(&p, rest))))
                }
                kind::EXIT => story.exit.extend(of_pid!(Exit, record, pid).map(|(exit, _)| exit)),
                // All records begin like that of a fork: header and task.
                _ => story.other.extend(of_pid!(Fork, record, pid).map(|_| record.clone())),
            }
        }
        story
    }

    /// The records of another `kind`: fixed part and strings.
    pub(crate) fn records<T: Layout>(&self, kind: u32) -> Vec<(T, Vec<u8>)> {
        let of_kind = self.other.iter().filter(|record| header(record).kind == kind);
        of_kind.map(|record| records::read::<T>(record).map(|(fixed, rest)| (fixed, rest.to_vec())).unwrap()).collect()
    }

    /// The TCP connections that changed.
    pub(crate) fn network(&self) -> Vec<Network> {
        self.records(network::kind::NETWORK).into_iter().map(|(network, _)| network).collect()
    }

    /// The only call `op`, with its source, target and type; paths resolved by the kernel joined.
    pub(crate) fn call(&self, op: u32) -> Call {
        let calls: Vec<_> = self.privilege.iter().filter(|(call, _)| call.op == op).collect();
        assert_eq!(calls.len(), 1, "{:?}", self.privilege);
        call_of(calls[0])
    }

    /// All calls `op`, in order.
    pub(crate) fn calls(&self, op: u32) -> Vec<Call> {
        self.privilege.iter().filter(|(call, _)| call.op == op).map(call_of).collect()
    }
}

/// A privileged call with its strings as text.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) record: Privilege,
    pub(crate) source: String,
    pub(crate) target: String,
    pub(crate) fs_type: String,
    pub(crate) cwd: String,
}

fn call_of((record, parts): &(Privilege, Vec<Vec<u8>>)) -> Call {
    let resolved = record.header.flags & flags::TARGET_RESOLVED != 0;
    Call {
        record: *record,
        source: text(&parts[0]),
        target: if resolved { path(&parts[1]) } else { text(&parts[1]) },
        fs_type: text(&parts[2]),
        cwd: path(&parts[3]),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn cut<const N: usize>(mut bytes: &[u8], lens: [usize; N]) -> [&[u8]; N] {
    let parts = lens.map(|len| {
        let (part, rest) = bytes.split_at(len);
        bytes = rest;
        part
    });
    assert!(bytes.is_empty(), "{} bytes too many", bytes.len());
    parts
}

fn parts(call: &Privilege, rest: &[u8]) -> Vec<Vec<u8>> {
    let lens = [call.source_len, call.target_len, call.type_len, call.cwd_len].map(usize::from);
    cut(rest, lens).iter().map(|part| part.to_vec()).collect()
}

/// Components, innermost first, as an absolute path.
pub(crate) fn path(components: &[u8]) -> String {
    let mut names: Vec<_> = components.split(|byte| *byte == 0).map(text).collect();
    assert_eq!(names.pop().as_deref(), Some(""), "a path ends with NUL");
    names.reverse();
    format!("/{}", names.join("/"))
}

pub(crate) fn strings(program: &Program, rest: &[u8]) -> Strings {
    let lens = [program.exe_len, program.cwd_len, program.cgroup_len].map(usize::from);
    let [exe, cwd, cgroup, args] = cut(rest, [lens[0], lens[1], lens[2], program.args_len as usize]);
    let mut args: Vec<_> = args.split(|byte| *byte == 0).map(text).collect();
    args.pop();
    Strings { exe: path(exe), cwd: path(cwd), cgroup: path(cgroup), args }
}

/// Device of a file in the kernel's encoding.
pub(crate) fn kernel_dev(path: &Path) -> u32 {
    let dev = fs::metadata(path).unwrap().dev();
    libc::major(dev) << 20 | libc::minor(dev)
}

/// Inode number of a namespace of this process.
pub(crate) fn own_ns(name: &str) -> u32 {
    // The thread's, not the leader's: the same here, but exact.
    fs::metadata(format!("/proc/thread-self/ns/{name}")).unwrap().ino() as u32
}

/// This process, its start time only as exact as /proc has it.
pub(crate) fn assert_is_self(process: Ref) {
    assert_eq!(process.tgid, std::process::id());
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let ticks: u64 = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap().parse().unwrap();
    assert_eq!(process.start_boottime / 10_000_000, ticks);
}

/// `result` of a system call as an error.
pub(crate) fn checked(result: impl Into<libc::c_long>) -> io::Result<libc::c_long> {
    match result.into() {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}

/// That a call is refused with `errno`.
pub(crate) fn refused(result: impl Into<libc::c_long>, errno: i32) -> io::Result<()> {
    match checked(result) {
        Err(error) if error.raw_os_error() == Some(errno) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::from_raw_os_error(254)),
    }
}

/// A mount namespace of the calling process's own, from which no mount gets out.
pub(crate) fn own_mounts() -> io::Result<()> {
    // SAFETY: plain system calls with NUL-ended strings; the process is a child made for this.
    unsafe {
        checked(libc::unshare(libc::CLONE_NEWNS))?;
        let flags = libc::MS_REC | libc::MS_PRIVATE;
        checked(libc::mount(std::ptr::null(), c"/".as_ptr(), std::ptr::null(), flags, std::ptr::null()))?;
    }
    Ok(())
}

/// Gives up root for good.
pub(crate) fn become_nobody() -> io::Result<()> {
    // SAFETY: plain system calls; the raw one, since libc's wrapper would signal other threads.
    unsafe { checked(libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534))? };
    Ok(())
}

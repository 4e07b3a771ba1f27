//! Kernel events by script, and a collector that runs through them.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use kerntrail_collector::cgroups::Cgroups;
use kerntrail_collector::clock::BootClock;
use kerntrail_collector::decode::Context;
use kerntrail_collector::event::{EventKind, KernelEvent, PrivilegeState, ProcessRef, Program, Task};
use kerntrail_collector::node::Node;
use kerntrail_collector::pods::Pods;
use kerntrail_collector::source::{EventSource, ProbeStatus, SourceError, SourceRecord};
use kerntrail_collector::users::Users;
use kerntrail_collector::{Collector, CollectorConfig, CollectorError};
use kerntrail_ebpf::CpuCounters;
use kerntrail_schemas::Table;
use kerntrail_schemas::cell::Micros;
use kerntrail_schemas::identity::{BootHash, BootId, ProcessUid};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::log::MemoryLog;

pub const BOOT: &str = "59a5a6c4-8f13-4d0b-9a3f-4be4a4a1b9a7";
/// Namespaces of the node itself.
pub const HOST: PrivilegeState = PrivilegeState {
    euid: 0,
    egid: 0,
    cap_effective: 0x1ff_ffff_ffff,
    mnt_ns: 10,
    pid_ns: 20,
    net_ns: 30,
    user_ns: 40,
    cgroup_id: 1,
};
/// CPU of the task iterator's records.
pub const EXISTING_CPU: u32 = kerntrail_ebpf::records::EXISTING_CPU;

/// One thing that a scripted source does.
pub enum Step {
    Records(Vec<SourceRecord>),
    Do(Box<dyn FnOnce() + Send>),
}

/// Builds events; one millisecond passes with each.
#[derive(Default)]
pub struct Script {
    pub now_ns: u64,
    seqs: BTreeMap<u32, u64>,
    pub existing: Vec<SourceRecord>,
    pub steps: VecDeque<Step>,
    pub counters: Vec<CpuCounters>,
    pub missed: u64,
    pub probes: Vec<ProbeStatus>,
}

impl Script {
    /// A machine on which init, with pid 1, already runs.
    pub fn new() -> (Self, Task) {
        let mut script = Self { now_ns: 1_000_000_000, ..Self::default() };
        let init = Task { process: ProcessRef { tgid: 1, start_boottime: 1_000 }, ..task() };
        script.exists(&init, &["/sbin/init"]);
        (script, init)
    }

    fn number(&mut self, cpu: u32) -> u64 {
        let seq = self.seqs.entry(cpu).or_default();
        *seq += 1;
        *seq - 1
    }

    fn event(&mut self, cpu: u32, task: &Task, kind: EventKind) -> KernelEvent {
        self.now_ns += 1_000_000;
        KernelEvent { cpu, seq: self.number(cpu), boot_ns: self.now_ns, flags: 0, task: task.clone(), kind }
    }

    /// A process that already ran.
    pub fn exists(&mut self, task: &Task, args: &[&str]) {
        self.exists_in(task, args, "");
    }

    /// A kernel thread.
    pub fn kernel_thread(&mut self, task: &Task) {
        let kind = EventKind::Existing(Box::default());
        let event = KernelEvent {
            flags: kerntrail_ebpf::records::flags::KERNEL_THREAD,
            ..self.event(EXISTING_CPU, task, kind)
        };
        self.existing.push(event.into());
    }

    pub fn exists_in(&mut self, task: &Task, args: &[&str], cgroup: &str) {
        let kind = EventKind::Existing(Box::new(program(args, cgroup)));
        let record = self.event(EXISTING_CPU, task, kind).into();
        self.existing.push(record);
    }

    /// An event at the end of the script.
    pub fn push(&mut self, task: &Task, kind: EventKind) {
        let record = self.event(0, task, kind).into();
        self.steps.push_back(Step::Records(vec![record]));
    }

    /// An event that the filter drops, at the end of the script: without a number, for the process table only.
    pub fn push_filtered(&mut self, task: &Task, kind: EventKind) {
        self.now_ns += 1_000_000;
        let flags = kerntrail_ebpf::records::flags::FILTERED;
        let event = KernelEvent { cpu: 0, seq: 0, boot_ns: self.now_ns, flags, task: task.clone(), kind };
        self.steps.push_back(Step::Records(vec![SourceRecord { number: None, event: Ok(event) }]));
    }

    pub fn fork(&mut self, parent: &Task, pid: u32) -> Task {
        let process = ProcessRef { tgid: pid, start_boottime: self.now_ns + 900_000 };
        let child = Task { process, parent: parent.process, ..parent.clone() };
        self.push(&child, EventKind::Fork);
        child
    }

    pub fn exec(&mut self, task: &Task, args: &[&str]) {
        self.exec_in(task, args, "");
    }

    pub fn exec_in(&mut self, task: &Task, args: &[&str], cgroup: &str) {
        self.push(task, EventKind::Exec(Box::new(program(args, cgroup))));
    }

    /// A fork, then an exec.
    pub fn spawn(&mut self, parent: &Task, pid: u32, args: &[&str]) -> Task {
        self.spawn_in(parent, pid, args, "")
    }

    pub fn spawn_in(&mut self, parent: &Task, pid: u32, args: &[&str], cgroup: &str) -> Task {
        let child = self.fork(parent, pid);
        self.exec_in(&child, args, cgroup);
        child
    }

    pub fn exit(&mut self, task: &Task) {
        self.push(task, EventKind::Exit { code: 0, signal: 0 });
    }

    pub fn wait(&mut self, seconds: u64) {
        self.now_ns += seconds * 1_000_000_000;
    }

    pub fn then(&mut self, what: impl FnOnce() + Send + 'static) {
        self.steps.push_back(Step::Do(Box::new(what)));
    }

    /// Runs a collector through the script.
    pub async fn run(self) -> Rows {
        self.run_on(Setup::default()).await
    }

    pub async fn run_on(self, setup: Setup) -> Rows {
        let log = Arc::new(MemoryLog::default());
        let (collector, _) = self.collector(&setup);
        collector.run(Arc::clone(&log) as _, CancellationToken::new()).await.unwrap();
        Rows(log)
    }

    /// A collector for the script, and how many records it has taken.
    pub fn collector(self, setup: &Setup) -> (Collector<Scripted>, Arc<AtomicUsize>) {
        let taken = Arc::new(AtomicUsize::new(0));
        let started_ns = setup.started_ns;
        let source = Scripted { script: self, taken: Arc::clone(&taken) };
        let clock = BootClock::fixed(Micros(1_700_000_000_000_000));
        let collector =
            Collector::new(setup.config.clone(), setup.node.clone(), source, Cgroups::none(), clock, started_ns);
        (collector.unwrap(), taken)
    }
}

/// The node and the configuration of a run.
pub struct Setup {
    pub node: Node,
    pub config: CollectorConfig,
    pub started_ns: u64,
}

impl Default for Setup {
    fn default() -> Self {
        let node = Node {
            name: "node-1".into(),
            cluster: Some("test".into()),
            host_id: Some("0123456789abcdef0123456789abcdef".into()),
            boot_id: BootId::new(BOOT),
            boot_hash: BootHash::of(BOOT),
            root: "/nowhere".into(),
            users: Users::of("/nowhere".as_ref()),
            runtimes: Vec::new(),
            procfs: "/nowhere".into(),
            init: 1,
            mnt_ns: Some(HOST.mnt_ns),
            pid_ns: Some(HOST.pid_ns),
            net_ns: Some(HOST.net_ns),
            root_dev: Some(0x0080_0001),
            container: None,
        };
        Self { node, config: CollectorConfig::default(), started_ns: 1_000_000_000 }
    }
}

impl Setup {
    pub fn at(root: &Path) -> Self {
        let mut setup = Self::default();
        setup.node.root = root.to_owned();
        setup.node.users = Users::of(root);
        setup
    }
}

/// A source that plays a script and then has nothing more.
pub struct Scripted {
    script: Script,
    taken: Arc<AtomicUsize>,
}

#[async_trait]
impl EventSource for Scripted {
    fn existing(&mut self, _: Context<'_>) -> Result<Vec<SourceRecord>, SourceError> {
        Ok(std::mem::take(&mut self.script.existing))
    }

    async fn next(&mut self, _: Context<'_>, into: &mut Vec<SourceRecord>) -> Result<(), SourceError> {
        while let Some(step) = self.script.steps.pop_front() {
            match step {
                Step::Do(what) => what(),
                Step::Records(records) => {
                    self.taken.fetch_add(records.len(), Ordering::Relaxed);
                    into.extend(records);
                    break;
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, _: Context<'_>, into: &mut Vec<SourceRecord>) -> usize {
        let before = into.len();
        for step in self.script.steps.drain(..) {
            match step {
                Step::Do(what) => what(),
                Step::Records(records) => into.extend(records),
            }
        }
        into.len() - before
    }

    fn counters(&mut self) -> Vec<CpuCounters> {
        self.script.counters.clone()
    }

    fn probes(&self) -> Vec<ProbeStatus> {
        self.script.probes.clone()
    }

    fn missed(&mut self) -> u64 {
        self.script.missed
    }

    fn stop(&mut self) {}
}

/// What a run wrote.
pub struct Rows(pub Arc<MemoryLog>);

impl Rows {
    pub fn of(&self, table: Table) -> Vec<Value> {
        self.0.rows(table)
    }

    /// The rows of `process_events` with this activity and pid.
    pub fn process(&self, activity: &str, pid: u32) -> Vec<Value> {
        let of = |row: &Value| row["activity"] == activity && row["pid"] == pid;
        self.of(Table::ProcessEvents).into_iter().filter(of).collect()
    }

    /// The one such row.
    pub fn one(&self, activity: &str, pid: u32) -> Value {
        let mut rows = self.process(activity, pid);
        assert_eq!(rows.len(), 1, "{activity} of {pid}: {rows:#?}");
        rows.remove(0)
    }
}

pub fn task() -> Task {
    Task { state: HOST, login_uid: u32::MAX, comm: "comm".into(), ..Task::default() }
}

pub fn program(args: &[&str], cgroup: &str) -> Program {
    Program {
        path: args.first().map(ToString::to_string).unwrap_or_default(),
        args: args.iter().map(ToString::to_string).collect(),
        cwd: "/".into(),
        inode: 7,
        dev: 0x0080_0001,
        cgroup_path: cgroup.into(),
        ..Program::default()
    }
}

/// The uid of `task`, as text.
pub fn uid(task: &Task) -> String {
    ProcessUid::new(&BootHash::of(BOOT), task.process.start_boottime, task.process.tgid).to_string()
}

pub fn fails(result: Result<(), CollectorError>) -> String {
    kerntrail_common::error::chain(&result.expect_err("it should have failed"))
}

/// The pods of a collector.
pub fn pods_of(collector: &Collector<Scripted>) -> Arc<Pods> {
    collector.pods()
}

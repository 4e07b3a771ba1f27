//! The real kernel as a source. Needs root and BPF.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kerntrail_collector::cgroups::Cgroups;
use kerntrail_collector::clock::{BootClock, now_boot_ns};
use kerntrail_collector::node::Node;
use kerntrail_collector::{Collector, CollectorConfig, EbpfSource, NodeConfig, preflight};
use kerntrail_common::period::Period;
use kerntrail_ebpf::probes::process::kind::{EXEC, FORK};
use kerntrail_ebpf::probes::{BpfProgram, CONCERNS, Concern, Need, Probe};
use kerntrail_ebpf::{Hook, LoadOptions, Programs, Verdict};
use kerntrail_schemas::Table;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::log::MemoryLog;

fn allowed() -> bool {
    let Err(missing) = preflight() else { return true };
    assert!(std::env::var_os("CI").is_none(), "no live collection: {missing}");
    eprintln!("skipped: {missing}");
    false
}

fn config() -> CollectorConfig {
    CollectorConfig {
        node: NodeConfig { name: "this".into(), ..NodeConfig::default() },
        batch_interval: Period(Duration::from_millis(50)),
        ..CollectorConfig::default()
    }
}

/// A collector of this machine's own events.
struct Live {
    log: Arc<MemoryLog>,
    cancel: CancellationToken,
    running: JoinHandle<()>,
}

impl Live {
    /// `None` where live collection is not possible; that is a failure in CI.
    async fn start() -> Option<Self> {
        if !allowed() {
            return None;
        }
        Some(Self::of(Collector::live(config()).unwrap()).await)
    }

    /// Collects what `programs` emit.
    async fn with(programs: Programs) -> Self {
        let source = EbpfSource::new(programs, "/proc".into()).unwrap();
        let node = Node::read(&config()).unwrap();
        let (cgroups, clock) = (Cgroups::of_this_machine(), BootClock::of_this_machine());
        Self::of(Collector::new(config(), node, source, cgroups, clock, now_boot_ns()).unwrap()).await
    }

    async fn of(collector: Collector) -> Self {
        let mut ready = collector.ready();
        let (log, cancel) = (Arc::new(MemoryLog::default()), CancellationToken::new());
        let run = collector.run(Arc::clone(&log) as _, cancel.clone());
        let running = tokio::spawn(async move { run.await.unwrap() });
        ready.wait_for(|ready| *ready).await.unwrap();
        Self { log, cancel, running }
    }

    /// The first row of `table` for which `wanted` holds; fails when none comes in time.
    async fn wait_for(&self, table: Table, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let limit = Instant::now() + Duration::from_secs(240);
        loop {
            if let Some(row) = self.log.rows(table).into_iter().find(&wanted) {
                return row;
            }
            assert!(Instant::now() < limit, "no {what} within 30 s");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn process(&self, activity: &str, pid: u32) -> Value {
        let wanted = |row: &Value| row["activity"] == activity && row["pid"] == pid;
        self.wait_for(Table::ProcessEvents, activity, wanted).await
    }

    async fn stop(self) {
        self.cancel.cancel();
        self.running.await.unwrap();
    }
}

/// A shell that waits for a line and then ends.
fn shell(mark: &str) -> Child {
    Command::new("/bin/sh").args(["-c", "read line; exit 7", mark]).stdin(Stdio::piped()).spawn().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_of_this_machine_and_the_same_ids_after_a_restart() {
    let Some(live) = Live::start().await else { return };
    let mut child = shell("two words --password=hunter2");
    let exec = live.process("exec", child.id()).await;
    assert_eq!(exec["args"], json!(["/bin/sh", "-c", "read line; exit 7", "two words --password=***"]));
    assert_eq!((&exec["exec_seq"], &exec["stdin_kind"]), (&json!(1), &json!("pipe")));
    assert_eq!((&exec["parent_pid"], &exec["in_host_mnt_ns"]), (&json!(std::process::id()), &json!(true)));
    let own = live.process("existing", std::process::id()).await;
    assert_eq!((&own["process_uid"], &own["process_path"]), (&exec["parent_process_uid"], &exec["parent_path"]));
    live.stop().await;

    let live = Live::start().await.expect("it started before");
    let existing = live.process("existing", child.id()).await;
    for column in ["process_uid", "exec_seq", "process_path", "args", "parent_process_uid", "cwd"] {
        assert_eq!(existing[column], exec[column], "{column}");
    }
    assert_ne!(existing["stream"], exec["stream"]);
    drop(child.stdin.take());
    child.wait().unwrap();
    let exit = live.process("exit", child.id()).await;
    assert_eq!((&exit["exit_code"], &exit["process_uid"]), (&json!(7), &exec["process_uid"]));
    live.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_of_this_machine_and_every_number_accounted_for() {
    let Some(live) = Live::start().await else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(TcpStream::connect(("127.0.0.1", port)).unwrap());
    let connect = |row: &Value| row["activity"] == "connect" && row["dst_port"] == port;
    let row = live.wait_for(Table::NetworkFlows, "connect", connect).await;
    assert_eq!(
        (&row["pid"], &row["dst_ip"], &row["ret"]),
        (&json!(std::process::id()), &json!("127.0.0.1"), &json!(0))
    );
    let log = Arc::clone(&live.log);
    live.stop().await;

    let mut numbers: Vec<(i64, i64, i64)> = Vec::new();
    for table in [Table::ProcessEvents, Table::KernelEvents, Table::NetworkFlows, Table::EventLoss] {
        for row in log.rows(table) {
            let number = |name: &str| row[name].as_i64();
            let first = number("from_seq").or(number("seq")).unwrap();
            numbers.push((number("cpu").unwrap(), first, number("to_seq").unwrap_or(first)));
        }
    }
    numbers.sort_unstable();
    let mut next = std::collections::BTreeMap::new();
    for (cpu, first, last) in numbers {
        let expected = next.entry(cpu).or_insert(0);
        assert_eq!(first, *expected, "processor {cpu}");
        *expected = last + 1;
    }
    assert!(next.len() > 1, "{next:?}");
}

/// A call that this kernel does not have.
static ABSENT: [Probe; 1] = [Probe {
    name: "absent",
    need: Need::Optional,
    depends_on: None,
    activities: &["setns"],
    programs: &[BpfProgram::new("exit_setns", Hook::Syscall("sys_exit_absent"))],
}];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collection_continues_without_a_refused_probe_and_the_loss_is_recorded() {
    if !allowed() {
        return;
    }
    let others = CONCERNS.iter().filter(|concern| concern.name != "privilege");
    let absent = Concern { name: "absent", probes: &ABSENT, records: &[], layouts: &[], enums: &[], ..CONCERNS[0] };
    let concerns: Vec<_> = others.copied().chain([absent]).collect();
    let live = Live::with(Programs::load_concerns(&LoadOptions::default(), &concerns).unwrap()).await;
    let not_supported = |row: &Value| row["activity"] == "not_supported";
    let first = live.wait_for(Table::EventLoss, "loss", not_supported).await;
    assert_eq!((&first["event_kind"], &first["lost"], &first["node"]), (&json!("setns"), &Value::Null, &json!("this")));
    let mut child = Command::new("/bin/true").spawn().unwrap();
    child.wait().unwrap();
    let exec = live.process("exec", child.id()).await;
    let log = Arc::clone(&live.log);
    live.stop().await;
    let rows: Vec<_> = log.rows(Table::EventLoss).into_iter().filter(not_supported).collect();
    assert_eq!(rows.len(), 1, "{rows:#?}");
    let [start, exec, end] =
        [&rows[0]["start_time"], &exec["time"], &rows[0]["end_time"]].map(|time| time.as_str().unwrap().to_owned());
    assert!(start < exec && exec < end, "the row covers what happened after it was made: {start} {exec} {end}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_of_a_process_is_known_although_its_exec_was_filtered() {
    if !allowed() {
        return;
    }
    let mut programs = Programs::load(&LoadOptions::default()).unwrap();
    let mut filter = programs.filter().unwrap();
    for kind in [FORK, EXEC] {
        filter.set_default(kind, Verdict::Drop).unwrap();
    }
    let live = Live::with(programs).await;
    let mut child = shell("filtered");
    drop(child.stdin.take());
    child.wait().unwrap();
    let exit = live.process("exit", child.id()).await;
    assert_eq!(exit["args"], json!(["/bin/sh", "-c", "read line; exit 7", "filtered"]));
    assert_eq!((&exit["parent_pid"], &exit["exec_seq"]), (&json!(std::process::id()), &json!(1)));
    let log = Arc::clone(&live.log);
    live.stop().await;
    let of_child = |row: &Value| row["pid"] == child.id() && row["activity"] != "exit";
    assert_eq!(log.rows(Table::ProcessEvents).into_iter().filter(of_child).collect::<Vec<_>>(), Vec::<Value>::new());
    let lost = |row: &Value| row["activity"] == "ring_full";
    assert_eq!(log.rows(Table::EventLoss).into_iter().find(lost), None, "no number is missing");
}

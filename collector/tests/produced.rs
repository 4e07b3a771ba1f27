//! Everything that the collector makes: each activity and each column, from records and losses.

use std::sync::Arc;

use expect_test::expect_file;
use kerntrail_collector::CollectorConfig;
use kerntrail_collector::event::{EventKind, FdKind, PrivilegeState, ProcessRef, Program, Task};
use kerntrail_collector::pods::Pods;
use kerntrail_collector::source::{ProbeStatus, SourceRecord};
use kerntrail_ebpf::CpuCounters;
use kerntrail_ebpf::probes;
use kerntrail_ebpf::probes::network::network_op;
use kerntrail_ebpf::probes::privilege::privilege_op;
use kerntrail_schemas::Table;
use kerntrail_schemas::produced::Produced;
use kube::runtime::watcher::Event;
use tokio_util::sync::CancellationToken;

use crate::entries::{cgroup, inside};
use crate::identity::{ID, K8S, put_bundle, web_pod};
use crate::kernel_records::{call, connection};
use crate::log::MemoryLog;
use crate::script::{HOST, Script, Setup, Step, pods_of, program};

/// A program, every part of it known.
fn shell() -> Program {
    let args = ["/bin/sh", "-c", "id"];
    Program { stdin: FdKind::Tty, stdout: FdKind::Pipe, memfd: false, ..program(&args, &cgroup(ID)) }
}

/// Calls and connections of each kind by `process`.
fn push_all(script: &mut Script, process: &Task) {
    let before = PrivilegeState { cgroup_id: 7, ..process.state };
    let calls = [
        (privilege_op::SETNS, ["", "", ""]),
        (privilege_op::UNSHARE, ["", "", ""]),
        (privilege_op::MOUNT, ["/dev/sda1", "/mnt", "ext4"]),
        (privilege_op::MOVE_MOUNT, ["/a", "/b", ""]),
        (privilege_op::PIVOT_ROOT, ["/new", "/old", ""]),
        (privilege_op::CHROOT, ["", "/host", ""]),
    ];
    for (op, texts) in calls {
        script.push(process, call(op, 0x0002_0000, &before, &HOST, texts));
    }
    for op in [network_op::CONNECT, network_op::ACCEPT, network_op::LISTEN, network_op::CLOSE] {
        script.push(process, connection(op));
    }
}

/// A machine with a shell in a pod that does everything, and one loss of each kind.
fn script(pods: impl FnOnce() -> Arc<Pods> + Send + 'static) -> Script {
    let (mut script, init) = Script::new();
    script.then(move || {
        pods().apply(Event::Apply(web_pod()));
    });
    let shim = script.spawn(&init, 100, &["/usr/bin/containerd-shim-runc-v2"]);
    let parent = script.fork(&inside(&shim), 200);
    script.push(&parent, EventKind::Exec(Box::new(shell())));
    let mut process = script.fork(&parent, 300);
    process.tty = "pts0".into();
    process.login_uid = 1000;
    process.session_leader = parent.process;
    process.group_leader = parent.process;
    process.exec_seq = Some(1);
    script.push(&process, EventKind::Exec(Box::new(shell())));
    push_all(&mut script, &process);
    script.push(&process, EventKind::Exit { code: 0, signal: 9 });
    script.push(&parent, EventKind::Exit { code: 3, signal: 0 });
    let refused = Some("operation not permitted".to_owned());
    script.probes = vec![ProbeStatus { name: "chroot", activities: &["chroot"], refused }];
    // Not numbered, not readable, and numbers that never came.
    script.missed = 5;
    script.steps.push_back(Step::Records(vec![SourceRecord { number: None, event: Err("no header".into()) }]));
    let mut counters = CpuCounters { cpu: 0, next_seq: 10_000, ..CpuCounters::default() };
    counters.lost[probes::process::kind::EXEC as usize] = 2;
    script.counters = vec![counters];
    // More processes than the table holds.
    for pid in 1_000..1_010 {
        script.push(&Task { process: ProcessRef { tgid: pid, start_boottime: 5 }, ..process.clone() }, EventKind::Fork);
    }
    script
}

#[tokio::test]
async fn the_list_of_activities_and_columns_of_the_collector_is_current() {
    let (root, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    put_bundle(root.path(), K8S, ID, "containerd.json");
    std::fs::create_dir_all(root.path().join("etc")).unwrap();
    std::fs::write(root.path().join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
    let mut setup = Setup::at(root.path());
    setup.config =
        CollectorConfig { max_processes: 8, state_dir: Some(state.path().to_owned()), ..CollectorConfig::default() };
    let mut produced = Produced::default();
    // The second run finds the state of the first, and so the time between them.
    for started_ns in [1_000_000_000, u64::MAX / 4] {
        setup.started_ns = started_ns;
        let log = Arc::new(MemoryLog::default());
        let (give, mut take) = tokio::sync::oneshot::channel();
        let (collector, _) = script(move || take.try_recv().unwrap()).collector(&setup);
        give.send(pods_of(&collector)).ok().unwrap();
        collector.run(Arc::clone(&log) as _, CancellationToken::new()).await.unwrap();
        for &table in Table::ALL {
            for rows in log.batches(table) {
                produced.add(table, &rows);
            }
        }
    }
    let list = expect_file![concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas/producers/collector.txt")];
    list.assert_eq(&produced.listing());
}

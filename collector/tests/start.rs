//! Start, restart, and what is seen both by the iterator and in the ring.

use std::sync::Arc;

use kerntrail_collector::event::{EventKind, ProcessRef, Task};
use kerntrail_schemas::Table;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::log::MemoryLog;
use crate::script::{EXISTING_CPU, Rows, Script, Setup, program, task, uid};

#[tokio::test]
async fn existing_processes_come_parents_first_whatever_their_pids() {
    let (mut script, init) = Script::new();
    let at = |pid, start, parent: &Task| Task {
        process: ProcessRef { tgid: pid, start_boottime: start },
        parent: parent.process,
        ..task()
    };
    let shell = at(900, 5_000, &init);
    // Pids wrapped around.
    let child = at(20, 6_000, &shell);
    script.exists(&child, &["/bin/child"]);
    script.exists(&shell, &["/bin/sh"]);
    let rows = script.run().await;
    let row = rows.one("existing", 20);
    assert_eq!((&row["parent_path"], &row["ancestor_uids"]), (&json!("/bin/sh"), &json!([uid(&init)])));
    assert_eq!((&row["cpu"], &row["exec_seq"]), (&json!(EXISTING_CPU), &json!(0)));
}

#[tokio::test]
async fn a_restarted_collector_gives_the_same_ids() {
    let (mut script, init) = Script::new();
    let process = Task { exec_seq: Some(0), ..script.fork(&init, 10) };
    let process = Task { exec_seq: Some(1), ..process };
    script.exec(&process, &["/bin/sh"]);
    let before = script.run().await;
    let (mut script, _) = Script::new();
    script.exists(&process, &["/bin/sh"]);
    let process = Task { exec_seq: Some(2), ..process };
    script.exec(&process, &["/bin/bash"]);
    let after = script.run_on(Setup { started_ns: 9_000_000_000, ..Setup::default() }).await;
    let ids = |row: &serde_json::Value| (row["process_uid"].clone(), row["exec_seq"].clone());
    assert_eq!(ids(&before.one("exec", 10)), (json!(uid(&process)), json!(1)));
    assert_eq!(
        ids(&after.one("existing", 10)),
        (json!(uid(&process)), json!(1)),
        "the same program of the same process"
    );
    assert_eq!(ids(&after.one("exec", 10)), (json!(uid(&process)), json!(2)));
    assert_ne!(before.one("exec", 10)["stream"], after.one("exec", 10)["stream"]);
}

/// A process forks, execs and is then listed by the iterator, whose record is taken first.
#[tokio::test]
async fn a_process_that_is_listed_and_in_the_ring_is_one_process() {
    let (mut script, init) = Script::new();
    let process = Task { exec_seq: Some(0), ..script.fork(&init, 10) };
    let first = Task { exec_seq: Some(1), ..process.clone() };
    script.exec(&first, &["/bin/first"]);
    let second = Task { exec_seq: Some(2), ..process };
    script.exec(&second, &["/bin/second"]);
    script.exists(&second, &["/bin/second"]);
    script.exit(&second);
    let rows = script.run().await;
    let program = |row: &serde_json::Value| (row["exec_seq"].clone(), row["process_path"].clone());
    assert_eq!(program(&rows.one("existing", 10)), (json!(2), json!("/bin/second")));
    let execs: Vec<_> = rows.process("exec", 10).iter().map(program).collect();
    assert_eq!(execs, [(json!(1), json!("/bin/first")), (json!(2), json!("/bin/second"))]);
    assert_eq!(program(&rows.one("exit", 10)), (json!(2), json!("/bin/second")), "the past changed nothing");
    assert_eq!(rows.of(Table::EventLoss), Vec::<serde_json::Value>::new());
}

#[tokio::test]
async fn a_process_that_was_forked_after_the_list_is_only_in_the_ring() {
    let (mut script, init) = Script::new();
    script.spawn(&init, 10, &["/bin/sh"]);
    let rows = script.run().await;
    assert_eq!((rows.process("existing", 10).len(), rows.process("fork", 10).len()), (0, 1));
}

#[tokio::test]
async fn ready_once_the_existing_processes_were_sent() {
    let (script, _) = Script::new();
    let (collector, _) = script.collector(&Setup::default());
    let ready = collector.ready();
    assert!(!*ready.borrow());
    collector.run(Arc::new(MemoryLog::default()), CancellationToken::new()).await.unwrap();
    assert!(*ready.borrow());
}

/// Where procfs does not let them be read: of init itself, or of kthreadd where the iterator does not list init.
#[tokio::test]
async fn the_nodes_namespaces_are_those_of_its_init() {
    for listed in [true, false] {
        let (mut script, init) = Script::new();
        if !listed {
            script.existing.clear();
            script.kernel_thread(&Task { process: ProcessRef { tgid: 2, start_boottime: 1_000 }, ..task() });
        }
        let mut inside = script.spawn(&init, 10, &["/bin/sh"]);
        (inside.state.mnt_ns, inside.state.pid_ns) = (110, 120);
        script.exit(&inside);
        let mut setup = Setup::default();
        (setup.node.mnt_ns, setup.node.pid_ns) = (None, None);
        let rows = script.run_on(setup).await;
        let host = |row: &serde_json::Value| (row["in_host_mnt_ns"].clone(), row["in_host_pid_ns"].clone());
        assert_eq!(host(&rows.one("exec", 10)), (json!(true), json!(true)), "{listed}");
        assert_eq!(host(&rows.one("exit", 10)), (json!(false), json!(false)), "{listed}");
    }
}

#[tokio::test]
async fn envelopes() {
    let (mut script, init) = Script::new();
    script.spawn(&init, 10, &["/bin/sh"]);
    let log = Arc::new(MemoryLog::default());
    let (collector, _) = script.collector(&Setup::default());
    let stream = collector.stream().to_string();
    collector.run(Arc::clone(&log) as _, CancellationToken::new()).await.unwrap();
    let row = Rows(log).one("exec", 10);
    let expected = [
        ("cluster", json!("test")),
        ("node", json!("node-1")),
        ("boot_id", json!(crate::script::BOOT)),
        ("source", json!("kernel")),
        ("stream", json!(stream)),
        ("cpu", json!(0)),
        ("seq", json!(1)),
        ("action", json!("observed")),
        ("count", json!(1)),
        ("boot_ns", json!(1_003_000_000_i64)),
        ("date", json!("2023-11-14")),
        ("time", json!("2023-11-14T22:13:21.003Z")),
        ("binary_inode", json!(7)),
    ];
    for (name, value) in expected {
        assert_eq!(row[name], value, "{name}");
    }
}

#[tokio::test]
async fn an_existing_kernel_record_of_an_unreadable_program() {
    let (mut script, _) = Script::new();
    let zombie = Task { process: ProcessRef { tgid: 66, start_boottime: 8 }, comm: "defunct".into(), ..task() };
    let kind = EventKind::Existing(Box::new(program(&[], "")));
    script.push(&zombie, kind);
    let rows = script.run().await;
    assert_eq!(rows.one("existing", 66)["process_name"], "defunct");
}

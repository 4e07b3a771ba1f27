//! What is missing is a row.

use std::sync::Arc;
use std::time::Duration;

use kerntrail_collector::CollectorConfig;
use kerntrail_collector::event::{EventKind, EventRow, ProcessRef, Task};
use kerntrail_collector::source::{Number, ProbeStatus, SourceRecord};
use kerntrail_ebpf::CpuCounters;
use kerntrail_ebpf::probes;
use kerntrail_schemas::Table;
use kerntrail_schemas::tables::NetworkColumns;
use kerntrail_schemas::tables::network_flows::CLOSE;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::log::MemoryLog;
use crate::script::{Rows, Script, Setup, Step, program, task};

/// A connection that was closed by a task which was read earlier.
fn connection() -> EventKind {
    let columns = NetworkColumns { dst_port: Some(443), ..NetworkColumns::default() };
    EventKind::Other { row: EventRow::new(&CLOSE, columns), task_is_current: false }
}

fn columns(row: &Value, names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| row[*name].clone()).collect()
}

/// Records with these numbers on processor 0, in this order.
fn numbered(script: &mut Script, seqs: &[u64]) {
    for seq in seqs {
        let task = Task { process: ProcessRef { tgid: 10, start_boottime: 5 }, ..task() };
        script.push(&task, EventKind::Fork);
        let Some(Step::Records(records)) = script.steps.back_mut() else { panic!("no step") };
        let record = &mut records[0];
        record.number.as_mut().unwrap().seq = *seq;
        record.event.as_mut().unwrap().seq = *seq;
    }
}

#[tokio::test]
async fn missing_numbers_become_rows_of_event_loss() {
    let cases: &[(&str, &[u64], u64, &[(i64, i64)])] = &[
        ("nothing lost", &[0, 1, 2], 3, &[]),
        ("neighbors that changed places", &[0, 2, 1], 3, &[]),
        ("the first ones", &[2, 3], 4, &[(0, 1)]),
        ("in the middle", &[0, 4, 6], 7, &[(1, 3), (5, 5)]),
        ("the last ones", &[0], 3, &[(1, 2)]),
        ("all", &[], 2, &[(0, 1)]),
    ];
    for (name, seqs, next_seq, expected) in cases {
        let (mut script, _) = Script::new();
        numbered(&mut script, seqs);
        script.counters = vec![CpuCounters { cpu: 0, next_seq: *next_seq, ..CpuCounters::default() }];
        let rows = script.run().await.of(Table::EventLoss);
        let mut found: Vec<_> =
            rows.iter().map(|row| (row["from_seq"].as_i64().unwrap(), row["to_seq"].as_i64().unwrap())).collect();
        found.sort_unstable();
        assert_eq!(found, *expected, "{name}");
        for row in &rows {
            assert_eq!(row["activity"], "ring_full");
            assert_eq!(
                (&row["seq"], &row["cpu"]),
                (&row["from_seq"], &json!(0)),
                "its id is that of the first number lost"
            );
            assert_eq!(
                row["lost"].as_i64(),
                Some(row["to_seq"].as_i64().unwrap() - row["from_seq"].as_i64().unwrap() + 1)
            );
        }
    }
}

#[tokio::test]
async fn a_gap_has_its_time_and_the_kinds_that_were_lost() {
    let (mut script, _) = Script::new();
    numbered(&mut script, &[0, 3]);
    let mut counters = CpuCounters { cpu: 0, next_seq: 4, ..CpuCounters::default() };
    counters.lost[probes::process::kind::EXEC as usize] = 2;
    script.counters = vec![counters];
    let rows = script.run().await;
    let loss = &rows.of(Table::EventLoss)[0];
    let times: Vec<_> = rows.process("fork", 10).iter().map(|row| row["time"].clone()).collect();
    assert_eq!(
        columns(loss, &["start_time", "end_time", "event_kind"]),
        [times[0].clone(), times[1].clone(), json!("exec")]
    );
    assert_eq!(
        columns(loss, &["source", "node", "stream"]),
        [json!("kerntrail"), json!("node-1"), json!("59a5a6c4-8f13-4d0b-9a3f-4be4a4a1b9a7+1000000000")]
    );
}

#[tokio::test]
async fn a_record_that_cannot_be_decoded_is_reported_and_the_others_are_processed() {
    let (mut script, init) = Script::new();
    script.spawn(&init, 10, &["/bin/sh"]);
    let number = Number { cpu: 0, seq: 2, boot_ns: script.now_ns + 1 };
    script.steps.push_back(Step::Records(vec![
        SourceRecord { number: Some(number), event: Err("cut".into()) },
        SourceRecord { number: None, event: Err("no header".into()) },
    ]));
    let rows = script.run().await;
    assert_eq!(rows.process("exec", 10).len(), 1);
    let losses = rows.of(Table::EventLoss);
    let found: Vec<_> =
        losses.iter().map(|row| columns(row, &["activity", "cpu", "seq", "from_seq", "to_seq", "lost"])).collect();
    let named = vec![json!("decode_error"), json!(0), json!(2), json!(2), json!(2), json!(1)];
    let unnumbered = vec![json!("decode_error"), json!(-1), json!(0), Value::Null, Value::Null, json!(1)];
    assert_eq!(found, [named, unnumbered]);
}

#[tokio::test]
async fn events_of_skipped_program_runs_are_reported() {
    let (mut script, _) = Script::new();
    script.missed = 5;
    let losses = script.run().await.of(Table::EventLoss);
    assert_eq!(losses.len(), 1);
    assert_eq!(columns(&losses[0], &["activity", "lost", "from_seq"]), [json!("not_run"), json!(5), Value::Null]);
}

#[tokio::test]
async fn a_refused_probe_is_reported_from_the_start() {
    let (mut script, _) = Script::new();
    let refused = |name, activities, reason: &str| ProbeStatus { name, activities, refused: Some(reason.to_owned()) };
    script.probes = vec![
        ProbeStatus { name: "process", activities: &["fork", "exec", "exit"], refused: None },
        refused("setns", &["setns"], "EPERM"),
        refused("connections", &["connect", "accept"], "the verifier rejects it"),
        refused("accept", &["accept"], "it depends on probe connections"),
    ];
    let losses = script.run().await.of(Table::EventLoss);
    let found: Vec<_> = losses.iter().map(|row| columns(row, &["activity", "event_kind", "lost", "cpu"])).collect();
    assert_eq!(found, [[json!("not_supported"), json!("accept,connect,setns"), Value::Null, json!(-1)]]);
    // From the start of the programs to beyond the end of the run: the present is always covered.
    assert_eq!(losses[0]["start_time"], "2023-11-14T22:13:21Z");
    let (time, end) = (losses[0]["time"].as_str().unwrap(), losses[0]["end_time"].as_str().unwrap());
    assert!(time < end, "{time} {end}");
}

#[tokio::test]
async fn filtered_events_give_context_but_no_rows() {
    let (mut script, init) = Script::new();
    let process = ProcessRef { tgid: 10, start_boottime: script.now_ns };
    let shell = Task { process, parent: init.process, ..task() };
    script.push_filtered(&shell, EventKind::Fork);
    script.push_filtered(&shell, EventKind::Exec(Box::new(program(&["/bin/sh", "-i"], ""))));
    script.push(&shell, connection());
    let child = script.spawn(&shell, 11, &["/bin/ls"]);
    script.push_filtered(&child, EventKind::Exit { code: 0, signal: 0 });
    script.counters = vec![CpuCounters { cpu: 0, next_seq: 3, ..CpuCounters::default() }];
    let rows = script.run().await;
    assert!(["fork", "exec"].iter().all(|activity| rows.process(activity, 10).is_empty()));
    let flow = rows.of(Table::NetworkFlows).remove(0);
    assert_eq!(columns(&flow, &["process_path", "args"]), [json!("/bin/sh"), json!(["/bin/sh", "-i"])]);
    assert_eq!(rows.one("exec", 11)["parent_path"], "/bin/sh");
    assert!(rows.process("exit", 11).is_empty());
    assert_eq!(rows.of(Table::EventLoss), Vec::<Value>::new(), "no number is missing");
}

#[tokio::test]
async fn lost_context_records_are_reported() {
    let (mut script, _) = Script::new();
    script.counters = vec![CpuCounters { cpu: 0, context_lost: 3, ..CpuCounters::default() }];
    let losses = script.run().await.of(Table::EventLoss);
    assert_eq!(losses.len(), 1, "{losses:#?}");
    assert_eq!(
        columns(&losses[0], &["activity", "count", "lost", "event_kind", "start_time"]),
        [json!("ring_full"), json!(3), json!(0), json!("process context"), json!("2023-11-14T22:13:21Z")]
    );
}

#[tokio::test]
async fn a_full_process_table_is_reported_and_rows_are_still_made() {
    let (mut script, init) = Script::new();
    let parent = script.spawn(&init, 10, &["/bin/sh"]);
    for pid in 20..25 {
        script.spawn(&parent, pid, &["/bin/sleep", "9"]);
    }
    let config = CollectorConfig { max_processes: 4, ..CollectorConfig::default() };
    let rows = script.run_on(Setup { config, ..Setup::default() }).await;
    let losses = rows.of(Table::EventLoss);
    assert_eq!(losses.len(), 1, "{losses:#?}");
    // init, the shell and two children fit; three children are refused at the fork and again at the exec.
    assert_eq!(columns(&losses[0], &["activity", "count", "lost"]), [json!("table_full"), json!(6), json!(0)]);
    let last = rows.one("exec", 24);
    assert_eq!(columns(&last, &["process_path", "parent_path"]), [json!("/bin/sleep"), json!("/bin/sh")]);
    assert_eq!(last["ancestor_paths"], json!(["/sbin/init"]));
}

#[tokio::test]
async fn ended_processes_make_room() {
    let (mut script, init) = Script::new();
    for pid in 10..100 {
        let process = script.spawn(&init, pid, &["/bin/true"]);
        script.exit(&process);
    }
    let config = CollectorConfig { max_processes: 3, ..CollectorConfig::default() };
    let rows = script.run_on(Setup { config, ..Setup::default() }).await;
    assert_eq!(rows.of(Table::EventLoss), Vec::<Value>::new());
    assert_eq!(rows.one("exit", 99)["process_path"], "/bin/true");
}

#[tokio::test]
async fn the_time_between_two_runs_is_reported() {
    let state = tempfile::tempdir().unwrap();
    let config = CollectorConfig { state_dir: Some(state.path().to_owned()), ..CollectorConfig::default() };
    let run = async |started_ns| {
        let (script, _) = Script::new();
        script.run_on(Setup { config: config.clone(), started_ns, ..Setup::default() }).await.of(Table::EventLoss)
    };
    assert_eq!(run(1_000_000_000).await, Vec::<Value>::new(), "the first run misses nothing that it could know of");
    // The script's clock has boot at a fixed time; the end of a run is the machine's own CLOCK_BOOTTIME.
    let started_ns = u64::MAX / 4;
    let losses = run(started_ns).await;
    assert_eq!(columns(&losses[0], &["activity", "cpu", "lost"]), [json!("collector_down"), json!(-1), Value::Null]);
    let (start, end) = (losses[0]["start_time"].as_str().unwrap(), losses[0]["end_time"].as_str().unwrap());
    assert!(start < end, "{start} {end}");
    std::fs::write(state.path().join("collector.json"), "garbage").unwrap();
    assert_eq!(run(started_ns).await, Vec::<Value>::new(), "a damaged state keeps nobody from starting");
}

#[tokio::test]
async fn the_state_is_not_ahead_of_the_log() {
    let state = tempfile::tempdir().unwrap();
    let config = CollectorConfig {
        state_dir: Some(state.path().to_owned()),
        drain_timeout: Duration::from_millis(1),
        ..CollectorConfig::default()
    };
    let (mut script, init) = Script::new();
    script.spawn(&init, 10, &["/bin/sh"]);
    let (collector, _) = script.collector(&Setup { config, ..Setup::default() });
    let cancel = CancellationToken::new();
    cancel.cancel();
    let log = Arc::new(MemoryLog::blocked());
    let failed = crate::script::fails(collector.run(Arc::clone(&log) as _, cancel).await);
    assert!(failed.contains("did not accept the last rows"), "{failed}");
    assert!(!state.path().join("collector.json").exists());
    assert_eq!(Rows(log).of(Table::ProcessEvents), Vec::<Value>::new());
}

//! Late rows are neither missed nor counted twice; a crash loses and doubles no finding.

use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow::array::AsArray;
use kerntrail_detections::Exceptions;
use kerntrail_lake::CompactOptions;
use kerntrail_schemas::Table;
use serde_json::json;

use crate::support::Bench;

const SINGLE: &str = "
title: A shell
id: rule-1
tags: [attack.execution, attack.t1059.004]
level: high
logsource: {category: process_creation}
detection:
  s: {process_path: /bin/sh}
  condition: s
kerntrail: {suppress: {within: never}}
";

pub(crate) const SEQUENCE: &str = "
title: First
name: first
logsource: {category: process_creation}
detection:
  s: {process_path: /first}
  condition: s
---
title: Second
name: second
logsource: {category: kernel_events}
detection:
  s: {activity: setns}
  condition: s
---
title: First then second
id: rule-2
correlation:
  type: temporal_ordered
  rules: [first, second]
  group-by: [node, container_id]
  timespan: 60s
kerntrail: {suppress: {within: never}}
";

async fn exec(bench: &Bench, second: i64, path: &str, container: &str) {
    let columns =
        json!({"activity": "exec", "process_path": path, "cmd_line": path, "container_id": container, "pid": 7});
    bench.event(Table::ProcessEvents, second, columns).await;
}

async fn setns(bench: &Bench, second: i64, container: &str) {
    bench.event(Table::KernelEvents, second, json!({"activity": "setns", "container_id": container})).await;
}

#[tokio::test]
async fn each_row_is_evaluated_once_even_when_late() {
    let bench = Bench::new();
    let detector = bench.detector(SINGLE);
    assert_eq!(detector.pass().await.unwrap(), 0, "an empty lake");
    exec(&bench, 100, "/bin/sh", "c1").await;
    exec(&bench, 100, "/bin/ls", "c1").await;
    assert_eq!(detector.pass().await.unwrap(), 1);
    assert_eq!(detector.pass().await.unwrap(), 0);
    // An hour older than what was seen already.
    exec(&bench, -3500, "/bin/sh", "c1").await;
    assert_eq!(bench.detector(SINGLE).pass().await.unwrap(), 1, "also after a restart");
    assert_eq!(bench.detector(SINGLE).pass().await.unwrap(), 0);
    assert_eq!(bench.texts("rule_id"), ["rule-1", "rule-1"]);
}

#[tokio::test]
async fn a_finding_carries_its_rule_its_events_and_the_actor() {
    let bench = Bench::new();
    exec(&bench, 100, "/bin/sh", "c1").await;
    bench.detector(SINGLE).pass().await.unwrap();
    let findings = bench.findings();
    let row = &findings[0];
    let text = |column: &str| bench.texts(column)[0].clone();
    assert_eq!(text("severity"), "high");
    assert_eq!(text("container_id"), "c1");
    assert_eq!(text("source"), "kerntrail");
    assert_eq!(text("message"), "`/bin/sh`");
    let list = |column: &str| {
        row.column_by_name(column).unwrap().as_list::<i32>().value(0).as_string::<i32>().value(0).to_owned()
    };
    assert_eq!(list("event_refs"), "process_events/s-0-1");
    assert_eq!((list("attack_tactics").as_str(), list("attack_techniques").as_str()), ("execution", "T1059.004"));
}

#[tokio::test]
async fn an_exception_covers_its_events_until_it_ends() {
    let bench = Bench::new();
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = "- {rule: A shell, where: container_id = 'c1', until: '2025-12-31T00:02:00Z', reason: known}\n\
                - {where: activity = 'setns' AND container_id = 'c3', until: '2025-12-31', reason: known}\n\
                - {rule: Another, where: pid = 7, until: '9999-12-31', reason: known}\n";
    std::fs::write(file.path(), text).unwrap();
    let detector = |rules| bench.detector(rules).with_exceptions(Exceptions::read(file.path()).unwrap());
    for (second, container) in [(100, "c1"), (100, "c2"), (119, "c1"), (120, "c1")] {
        exec(&bench, second, "/bin/sh", container).await;
    }
    assert_eq!(detector(SINGLE).pass().await.unwrap(), 2);
    assert_eq!(bench.texts("container_id"), ["c2", "c1"]);

    let bench = Bench::new();
    let detector = |rules| bench.detector(rules).with_exceptions(Exceptions::read(file.path()).unwrap());
    for container in ["c3", "c4"] {
        exec(&bench, 10, "/first", container).await;
        setns(&bench, 12, container).await;
    }
    assert_eq!(detector(SEQUENCE).pass().await.unwrap(), 1);
    assert_eq!(bench.texts("container_id"), ["c4"]);
    exec(&bench, 11, "/other", "c3").await;
    assert_eq!(detector(SEQUENCE).pass().await.unwrap(), 0);
}

#[tokio::test]
async fn compaction_does_not_repeat_findings() {
    let bench = Bench::new();
    let detector = bench.detector(SINGLE);
    for second in 0..40 {
        exec(&bench, second, "/bin/sh", "c1").await;
    }
    assert_eq!(detector.pass().await.unwrap(), 40);
    let mut table = bench.lake.table(Table::ProcessEvents).await.unwrap();
    let before = table.files().len();
    table.compact(&CompactOptions::default()).await.unwrap();
    assert!(table.files().len() < before, "nothing was compacted");
    assert_eq!(detector.pass().await.unwrap(), 0);
    exec(&bench, 50, "/bin/sh", "c1").await;
    assert_eq!(detector.pass().await.unwrap(), 1);
}

#[tokio::test]
async fn a_late_first_event_completes_a_sequence_once() {
    let bench = Bench::new();
    setns(&bench, 30, "c1").await;
    assert_eq!(bench.detector(SEQUENCE).pass().await.unwrap(), 0);
    exec(&bench, 10, "/first", "c2").await;
    assert_eq!(bench.detector(SEQUENCE).pass().await.unwrap(), 0, "another container");
    exec(&bench, 40, "/first", "c1").await;
    assert_eq!(bench.detector(SEQUENCE).pass().await.unwrap(), 0, "after it");
    exec(&bench, 10, "/first", "c1").await;
    assert_eq!(bench.detector(SEQUENCE).pass().await.unwrap(), 1);
    // One more first event of the same incident.
    exec(&bench, 12, "/first", "c1").await;
    assert_eq!(bench.detector(SEQUENCE).pass().await.unwrap(), 0);
    // A second incident of the same container.
    exec(&bench, 500, "/first", "c1").await;
    setns(&bench, 501, "c1").await;
    assert_eq!(bench.detector(SEQUENCE).pass().await.unwrap(), 1);
    // Too far apart.
    exec(&bench, 1000, "/first", "c1").await;
    setns(&bench, 1061, "c1").await;
    assert_eq!(bench.detector(SEQUENCE).pass().await.unwrap(), 0);
    assert_eq!(bench.texts("group_key"), ["n|c1", "n|c1"]);
}

#[tokio::test]
async fn a_failing_log_neither_loses_nor_duplicates_findings() {
    for kept in [false, true] {
        let bench = Bench::new();
        bench.log.keeps_when_broken.store(kept, Ordering::SeqCst);
        exec(&bench, 100, "/bin/sh", "c1").await;
        bench.log.broken.store(true, Ordering::SeqCst);
        assert!(bench.detector(SINGLE).pass().await.is_err());
        exec(&bench, 101, "/bin/sh", "c1").await;
        bench.log.broken.store(false, Ordering::SeqCst);
        bench.detector(SINGLE).pass().await.unwrap();
        bench.detector(SINGLE).pass().await.unwrap();
        let ids = bench.texts("finding_id");
        assert_eq!(ids.len(), 2, "kept: {kept}");
        assert_ne!(ids[0], ids[1]);
    }
}

#[tokio::test]
async fn a_failing_rule_delays_no_other_and_misses_nothing() {
    let bench = Bench::new();
    let rules = format!(
        "{SINGLE}---\ntitle: A setns\nid: rule-3\nlogsource: {{category: kernel_events}}\ndetection:\n  s: {{activity: setns}}\n  condition: s\n\
         kerntrail: {{suppress: {{within: never}}}}\n"
    );
    let detector = bench.detector(&rules);
    exec(&bench, 100, "/bin/sh", "c1").await;
    setns(&bench, 101, "c1").await;
    let (file, aside) = bench.data_file(Table::KernelEvents);
    std::fs::rename(&file, &aside).unwrap();
    assert_eq!(detector.pass().await.unwrap(), 1);
    assert_eq!(bench.texts("rule_id"), ["rule-1"]);
    // It still fails, which changes nothing,
    let inode = || std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(bench.state_file()).unwrap());
    let written = inode();
    assert_eq!(detector.pass().await.unwrap(), 0);
    assert_eq!(inode(), written, "the state was written for nothing");
    // also after a restart, while others go on.
    exec(&bench, 102, "/bin/sh", "c1").await;
    assert_eq!(bench.detector(&rules).pass().await.unwrap(), 1);
    std::fs::rename(&aside, &file).unwrap();
    setns(&bench, 103, "c1").await;
    assert_eq!(bench.detector(&rules).pass().await.unwrap(), 2);
    assert_eq!(bench.detector(&rules).pass().await.unwrap(), 0);
    assert_eq!(bench.texts("rule_id"), ["rule-1", "rule-1", "rule-3", "rule-3"]);
}

#[tokio::test]
async fn a_rule_that_takes_too_long_is_set_aside_and_misses_nothing() {
    let bench = Bench::new();
    exec(&bench, 100, "/bin/sh", "c1").await;
    let slow = bench.detector_within(SINGLE, Duration::ZERO);
    assert_eq!(slow.pass().await.unwrap(), 0);
    let state = std::fs::read_to_string(bench.state_file()).unwrap();
    assert!(state.contains("\"behind\":{\"rule-1\""), "{state}");
    let mut found = 0;
    for second in 101..110 {
        exec(&bench, second, "/bin/sh", "c1").await;
        // A query of its own that never has to wait is done in no time, and then the rule catches up.
        found += slow.pass().await.unwrap();
    }
    found += bench.detector(SINGLE).pass().await.unwrap();
    assert_eq!(found, 10);
    assert_eq!(bench.detector(SINGLE).pass().await.unwrap(), 0);
}

#[tokio::test]
async fn a_lost_state_neither_repeats_nor_loses_findings() {
    let bench = Bench::new();
    for second in 100..103 {
        exec(&bench, second, "/bin/sh", "c1").await;
        assert_eq!(bench.detector(SINGLE).pass().await.unwrap(), 1);
    }
    bench.store_findings().await;
    std::fs::remove_file(bench.state_file()).unwrap();
    exec(&bench, 103, "/bin/sh", "c1").await;
    assert_eq!(bench.detector(SINGLE).pass().await.unwrap(), 1);
    // Its batch has a number of its own: consumers take it.
    let mut ids = bench.texts("finding_id");
    ids.dedup();
    assert_eq!(ids.len(), 4);
}

/// Moves the time at which findings were last sent, so that their updates are due.
pub(crate) fn a_minute_passes(bench: &Bench) {
    let path = bench.state_file();
    let mut state: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    for group in state["groups"]["open"].as_object_mut().unwrap().values_mut().flat_map(|of| of.as_array_mut().unwrap())
    {
        group["sent_us"] = json!(group["sent_us"].as_i64().unwrap() - 60_000_000);
    }
    std::fs::write(&path, state.to_string()).unwrap();
}

#[tokio::test]
async fn what_happens_again_is_counted_in_the_finding() {
    let rules = SINGLE.replace("kerntrail: {suppress: {within: never}}", "");
    let bench = Bench::new();
    for second in 0..40 {
        exec(&bench, second, "/bin/sh", "c1").await;
    }
    assert_eq!(bench.detector(&rules).pass().await.unwrap(), 1, "40 events of one pass");
    let counts = || -> Vec<(String, i64)> {
        let of = |rows: &arrow::array::RecordBatch| {
            let count = rows.column_by_name("suppressed_count").unwrap().as_primitive::<arrow::datatypes::Int64Type>();
            let activity = rows.column_by_name("activity").unwrap().as_string::<i32>();
            (0..rows.num_rows()).map(|row| (activity.value(row).to_owned(), count.value(row))).collect::<Vec<_>>()
        };
        bench.findings().iter().flat_map(of).collect()
    };
    assert_eq!(counts(), [("create".to_owned(), 39)]);
    // More of it in later passes, also after a restart: an update, which waits for its time.
    for second in 40..45 {
        exec(&bench, second, "/bin/sh", "c1").await;
        assert_eq!(bench.detector(&rules).pass().await.unwrap(), 0);
    }
    assert_eq!(counts().len(), 1);
    a_minute_passes(&bench);
    assert_eq!(bench.detector(&rules).pass().await.unwrap(), 0, "without new rows");
    assert_eq!(counts()[1..], [("update".to_owned(), 44)]);
    assert_eq!(bench.texts("finding_id")[0], bench.texts("finding_id")[1]);
    // Another program, and the same one after the time of a rule of this level.
    let other = json!({"activity": "exec", "process_path": "/bin/sh", "origin_container_id": "c2"});
    bench.event(Table::ProcessEvents, 50, other).await;
    exec(&bench, 901, "/bin/sh", "c1").await;
    assert_eq!(bench.detector(&rules).pass().await.unwrap(), 2);
}

#[tokio::test]
async fn a_rule_that_finds_too_much_says_so() {
    let bench = Bench::new();
    for second in 0..110 {
        exec(&bench, second, "/bin/sh", "c1").await;
    }
    assert_eq!(bench.detector(SINGLE).pass().await.unwrap(), 101);
    let last = bench.texts("message").pop().unwrap();
    assert!(last.starts_with("more than 100 findings of this rule in an hour: suppressed_count counts"), "{last}");
}

#[tokio::test]
async fn a_correlation_of_counts_makes_one_finding_however_its_rows_arrive() {
    let rules = "
title: Shell
name: shell
logsource: {category: process_creation}
detection: {s: {process_path: /bin/sh}, condition: s}
---
title: Many shells
id: rule-3
correlation: {type: event_count, rules: [shell], group-by: [node, container_id], timespan: 60s, condition: {gte: 5}}
";
    let bench = Bench::new();
    for second in [100, 101, 102, 104] {
        exec(&bench, second, "/bin/sh", "c1").await;
        assert_eq!(bench.detector(rules).pass().await.unwrap(), 0);
    }
    // A late row completes it.
    exec(&bench, 103, "/bin/sh", "c1").await;
    assert_eq!(bench.detector(rules).pass().await.unwrap(), 1);
    assert_eq!(bench.texts("message"), ["5 events within 4.0s: `/bin/sh`"]);
    for second in 105..109 {
        exec(&bench, second, "/bin/sh", "c1").await;
    }
    assert_eq!(bench.detector(rules).pass().await.unwrap(), 0, "no event counts twice");
    // A late row before the first finding, and one behind: five that are in none yet.
    exec(&bench, 99, "/bin/sh", "c1").await;
    assert_eq!(bench.detector(rules).pass().await.unwrap(), 0, "it belongs to what follows within the time");
    exec(&bench, 300, "/bin/sh", "c1").await;
    for _ in 0..4 {
        exec(&bench, 300, "/bin/sh", "c1").await;
    }
    assert_eq!(bench.detector(rules).pass().await.unwrap(), 0, "the same group again within the time of its level");
    a_minute_passes(&bench);
    bench.detector(rules).pass().await.unwrap();
    let last = bench.findings().pop().unwrap();
    let count = last.column_by_name("suppressed_count").unwrap().as_primitive::<arrow::datatypes::Int64Type>().value(0);
    assert_eq!(count, 2, "both are counted in the first");
    exec(&bench, 109, "/bin/sh", "c2").await;
    assert_eq!(bench.detector(rules).pass().await.unwrap(), 0, "another group");
}

/// What the lake has is not found again, and what it counted is not found as new.
#[tokio::test]
async fn a_lost_state_makes_no_second_finding_of_a_group() {
    let rules = SINGLE.replace("kerntrail: {suppress: {within: never}}", "");
    let bench = Bench::new();
    for second in 0..5 {
        exec(&bench, second, "/bin/sh", "c1").await;
    }
    assert_eq!(bench.detector(&rules).pass().await.unwrap(), 1);
    bench.store_findings().await;
    std::fs::remove_file(bench.state_file()).unwrap();
    assert_eq!(bench.detector(&rules).pass().await.unwrap(), 0);
    exec(&bench, 5, "/bin/sh", "c1").await;
    assert_eq!(bench.detector(&rules).pass().await.unwrap(), 0);
    a_minute_passes(&bench);
    bench.detector(&rules).pass().await.unwrap();
    let last = bench.findings().pop().unwrap();
    let count = last.column_by_name("suppressed_count").unwrap().as_primitive::<arrow::datatypes::Int64Type>().value(0);
    assert_eq!(count, 5, "as before, and one more");
}

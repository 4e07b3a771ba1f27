//! A real Kafka broker that is stopped and started while events flow: the lake has each event exactly once.

use std::process::Stdio;

use kerntrail_testbed::kafka::Kafka;
use kerntrail_testbed::port::Port;
use kerntrail_testbed::require;

use crate::program::{Program, Running, http_get, text, wait_for, write};
use crate::tetragon::lines;

const RECORDS: u64 = 30_000;
/// A schema version that no release has for a long time.
const NEWER: &str = "65000";

#[test]
fn the_program_stops_cleanly_while_no_broker_answers() {
    let (program, nobody) = (Program::new(), Port::reserve().expect("a port"));
    let brokers = format!("--log-kafka-bootstrap=127.0.0.1:{nobody}");
    let running = program.start(&["--collector-enabled=false", "--log-kind=kafka", &brokers]);
    assert_eq!(running.terminate(), 0);
}

#[test]
fn broker_outages_during_imports_lose_and_duplicate_nothing() {
    if !require::java() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut kafka = Kafka::start(folder.path()).expect("Kafka");
    let program = Program::new();
    std::fs::create_dir_all(program.data_dir()).unwrap();
    let bootstrap = format!("--log-kafka-bootstrap={}", kafka.bootstrap());
    let running = program.start(&["--log-kind=kafka", &bootstrap, "--collector-enabled=false"]);
    let pieces = 6;
    for piece in 0..pieces {
        let (from, to) = (piece * RECORDS / pieces, (piece + 1) * RECORDS / pieces);
        let file = write(&program.data_dir(), &format!("{piece}.json"), lines(from, to).as_bytes());
        let import = program.command(&["replay", "-q", file.to_str().unwrap()]).stderr(Stdio::piped()).spawn().unwrap();
        // These rows are sent while the broker is down.
        match piece {
            1 => kafka.stop().expect("Kafka stops"),
            3 => kafka.kill(),
            _ => {}
        }
        if piece % 2 == 1 && piece < 5 {
            kafka.start_again().expect("Kafka");
        }
        let output = import.wait_with_output().unwrap();
        assert!(output.status.success(), "piece {piece}: {}\n{}", text(&output.stderr), running.log());
    }
    let sql = "select count(*), count(distinct event_id), count(distinct args[3]) from process_events";
    assert_eq!(program.rows(sql), [format!("{RECORDS},{RECORDS},{RECORDS}")]);
    assert_eq!(running.terminate(), 0);
}

#[test]
fn a_message_of_a_newer_release_holds_its_partition_and_says_so_everywhere() {
    if !require::java() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let kafka = Kafka::start(folder.path()).expect("Kafka");
    let program = Program::new();
    std::fs::create_dir_all(program.data_dir()).unwrap();
    let settings = [
        "--log-kind=kafka".to_owned(),
        format!("--log-kafka-bootstrap={}", kafka.bootstrap()),
        "--collector-enabled=false".to_owned(),
    ];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let running = program.start(&settings);
    let file = write(&program.data_dir(), "export.json", lines(0, 1000).as_bytes());
    program.run(&["replay", "-q", file.to_str().unwrap()]);
    // As the next release may write it: a higher schema version, and behind the start of every payload (`KT`, layout,
    // table) bytes that only that release understands.
    let headers = [("kt-schema", NEWER), ("kt-stream", "s"), ("kt-batch", "0"), ("kt-rows", "1"), ("kt-seq", "0..0")];
    let topic = "kerntrail.default.process_events";
    kafka.produce(topic, &headers, "upgraded-node", "KT\u{1}\u{1} next").expect("a record");

    assert_eq!(says_that_it_waits(&program, running, topic), 0);
    // A restart neither skips it nor rejects it.
    let running = program.start_unready(&settings);
    assert_eq!(says_that_it_waits(&program, running, topic), 0);
}

/// Readiness, metrics, log and a refused import say that a partition of `topic` waits; nothing is lost or rejected.
/// Returns the exit code of the program.
fn says_that_it_waits(program: &Program, running: Running, topic: &str) -> i32 {
    let reason = format!("pipeline holds {topic}/");
    wait_for("readiness names the partition and both versions", || {
        let answer = http_get(&program.address(), "/readyz").unwrap_or_default();
        let named = answer.contains("503 ")
            && answer.contains(&reason)
            && answer.contains(&format!("version {NEWER} is newer than"));
        named.then_some(()).ok_or_else(|| format!("{answer}\n{}", running.log()))
    });
    let metrics = http_get(&program.address(), "/metrics").unwrap();
    let held = r#"kerntrail_transport_held_partitions{reader="pipeline",table="process_events"} 1"#;
    assert!(metrics.contains(held), "{metrics}");
    assert!(running.log().contains(topic), "{}", running.log());
    let file = write(&program.data_dir(), "more.json", lines(1000, 1001).as_bytes());
    let import = program.output(&["replay", "-q", file.to_str().unwrap()]);
    assert!(!import.status.success() && text(&import.stderr).contains(NEWER), "{}", text(&import.stderr));
    let sql = "select count(*), count(distinct event_id) from process_events";
    assert_eq!(program.rows(sql), ["1000,1000"]);
    assert_eq!(program.count("select count(*) from event_loss"), 0);
    assert_eq!(program.run(&["log", "rejected", "list", "-o", "csv"]).lines().count(), 1);
    running.terminate()
}

#[test]
fn imports_from_several_machines_into_one_lake_run_one_after_the_other() {
    if !require::java() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let kafka = Kafka::start(folder.path()).expect("Kafka");
    let settings = [
        "--log-kind=kafka".to_owned(),
        format!("--log-kafka-bootstrap={}", kafka.bootstrap()),
        format!("--lake-uri={}", folder.path().join("lake").display()),
    ];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let machines: Vec<Program> = std::iter::repeat_with(Program::new).take(3).collect();
    let imports: Vec<_> = (0..)
        .zip(&machines)
        .map(|(index, machine)| {
            // Each file shares half of its records with the next one.
            let from = index * RECORDS / 4;
            let file = write(folder.path(), &format!("{index}.json"), lines(from, from + RECORDS / 2).as_bytes());
            let mut command = machine.command(&settings);
            command.args(["replay", "-q"]).arg(file).stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    let mut waited = 0;
    for import in imports {
        let output = import.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        waited += u32::from(text(&output.stderr).contains("waiting for another import to end"));
    }
    assert!(waited >= 1, "they ran at once");
    let sql = "select count(*), count(distinct event_id), count(distinct args[3]) from process_events";
    let answer = machines[0].run(&[&settings[..], &["query", "-o", "csv", sql]].concat());
    assert!(answer.ends_with(&format!("\n{RECORDS},{RECORDS},{RECORDS}\n")), "{answer}");
}

#[test]
fn a_second_program_with_another_lake_is_told_so_and_takes_nothing() {
    if !require::java() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let kafka = Kafka::start(folder.path()).expect("Kafka");
    let bootstrap = format!("--log-kafka-bootstrap={}", kafka.bootstrap());
    let settings = ["--log-kind=kafka", &bootstrap, "--collector-enabled=false"];
    let (first, second) = (Program::new(), Program::new());
    let running = first.start(&settings);
    let import = |from: u64, to: u64| {
        let file = write(folder.path(), "in.json", lines(from, to).as_bytes());
        first.run(&["replay", "-q", file.to_str().unwrap()]);
    };
    import(0, 1_000);
    let refused = second.output(&[&["run"], &settings[..]].concat());
    assert_eq!(refused.status.code(), Some(1));
    let words = text(&refused.stderr);
    assert!(words.contains("is stored in another lake too") && words.contains("delete the consumer group"), "{words}");
    // The first goes on with all of the topics.
    import(1_000, 2_000);
    assert_eq!(first.rows("select count(*) from process_events"), ["2000"]);
    assert_eq!(second.rows("select count(*) from process_events"), ["0"]);
    assert_eq!(running.terminate(), 0);
}

#[test]
fn kernel_events_during_a_broker_outage_arrive_exactly_once() {
    if !require::java() || !require::root() || !require::bpf() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut kafka = Kafka::start(folder.path()).expect("Kafka");
    let program = Program::new();
    let bootstrap = format!("--log-kafka-bootstrap={}", kafka.bootstrap());
    let running = program.start(&["--log-kind=kafka", &bootstrap]);
    let marker = format!("marker-{}", std::process::id());
    let run = |from: u32, to: u32| {
        for number in from..to {
            let status = std::process::Command::new("/bin/true").args([&marker, &number.to_string()]).status();
            assert!(status.expect("/bin/true").success());
        }
    };
    run(0, 50);
    kafka.kill();
    run(50, 150);
    kafka.start_again().expect("Kafka");
    run(150, 200);
    let sql = format!(
        "select count(*), count(distinct args[3]), count(distinct event_id) from process_events where activity = 'exec' and args[2] = '{marker}'"
    );
    wait_for("every program that ran is a row", || {
        let rows = program.rows(&sql);
        if rows == ["200,200,200"] { Ok(()) } else { Err(format!("{rows:?}\n{}", running.log())) }
    });
    // No sequence number is missing, so nothing was lost on the way.
    assert_eq!(program.count("select count(*) from event_loss where activity <> 'collector_down'"), 0);
    assert_eq!(running.terminate(), 0);
}

//! Through a real Kafka broker that is stopped and started while events flow: rows in the lake equal events sent.

use kerntrail_testbed::kafka::Kafka;
use kerntrail_testbed::require;

use crate::program::{Program, text, write};
use crate::tetragon::lines;

const RECORDS: u64 = 30_000;

#[test]
fn a_broker_that_comes_and_goes_loses_and_doubles_nothing() {
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
        let import = program.command(&["replay", "-q", file.to_str().unwrap()]).stderr(std::process::Stdio::piped()).spawn().unwrap();
        // The broker is away while these rows are on their way.
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

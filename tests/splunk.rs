//! Delivery to Splunk's HTTP Event Collector, once to a server written from Splunk's documentation and once to a third
//! party's: a refused record among good ones, a restart of the server, dead letters.

use kerntrail_testbed::hec::{Code, Hec};
use kerntrail_testbed::require;
use kerntrail_testbed::victorialogs::VictoriaLogs;

use crate::program::{LIMIT, Program, http_get, wait_for, write};
use crate::tetragon::lines;

/// Event ids that the server indexed, sorted.
fn indexed(hec: &Hec) -> Vec<String> {
    let id = |event: &kerntrail_testbed::hec::Event| {
        event.event()["metadata"]["uid"].as_str().expect("an event id").to_owned()
    };
    let mut ids: Vec<String> = hec.events().iter().map(id).collect();
    ids.sort();
    ids
}

fn import(program: &Program, from: u64, to: u64) {
    let file = write(&program.data_dir(), "in.json", lines(from, to).as_bytes());
    program.run(&["replay", "-q", file.to_str().unwrap()]);
}

#[test]
fn every_selected_row_arrives_and_a_refused_one_does_not_block_others() {
    let mut hec = Hec::start().expect("the HEC server");
    let refused =
        |event: &serde_json::Value| event.to_string().contains("--number 77\"").then_some(Code::IndexedFields);
    hec.refuse(refused);
    let program = Program::new();
    std::fs::create_dir_all(program.data_dir()).unwrap();
    let config = format!(
        "[[sinks]]\nname = \"splunk\"\nkind = \"splunk_hec\"\nurl = \"{}\"\ntoken = \"{}\"\nwhere = \"pid % 2 = 1\"\nbatch_events = 50\nbackoff_max_ms = 500\n",
        hec.url(),
        Hec::TOKEN
    );
    let file = write(&program.data_dir(), "c.toml", config.as_bytes());
    let config = ["--config", file.to_str().unwrap(), "--collector-enabled=false"];
    let running = program.start(&config);
    import(&program, 0, 500);
    hec.wait_events(249, LIMIT).expect("the first half");
    // Events imported while the server is down arrive later.
    hec.stop();
    import(&program, 500, 1000);
    wait_for("the metrics show the backlog", || {
        let metrics = http_get(&program.address(), "/metrics").map_err(|error| error.to_string())?;
        let lag = "kerntrail_sinks_lag_messages{sink=\"splunk\",table=\"process_events\"} ";
        let behind: f64 = metrics.lines().find_map(|line| line.strip_prefix(lag)?.parse().ok()).unwrap_or(0.0);
        if behind > 0.0 { Ok(()) } else { Err(metrics) }
    });
    hec.start_again().expect("the HEC server");
    hec.wait_events(499, LIMIT).expect("the second half");
    let mut wanted = program.rows("select event_id from process_events where pid % 2 = 1 and args[3] <> '77'");
    wanted.sort();
    assert_eq!(indexed(&hec), wanted);

    let dlq = |args: &[&str]| program.run(&[&["sinks", "dlq"], args, &config[..2]].concat());
    let listed = dlq(&["list", "-o", "csv"]);
    assert_eq!(listed.lines().count(), 2, "{listed}");
    assert!(listed.contains(Code::IndexedFields.text()), "the server's words are missing: {listed}");
    let id = listed.lines().nth(1).unwrap().split(',').next().unwrap().to_owned();
    assert!(dlq(&["show", &id]).contains("--number 77"));
    hec.refuse_nothing();
    assert!(dlq(&["replay", "splunk"]).contains("1 delivered"));
    assert_eq!(dlq(&["list", "-o", "csv"]).lines().count(), 1);
    assert_eq!(hec.events().len(), 500);
    assert_eq!(running.terminate(), 0);
}

#[test]
fn rows_arrive_at_a_third_partys_server() {
    if !require::command("go") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = VictoriaLogs::start(folder.path()).expect("VictoriaLogs");
    let program = Program::new();
    std::fs::create_dir_all(program.data_dir()).unwrap();
    let config =
        format!("[[sinks]]\nname = \"logs\"\nkind = \"splunk_hec\"\nurl = \"{}\"\ntoken = \"any\"\n", server.url());
    let file = write(&program.data_dir(), "c.toml", config.as_bytes());
    let running = program.start(&["--config", file.to_str().unwrap(), "--collector-enabled=false"]);
    import(&program, 0, 300);
    let entries = server.wait_entries("*", 300, LIMIT).expect("the rows");
    assert_eq!(entries.len(), 300);
    assert_eq!(running.terminate(), 0);
}

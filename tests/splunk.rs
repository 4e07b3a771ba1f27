//! Delivery to Splunk's HTTP Event Collector, once to a server written from Splunk's documentation and once to a third
//! party's: a refused record among good ones, a restart of the server, dead letters.

use kerntrail_testbed::hec::{Code, Hec};
use kerntrail_testbed::require;
use kerntrail_testbed::victorialogs::VictoriaLogs;

use crate::program::{LIMIT, Program, http_get, text, wait_for, write};
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

/// A configuration file with a sink to `hec`.
fn config_with_sink(program: &Program, hec: &Hec, name: &str) -> String {
    let text = format!(
        "[[sinks]]\nname = \"{name}\"\nkind = \"splunk_hec\"\nurl = \"{}\"\ntoken = \"{}\"\nbackoff_max_ms = 500\ndrain_seconds = 0\n",
        hec.url(),
        Hec::TOKEN
    );
    write(&program.data_dir(), &format!("{name}.toml"), text.as_bytes()).to_str().unwrap().to_owned()
}

#[test]
fn what_a_sink_does_is_listed_and_rows_wait_for_a_sink_that_is_missing_for_a_start() {
    let mut hec = Hec::start().expect("the HEC server");
    hec.stop();
    let program = Program::new();
    std::fs::create_dir_all(program.data_dir()).unwrap();
    let config = config_with_sink(&program, &hec, "splunk");
    let with_sink = ["--config", &config, "--collector-enabled=false"];
    let list = || program.run(&["sinks", "list", "-o", "csv", "--config", &config]);
    assert!(list().contains("splunk,splunk_hec,not running,"), "{}", list());
    let running = program.start(&with_sink);
    import(&program, 0, 200);
    wait_for("a sink that retries", || {
        let listed = list();
        if listed.contains(",retrying,") && listed.contains("Connection refused") { Ok(()) } else { Err(listed) }
    });
    assert_eq!(running.terminate(), 0);

    assert_eq!(program.start(&["--collector-enabled=false"]).terminate(), 0);

    hec.start_again().expect("the HEC server");
    let running = program.start(&with_sink);
    hec.wait_events(200, LIMIT).expect("what waited");
    wait_for("a sink that runs", || if list().contains(",running,") { Ok(()) } else { Err(list()) });
    let metrics = http_get(&program.address(), "/metrics").unwrap();
    assert!(metrics.contains("kerntrail_sinks_state{sink=\"splunk\",state=\"running\"} 1"), "{metrics}");
    // Another sink gets from the lake what there was before it.
    let other = config_with_sink(&program, &hec, "other");
    hec.clear();
    let backfill = |more: &[&str]| {
        program.output(&[&["sinks", "backfill", "other", "--config", &other, "--since", "2000-01-01"], more].concat())
    };
    let sent = backfill(&[]);
    assert!(sent.status.success(), "{}", text(&sent.stderr));
    assert!(text(&sent.stdout).starts_with("200 rows sent, 0 not selected"), "{}", text(&sent.stdout));
    let mut wanted = program.rows("select event_id from process_events");
    wanted.sort();
    assert_eq!(indexed(&hec), wanted);
    assert!(text(&backfill(&["--until", "2001-01-01"]).stdout).starts_with("0 rows sent"));
    assert!(text(&backfill(&["--ingested", "--table", "findings"]).stdout).starts_with("0 rows sent"));
    assert!(text(&backfill(&["--table", "finding"]).stderr).contains("finding"));
    hec.stop();
    assert_eq!(running.terminate(), 0);
}

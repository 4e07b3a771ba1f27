//! `kerntrail replay`: every form of input, invalid records, truncated files, repeated imports; with and without a server.

use std::io::Write;
use std::process::Stdio;

use crate::program::{Program, text, wait_for, write};
use crate::tetragon::{exec, lines};

const COUNT: &str = "select count(*) from process_events";
const DISTINCT: &str = "select count(distinct event_id) from process_events";

fn pretty(count: u64) -> String {
    (0..count).map(|number| exec(number).replace(',', ",\n   ").replace('{', "{\n   ") + "\n").collect()
}

fn array(count: u64) -> String {
    format!("[{}]", (0..count).map(exec).collect::<Vec<_>>().join(",\n"))
}

fn piped(command: &str, args: &[&str], input: &str) -> Vec<u8> {
    let mut child = std::process::Command::new(command)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect(command);
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect(command);
    writer.join().expect("a thread").expect("written");
    output.stdout
}

#[test]
fn every_form_of_input_gives_the_same_rows_and_a_second_import_adds_nothing() {
    let program = Program::new();
    let folder = program.path("in");
    std::fs::create_dir(&folder).unwrap();
    let shapes: Vec<(&str, Vec<u8>)> = vec![
        ("lines.json", lines(0, 500).into_bytes()),
        ("pretty.json", pretty(500).into_bytes()),
        ("array.json", array(500).into_bytes()),
        ("bom-crlf.json", format!("\u{feff}{}", lines(0, 500).replace('\n', "\r\n")).into_bytes()),
        ("lines.json.gz", piped("gzip", &["-c"], &lines(0, 500))),
    ];
    for (index, (name, content)) in shapes.into_iter().enumerate() {
        let file = write(&folder, name, &content);
        let said = program.run(&["replay", file.to_str().unwrap()]);
        let added = if index == 0 { "500 rows added, 0 already there" } else { "0 rows added, 500 already there" };
        assert!(said.contains(added), "{name}: {said}");
        assert_eq!(program.count(COUNT), 500, "{name}");
    }
    let said = program.run(&["replay", folder.join("lines.json").to_str().unwrap()]);
    assert!(said.contains("0 rows added, 500 already there"), "{said}");
    assert_eq!(program.count(DISTINCT), 500);
    let row = program.rows("select namespace, pod_name, workload_name, process_path, args[3], source from process_events where args[3] = '7'");
    assert_eq!(row, ["shop,web-7,web,/usr/bin/job,7,tetragon"]);
}

#[test]
fn standard_input_is_read() {
    let program = Program::new();
    let file =
        write(&std::env::temp_dir(), &format!("kerntrail-stdin-{}", std::process::id()), lines(0, 20).as_bytes());
    let output = program.command(&["replay", "-"]).stdin(std::fs::File::open(&file).unwrap()).output().unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(program.count(COUNT), 20);
}

#[test]
fn a_bad_record_is_reported_and_kept_aside_and_the_rest_is_imported() {
    let program = Program::new();
    let mut content = lines(0, 10);
    content.push_str("this is not JSON\n");
    content.push_str(&lines(10, 20));
    content.push_str("{\"process_exec\": {\"process\": {\"pid\": \"seven\"}}, \"node_name\": \"n\", \"time\": \"2026-09-01T00:00:00Z\"}\n");
    content.push_str(&lines(20, 30));
    let whole = exec(30);
    content.push_str(&whole[..whole.len() / 2]);
    let file = write(&std::env::temp_dir(), &format!("kerntrail-bad-{}.json", std::process::id()), content.as_bytes());
    let output = program.output(&["replay", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stdout).contains("30 rows added, 0 already there, 0 of kinds that no table stores, 3 rejected"),
        "{}",
        text(&output.stdout)
    );
    let errors = text(&output.stderr);
    for line in [11, 22, 33] {
        assert!(errors.contains(&format!("{}:{line}: ", file.display())), "line {line} is not named: {errors}");
    }
    assert_eq!(program.count(COUNT), 30);
    let kept: Vec<_> =
        std::fs::read_dir(program.data_dir().join("rejected")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(kept.len(), 1);
    let kept = std::fs::read_to_string(&kept[0]).unwrap();
    assert_eq!(kept.lines().count(), 3);
    assert!(kept.contains("this is not JSON"), "{kept}");
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn a_truncated_archive_is_imported_up_to_its_end_and_reported() {
    let program = Program::new();
    let archive = piped("gzip", &["-c"], &lines(0, 5000));
    let file = write(
        &std::env::temp_dir(),
        &format!("kerntrail-cut-{}.gz", std::process::id()),
        &archive[..archive.len() / 2],
    );
    let output = program.output(&["replay", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains(file.to_str().unwrap()), "{}", text(&output.stderr));
    let held = program.count(COUNT);
    assert!(held > 100 && held < 5000, "{held}");
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn a_missing_file_is_reported_and_the_others_are_imported() {
    let program = Program::new();
    let file =
        write(&std::env::temp_dir(), &format!("kerntrail-good-{}.json", std::process::id()), lines(0, 5).as_bytes());
    let output = program.output(&["replay", "/nowhere/x.json", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("/nowhere/x.json"), "{}", text(&output.stderr));
    assert_eq!(program.count(COUNT), 5);
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn a_running_server_imports_and_duckdb_reads_the_same_rows() {
    let program = Program::new();
    let running = program.start(&["--collector-enabled=false"]);
    let file = write(
        &std::env::temp_dir(),
        &format!("kerntrail-served-{}.json", std::process::id()),
        lines(0, 3000).as_bytes(),
    );
    for added in ["3000 rows added", "0 rows added, 3000 already there"] {
        let said = program.run(&["replay", file.to_str().unwrap()]);
        assert!(said.contains(added), "{said}");
    }
    // A proxy is for the network, not for the server on this machine.
    let mut command = program.command(&["replay", file.to_str().unwrap()]);
    let output = command.env("HTTP_PROXY", "http://127.0.0.1:1").output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(program.count(COUNT), 3000);
    let ready = program.rows("select count(*), count(distinct pod_name), count(distinct event_id) from process_events");
    assert_eq!(ready, ["3000,50,3000"]);
    assert_eq!(running.terminate(), 0);
    std::fs::remove_file(&file).unwrap();
    let files: Vec<String> = program.run(&["lake", "files", "process_events"]).lines().map(quoted).collect();
    let sql = format!(
        "select count(*) as rows, count(distinct pod_name) as pods, sum(pid) as pids from read_parquet([{}])",
        files.join(",")
    );
    let theirs = kerntrail_testbed::duckdb::query(&sql).expect("DuckDB reads the files");
    let ours = program.rows("select count(*), count(distinct pod_name), sum(pid) from process_events");
    let number = |column: &str| theirs[0][column].to_string().trim_matches('"').to_owned();
    assert_eq!(ours, [format!("{},{},{}", number("rows"), number("pods"), number("pids"))]);
}

fn quoted(file: &str) -> String {
    format!("'{}'", file.strip_prefix("file://").unwrap_or(file).replace('\'', "''"))
}

#[test]
fn rows_imported_while_the_server_is_down_reach_its_sinks_later() {
    let program = Program::new();
    std::fs::create_dir_all(program.data_dir()).unwrap();
    let out = program.path("out.ndjson");
    let config = format!("[[sinks]]\nname = \"file\"\nkind = \"ndjson\"\npath = \"{}\"\n", out.display());
    let config = write(&program.data_dir(), "c.toml", config.as_bytes());
    let server = ["--collector-enabled=false", "--config", config.to_str().unwrap()];
    assert_eq!(program.start(&server).terminate(), 0);
    let file = write(&program.data_dir(), "in.json", lines(0, 50).as_bytes());
    program.run(&["replay", "-q", file.to_str().unwrap()]);
    let running = program.start(&server);
    wait_for("the file has all rows", || {
        let have = std::fs::read_to_string(&out).unwrap_or_default().lines().count();
        if have == 50 { Ok(()) } else { Err(format!("{have} of 50\n{}", running.log())) }
    });
    assert_eq!(running.terminate(), 0);
}

#[test]
fn two_replays_at_once_do_not_interfere() {
    let program = Program::new();
    let big = write(
        &std::env::temp_dir(),
        &format!("kerntrail-two-{}.json", std::process::id()),
        lines(0, 20_000).as_bytes(),
    );
    let mut first = program
        .command(&["replay", big.to_str().unwrap()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let second = program.output(&["replay", big.to_str().unwrap()]);
    first.wait().unwrap();
    // The second either waited or reported that the folder is in use; a third run imports what is missing.
    if !second.status.success() {
        assert!(
            text(&second.stderr).contains("in use") || text(&second.stderr).contains("another kerntrail"),
            "{}",
            text(&second.stderr)
        );
    }
    wait_for("an import succeeds", || {
        let output = program.output(&["replay", big.to_str().unwrap()]);
        output.status.success().then_some(()).ok_or_else(|| text(&output.stderr))
    });
    assert_eq!(program.rows("select count(*), count(distinct event_id) from process_events"), ["20000,20000"]);
    std::fs::remove_file(&big).unwrap();
}

#[test]
fn a_shutdown_during_an_import_stores_what_was_accepted() {
    let program = Program::new();
    let running = program.start(&["--collector-enabled=false"]);
    let mut import = program.command(&["replay", "-q", "-"]);
    let mut import = import.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = import.stdin.take().unwrap();
    // The input stays open, so the import is still running when the server stops.
    input.write_all(lines(0, 40_000).as_bytes()).unwrap();
    wait_for("the lake has rows", || {
        let count = program.count("select count(*) from process_events");
        if count > 0 { Ok(()) } else { Err(running.log()) }
    });
    assert_eq!(running.terminate(), 0);
    drop(input);
    let output = import.wait_with_output().unwrap();
    let errors = text(&output.stderr);
    assert!(!output.status.success() && errors.contains("import the file again"), "{errors}");

    let stored = program.count("select count(*) from process_events");
    let nothing = write(&program.data_dir(), "nothing.json", b"");
    program.run(&["replay", "-q", nothing.to_str().unwrap()]);
    assert_eq!(program.count("select count(*) from process_events"), stored, "the event log held more");
    let all = write(&program.data_dir(), "all.json", lines(0, 40_000).as_bytes());
    program.run(&["replay", "-q", all.to_str().unwrap()]);
    assert_eq!(program.count("select count(*) from process_events"), 40_000);
}

#[test]
fn an_import_says_so_when_the_server_is_killed() {
    let program = Program::new();
    let running = program.start(&["--collector-enabled=false"]);
    let mut command = program.command(&["replay", "-q", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut import = command.spawn().expect("the program starts");
    let mut input = import.stdin.take().expect("a pipe");
    input.write_all(lines(0, 40_000).as_bytes()).expect("the program reads");
    wait_for("the server stores the first rows", || {
        if program.count("select count(*) from process_events") > 0 { Ok(()) } else { Err(running.log()) }
    });
    drop(running);
    // It notices when it sends more; then nobody reads this any more.
    let _ = input.write_all(lines(40_000, 90_000).as_bytes());
    drop(input);
    let output = import.wait_with_output().expect("a child");
    assert_eq!(output.status.code(), Some(1), "{:?} {}", output.status, text(&output.stderr));
    assert!(!output.stderr.is_empty());
}

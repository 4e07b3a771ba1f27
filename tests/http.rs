//! The HTTP server: SQL, health, metrics, shutdown and configuration errors.

use kerntrail_testbed::require;

use crate::program::{Program, http, http_get, text, write};
use crate::tetragon::lines;

fn served() -> (Program, crate::program::Running) {
    let program = Program::new();
    let file = write(
        &std::env::temp_dir(),
        &format!("kerntrail-http-{}.json", program.address().replace(':', "-")),
        lines(0, 1000).as_bytes(),
    );
    program.run(&["replay", file.to_str().unwrap()]);
    std::fs::remove_file(&file).unwrap();
    let running = program.start(&["--collector-enabled=false", "--query-max-rows=500"]);
    (program, running)
}

#[test]
fn rows_stream_in_every_format_and_limits_are_reported() {
    let (program, running) = served();
    let ask = |body: &str| program.post("/api/v1/query", "application/json", body.as_bytes());
    let sql = "select pid, pod_name from process_events order by pid limit 2";
    for (format, part) in [
        ("json", "\"rows\""),
        ("ndjson", "{\"pid\":1000,\"pod_name\":\"web-0\"}"),
        ("csv", "1000,web-0"),
        ("arrow", "application/vnd.apache.arrow.stream"),
    ] {
        let answer = ask(&format!("{{\"sql\": \"{sql}\", \"format\": \"{format}\"}}"));
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(part), "{format}: {answer}");
    }
    let cases = [
        ("select nosuch from process_events", "HTTP/1.1 400", "nosuch"),
        ("insert into process_events select * from process_events", "HTTP/1.1 403", "read"),
        ("copy process_events to '/tmp/kerntrail-must-not-be.csv'", "HTTP/1.1 403", "read"),
        ("create table x as select 1", "HTTP/1.1 403", "read"),
        (
            "select a.pid from process_events a, process_events b, process_events c, process_events d order by a.pid + b.pid + c.pid + d.pid",
            "HTTP/1.1 ",
            "time",
        ),
    ];
    for (sql, status, part) in cases {
        // Only the one without an end may take that long on a busy machine.
        let timeout = if part == "time" { "2s" } else { "60s" };
        let answer = ask(&format!("{{\"sql\": \"{sql}\", \"format\": \"json\", \"timeout\": \"{timeout}\"}}"));
        assert!(answer.starts_with(status) && answer.contains("\"error\"") && answer.contains(part), "{sql}: {answer}");
    }
    let answer = ask("{\"sql\": \"select a.pid from process_events a, process_events b\", \"format\": \"json\"}");
    assert!(
        answer.contains("error") && answer.contains("500"),
        "the row limit is not reported: {}",
        &answer[answer.len().saturating_sub(300)..]
    );
    assert_eq!(running.terminate(), 0);
}

#[test]
fn requests_of_another_origin_are_refused() {
    let (program, running) = served();
    let routes =
        [("POST", "/api/v1/query"), ("POST", "/api/v1/import?name=x"), ("GET", "/metrics"), ("GET", "/api/v1/tree")];
    for (method, path) in routes {
        let answer = http(&program.address(), method, path, &[("Origin", "http://evil.example")], b"{}").unwrap();
        assert!(answer.starts_with("HTTP/1.1 403"), "{path}: {answer}");
    }
    assert_eq!(running.terminate(), 0);
}

#[test]
fn a_statement_with_too_many_operators_is_refused_and_the_server_stays_up() {
    let (program, running) = served();
    for terms in [900, 5_000, 300_000] {
        let sql = format!("select 1{}", "+1".repeat(terms));
        let answer = program.post("/api/v1/query", "text/plain", sql.as_bytes());
        assert!(terms == 900 || answer.contains("operators"), "{terms}: {answer}");
        assert!(http_get(&program.address(), "/readyz").unwrap().contains("200 OK"), "{terms}");
    }
    assert_eq!(running.terminate(), 0);
}

#[test]
fn health_metrics_and_a_clean_shutdown() {
    let (program, running) = served();
    assert!(http_get(&program.address(), "/healthz").unwrap().contains("200 OK"));
    program.post("/api/v1/query", "text/plain", b"select 1");
    let metrics = http_get(&program.address(), "/metrics").unwrap();
    assert!(metrics.contains("# TYPE kerntrail_"), "{metrics}");
    for part in ["pipeline", "query", "detections", "lake", "transport"] {
        assert!(metrics.contains(&format!("kerntrail_{part}")), "no metric of {part}: {metrics}");
    }
    // Every metric has help, and losses are reported as 0 before the first one.
    for name in metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()) {
        assert!(metrics.contains(&format!("# HELP {name} ")), "{name} has no help");
    }
    assert!(metrics.contains("kerntrail_pipeline_events_lost_total{table=\"process_events\"} 0"), "{metrics}");
    let nowhere = http_get(&program.address(), "/").unwrap();
    assert!(nowhere.starts_with("HTTP/1.1 404") && nowhere.contains("/api/v1/query"), "{nowhere}");
    let second = program.output(&["run", "--collector-enabled=false"]);
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second.stderr).contains("another kerntrail"), "{}", text(&second.stderr));
    assert_eq!(running.terminate(), 0);
    // The folder is free again.
    assert_eq!(program.start(&["--collector-enabled=false"]).terminate(), 0);
}

#[test]
fn two_programs_do_not_store_into_one_lake() {
    let (first, second) = (Program::new(), Program::new());
    let lake = format!("--lake-uri=file://{}/lake", first.data_dir().display());
    let running = first.start(&["--collector-enabled=false"]);
    let refused = second.output(&["run", "--collector-enabled=false", &lake]);
    assert_eq!(refused.status.code(), Some(1));
    let words = text(&refused.stderr);
    assert!(words.contains(&format!("another kerntrail (process {})", running.id())), "{words}");
    assert!(words.contains("lake.uri"), "{words}");
    assert_eq!(running.terminate(), 0);
    assert_eq!(second.start(&["--collector-enabled=false", &lake]).terminate(), 0);
}

#[test]
fn unfinished_requests_do_not_delay_the_shutdown() {
    use std::io::Write;
    let (program, running) = served();
    let begun = [
        "POST /api/v1/que",
        "POST /api/v1/query HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nselect",
        "POST /api/v1/import?name=x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{",
    ];
    let open = begun.map(|request| {
        let mut stream = std::os::unix::net::UnixStream::connect(program.data_dir().join("socket")).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream
    });
    assert_eq!(running.terminate(), 0);
    drop(open);
}

#[test]
fn other_addresses_than_loopback_are_refused() {
    let program = Program::new();
    let output = program.output(&["run", "--http-listen=0.0.0.0:0"]);
    assert_eq!(output.status.code(), Some(2));
    let errors = text(&output.stderr);
    assert!(errors.contains("flag --http-listen: ") && errors.contains("listen on 127.0.0.1"), "{errors}");
}

#[test]
fn a_wrong_setting_is_reported_with_its_line() {
    let program = Program::new();
    std::fs::create_dir_all(program.data_dir()).unwrap();
    let sink = "\n[[sinks]]\nname = \"soc\"\nkind = \"ndjson\"\n";
    let cases = [
        ("[lake]\n\nflush_intervall = \"1s\"\n".to_owned(), ":3: ", "did you mean `lake.flush_interval`?"),
        ("tenant = \"../up\"\n".to_owned(), ":1: ", "tenant: \"../up\" is not"),
        ("[rules]\ndir = \"/no/such/folder\"\n".to_owned(), ":2: ", "rules.dir: cannot read /no/such/folder"),
        (format!("{sink}path = \"/tmp/x\"\nwhere = \"nosuch = 1\"\n"), ":6: ", "nosuch"),
        (format!("{sink}path = \"/tmp/x\"\ntables = [\"process_event\"]\n"), ":6: ", "did you mean"),
        (sink.to_owned(), ":2: ", "sink soc: path"),
    ];
    for (config, line, reason) in cases {
        let file = write(&program.data_dir(), "c.toml", config.as_bytes());
        let output = program.output(&["config", "check", "--config", file.to_str().unwrap()]);
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{config}: {errors}");
        assert!(errors.contains(&format!("c.toml{line}")) && errors.contains(reason), "{config}: {errors}");
    }
    let mut command = program.command(&["config", "check"]);
    let output = command.env("KERNTRAIL_HTTP_LISTNE", "127.0.0.1:1").output().expect("the program starts");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("KERNTRAIL_HTTP_LISTNE: there is no such setting; did you mean"));
}

#[test]
fn a_sink_without_its_token_stops_only_the_commands_that_use_sinks() {
    let program = Program::new();
    std::fs::create_dir_all(program.data_dir()).unwrap();
    let sink = "[[sinks]]\nname = \"soc\"\nkind = \"splunk_hec\"\nurl = \"https://127.0.0.1:1\"\n";
    let file = write(&program.data_dir(), "c.toml", sink.as_bytes());
    let output = |args: &[&str]| program.command(args).env("KERNTRAIL_CONFIG", &file).output().unwrap();
    for args in [&["run"][..], &["config", "check"], &["config", "show"], &["sinks", "list"]] {
        let output = output(args);
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {errors}");
        assert!(errors.contains("c.toml:1: ") && errors.contains("token"), "{args:?}: {errors}");
    }
    for args in [&["query", "select 1"][..], &["lake", "info"], &["log", "rejected", "list"], &["rules", "list"]] {
        let output = output(args);
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    }
}

#[test]
fn the_printed_configuration_is_valid_and_hides_secrets() {
    let program = Program::new();
    std::fs::create_dir_all(program.data_dir()).unwrap();
    let sinks = "[[sinks]]\nname = \"soc\"\nkind = \"splunk_hec\"\nurl = \"http://127.0.0.1:1\"\ntoken = \"hush\"\n\
                 tables = [\"findings\"]\n[[sinks]]\nname = \"files\"\nkind = \"ndjson\"\npath = \"/tmp/x\"\n\
                 [log.kafka.properties]\n\"sasl.password\" = \"hush\"\n\"client.id\" = \"k\"\n";
    let file = write(&program.data_dir(), "c.toml", sinks.as_bytes());
    let output = program.output(&["config", "show", "--config", file.to_str().unwrap()]);
    let shown = text(&output.stdout);
    assert!(output.status.success() && !shown.contains("hush"), "{shown}");
    assert!(shown.contains("token = \"***\"") && shown.contains("tables = [\"findings\"]"), "{shown}");
    assert!(shown.contains("sasl.password") && shown.contains("client.id"), "{shown}");
    let file = write(&program.data_dir(), "again.toml", shown.as_bytes());
    let output = program.output(&["config", "check", "--config", file.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("2 sinks"), "{}", text(&output.stdout));
}

#[test]
fn without_privileges_one_line_says_what_is_missing_and_the_rest_works() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    // The test drops root's privileges, so it must have them.
    if !require::root() {
        return;
    }
    let program = Program::new();
    std::fs::create_dir_all(program.data_dir()).unwrap();
    std::os::unix::fs::chown(program.data_dir(), Some(65534), Some(65534)).unwrap();
    std::os::unix::fs::chown(program.data_dir().parent().unwrap(), Some(65534), Some(65534)).unwrap();
    // The built program may be in a folder that only root may enter.
    let copy = program.path("kerntrail");
    std::fs::copy(env!("CARGO_BIN_EXE_kerntrail"), &copy).unwrap();
    let mut command = std::process::Command::new(&copy);
    command
        .arg("run")
        .env("KERNTRAIL_DATA_DIR", program.data_dir())
        .env("KERNTRAIL_HTTP_LISTEN", program.address())
        .uid(65534)
        .gid(65534);
    let running = crate::program::Running::spawn(command);
    crate::program::wait_for("it is ready", || {
        http_get(&program.address(), "/readyz")
            .map_err(|error| error.to_string())
            .and_then(|answer| if answer.contains("200 OK") { Ok(()) } else { Err(answer) })
    });
    let log = running.log();
    let named: Vec<&str> = log.lines().filter(|line| line.contains("no live collection")).collect();
    assert_eq!(named.len(), 1, "{log}");
    assert!(named[0].contains("root") || named[0].contains("CAP_BPF"), "{log}");
    let file = write(&program.data_dir(), "in.json", lines(0, 10).as_bytes());
    program.run(&["replay", file.to_str().unwrap()]);
    assert_eq!(program.count("select count(*) from process_events"), 10);
    assert_eq!(running.terminate(), 0);

    // A user who may not read the history gets a hint how to.
    std::os::unix::fs::chown(program.data_dir(), Some(0), Some(0)).unwrap();
    std::fs::set_permissions(program.data_dir(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let mut command = std::process::Command::new(&copy);
    command.args(["query", "select count(*) from process_events", "--data-dir"]).arg(program.data_dir());
    let output = command.uid(65534).gid(65534).output().unwrap();
    let errors = text(&output.stderr);
    assert!(errors.starts_with("kerntrail: you may not read the lake") && errors.contains("sudo"), "{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
}

//! SIGHUP: what a running server follows.

use std::path::Path;

use crate::program::{Program, Running, wait_for, write};
use crate::tetragon::lines;

/// A sink that writes the rows with a pid that `filter` selects.
fn sink(name: &str, path: &Path, filter: &str) -> String {
    format!("[[sinks]]\nname = \"{name}\"\nkind = \"ndjson\"\npath = \"{}\"\nwhere = \"{filter}\"\n", path.display())
}

fn import(program: &Program, from: u64, to: u64) {
    let file = write(&program.data_dir(), "in.json", lines(from, to).as_bytes());
    program.run(&["replay", "-q", file.to_str().unwrap()]);
}

fn wait_rows(running: &Running, path: &Path, count: usize) {
    wait_for("the file has all rows", || {
        let have = std::fs::read_to_string(path).unwrap_or_default().lines().count();
        if have == count { Ok(()) } else { Err(format!("{have} of {count} in {}\n{}", path.display(), running.log())) }
    });
}

#[test]
fn sinks_follow_the_configuration() {
    let program = Program::new();
    std::fs::create_dir_all(program.data_dir()).unwrap();
    let file = |name: &str| program.path(&format!("{name}.ndjson"));
    let configure = |text: &str| write(&program.data_dir(), "c.toml", text.as_bytes());
    let config = configure(&(sink("stays", &file("stays"), "true") + &sink("changes", &file("before"), "true")));
    let server = ["--collector-enabled=false", "--config", config.to_str().unwrap()];
    let running = program.start(&server);
    let reload = |expected: &str| {
        let before = running.log().matches(expected).count();
        running.signal(libc::SIGHUP);
        wait_for(expected, || {
            let log = running.log();
            if log.matches(expected).count() > before { Ok(()) } else { Err(log) }
        });
    };
    import(&program, 0, 10);
    wait_rows(&running, &file("before"), 10);

    let changed = sink("changes", &file("after"), "pid % 2 = 0") + &sink("new", &file("new"), "true");
    configure(&(sink("stays", &file("stays"), "true") + &changed));
    reload("the sinks were read again");
    import(&program, 10, 20);
    wait_rows(&running, &file("after"), 5);
    wait_rows(&running, &file("new"), 10);
    let states = program.run(&["sinks", "list", "-o", "csv", "--config", config.to_str().unwrap()]);
    for name in ["stays", "changes", "new"] {
        assert!(states.lines().any(|line| line.contains(name) && line.contains("running")), "{name}:\n{states}");
    }

    // A mistake changes nothing.
    configure(&(sink("stays", &file("elsewhere"), "no such column = 1") + &changed));
    reload("the sinks stay as they were: ");
    configure("[[sinks]]\nname =");
    reload("the configuration stays as it was: ");
    import(&program, 20, 30);
    wait_rows(&running, &file("after"), 10);

    // Rows wait for a sink that comes back.
    configure(&format!("cluster = \"other\"\n{}", sink("stays", &file("stays"), "true")));
    reload("these changes need a restart");
    wait_for("two sinks end", || {
        let log = running.log();
        if log.matches("the sinks were read again").count() == 2 { Ok(()) } else { Err(log) }
    });
    import(&program, 30, 40);
    configure(&(sink("stays", &file("stays"), "true") + &changed));
    reload("the sinks were read again");
    wait_rows(&running, &file("after"), 15);
    wait_rows(&running, &file("new"), 30);
    // It was never interrupted.
    wait_rows(&running, &file("stays"), 40);
    assert_eq!(running.log().matches("the sink has started").count(), 6, "{}", running.log());
    assert_eq!(running.terminate(), 0);
}

#[test]
fn files_without_an_end_change_nothing() {
    let program = Program::new();
    std::fs::create_dir_all(program.data_dir()).unwrap();
    let config = write(&program.data_dir(), "c.toml", b"");
    let pipe = program.path("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let running = program.start(&["--collector-enabled=false", "--config", config.to_str().unwrap()]);
    let hec = "[[sinks]]\nname = \"s\"\nkind = \"splunk_hec\"\nurl = \"http://127.0.0.1:1\"\ntoken = { file = \"/dev/zero\" }\n";
    for (text, expected) in [
        ("[rules]\nplaceholders = \"/dev/zero\"\n".to_owned(), "cannot read /dev/zero: it is not a regular file"),
        (format!("[rules]\nexceptions = \"{}\"\n", pipe.display()), "pipe: it is not a regular file"),
        (hec.to_owned(), "cannot read /dev/zero: it is not a regular file"),
    ] {
        write(&program.data_dir(), "c.toml", text.as_bytes());
        running.signal(libc::SIGHUP);
        wait_for(expected, || if running.log().contains(expected) { Ok(()) } else { Err(running.log()) });
    }
    // What a start read from a file is a pipe now.
    std::fs::remove_file(&config).unwrap();
    std::fs::rename(&pipe, &config).unwrap();
    running.signal(libc::SIGHUP);
    wait_for("the pipe is refused", || {
        if running.log().contains("c.toml is a pipe") { Ok(()) } else { Err(running.log()) }
    });
    assert_eq!(running.terminate(), 0);
}

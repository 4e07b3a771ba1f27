//! A folder of rules as users have them: some cannot be used, one is very long. The others run, and so does the server.

use crate::program::{Program, http_get, wait_for, write};
use crate::tetragon::lines;

fn rule(title: &str, detection: &str) -> String {
    format!(
        "title: {title}\nid: {title}\nlogsource: {{product: linux, category: process_creation}}\ndetection:\n  \
         s: {{{detection}}}\n  condition: s\nlevel: high\n"
    )
}

#[test]
fn one_bad_rule_stops_neither_the_others_nor_the_server() {
    let program = Program::new();
    let folder = program.path("rules");
    std::fs::create_dir_all(&folder).unwrap();
    let names: Vec<String> = (0..2_000).map(|number| format!("--number {number}")).collect();
    write(&folder, "long.yml", rule("long", &format!("CommandLine|endswith: ['{}']", names.join("', '"))).as_bytes());
    write(&folder, "good.yml", rule("good", "Image: /usr/bin/job, CommandLine|endswith: ' 7'").as_bytes());
    write(&folder, "bad.yml", rule("bad", "NoSuchField: x").as_bytes());
    // None of these ends the program, or keeps it from starting.
    let deep = rule("deep", "pid: 1").replace("condition: s", &format!("condition: {}s", "not ".repeat(5_000)));
    write(&folder, "deep.yml", deep.as_bytes());
    let regexes: Vec<String> = (0..1_000).map(|number| format!("'x{number}(\\w{{5}}y){{30}}'")).collect();
    write(&folder, "regexes.yml", rule("regexes", &format!("CommandLine|re: [{}]", regexes.join(", "))).as_bytes());
    let pipe = std::ffi::CString::new(folder.join("pipe.yml").to_str().unwrap()).unwrap();
    // SAFETY: the path is a valid text, and the call keeps no pointer to it.
    assert_eq!(unsafe { libc::mkfifo(pipe.as_ptr(), 0o600) }, 0);
    std::os::unix::fs::symlink("..", folder.join("loop")).unwrap();
    std::os::unix::fs::symlink(".", folder.join("self")).unwrap();
    // One document of a file, and one without anything, stop none of the others.
    let several = format!("{}---\ntitle: broken\n---\n{}---\n", rule("first", "pid: 1"), rule("third", "pid: 3"));
    write(&folder, "several.yml", several.as_bytes());
    // A folder that nobody may read, and for root, one that even root may not.
    std::fs::create_dir(folder.join("secret")).unwrap();
    std::fs::set_permissions(folder.join("secret"), std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    std::os::unix::fs::symlink("/proc/1/fdinfo", folder.join("unreadable")).unwrap();
    let setting = format!("--rules-dir={}", folder.display());
    let running = program.start(&["--collector-enabled=false", &setting]);

    // They are compiled while the server runs already.
    wait_for("four rules and folders that cannot be read are refused", || {
        let metrics = http_get(&program.address(), "/metrics").map_err(|error| error.to_string())?;
        let refused = metrics.lines().find_map(|line| line.strip_prefix("kerntrail_detections_rules_refused "));
        if refused.is_some_and(|refused| (4..=6).contains(&refused.parse().unwrap_or(0))) {
            Ok(())
        } else {
            Err(metrics)
        }
    });
    assert!(running.log().contains("bad.yml:5") && running.log().contains("NoSuchField"), "{}", running.log());
    let ready = http_get(&program.address(), "/readyz").unwrap();
    assert!(ready.contains("200 OK"), "{ready}");
    let listed = program.output(&["rules", "list", &setting]);
    assert!(listed.status.success());
    let named = String::from_utf8_lossy(&listed.stderr);
    assert!(named.contains("bad.yml:5") && named.contains("has no field `NoSuchField`"), "{named}");
    assert!(named.contains("several.yml:"), "{named}");
    let used = String::from_utf8_lossy(&listed.stdout);
    assert!(used.contains("first") && used.contains("third"), "{used}");

    let file = write(&program.data_dir(), "export.json", lines(0, 20).as_bytes());
    program.run(&["replay", "-q", file.to_str().unwrap()]);
    wait_for("both rules made their findings", || {
        let sql = "select rule_name, count(*) from findings where rule_name in ('long', 'good') group by 1 order by 1";
        let rows = program.rows(sql);
        if rows == ["good,1", "long,20"] { Ok(()) } else { Err(format!("{rows:?}\n{}", running.log())) }
    });
    assert_eq!(running.terminate(), 0);
}

#[test]
fn sighup_reads_rules_and_exceptions_again() {
    let program = Program::new();
    let folder = program.path("rules");
    std::fs::create_dir_all(&folder).unwrap();
    let exceptions =
        write(&folder, "exceptions", b"- {rule: second, where: pid < 0, until: 2999-01-01, reason: none}\n");
    let settings =
        [format!("--rules-dir={}", folder.display()), format!("--rules-exceptions={}", exceptions.display())];
    let running = program.start(&["--collector-enabled=false", &settings[0], &settings[1]]);
    let read = |times: usize| {
        wait_for("the rules are read again", || {
            let log = running.log();
            if log.matches("were read again").count() == times { Ok(()) } else { Err(log) }
        });
    };
    write(&folder, "rule.yml", rule("second", "Image: /usr/bin/job").as_bytes());
    running.signal(libc::SIGHUP);
    read(1);
    let file = write(&program.data_dir(), "export.json", lines(0, 1).as_bytes());
    program.run(&["replay", "-q", file.to_str().unwrap()]);
    let found = || program.count("select count(*) from findings where rule_name = 'second'");
    wait_for("the new rule makes a finding", || if found() == 1 { Ok(()) } else { Err(running.log()) });

    write(&folder, "exceptions", b"- {rule: second, where: pid >= 0, until: 2999-01-01, reason: known}\n");
    running.signal(libc::SIGHUP);
    read(2);
    let listed = program.output(&["rules", "exceptions", &settings[0], &settings[1]]);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains("active") && listed.contains("known"), "{listed}");
    let file = write(&program.data_dir(), "more.json", lines(1, 2).as_bytes());
    program.run(&["replay", "-q", file.to_str().unwrap()]);
    wait_for("the exception is counted", || {
        let metrics = http_get(&program.address(), "/metrics").map_err(|error| error.to_string())?;
        let counted = "kerntrail_detections_excepted_total{rule=\"second\"} 1";
        if metrics.contains(counted) { Ok(()) } else { Err(metrics) }
    });
    assert_eq!(found(), 1);
    assert_eq!(running.terminate(), 0);
}

//! Correlations that count and measure, filters and placeholders: what rules find together.

use std::path::Path;

use kerntrail_detections::{Placeholders, Rules, Sources, testing};

/// Rule `base`, which matches every exec event, and a correlation of it with this body.
fn correlated(body: &str, events: &[&str], finds: usize) -> String {
    let events: String = events.iter().map(|event| format!("        - {{table: process_events, {event}}}\n")).collect();
    format!(
        "title: base\nid: base-id\nname: base\nlogsource: {{category: process_creation}}\ndetection:\n  s: {{pid|gt: 0}}\n  condition: s\n\
         ---\ntitle: c\nid: c\ncorrelation:\n  rules: [base]\n  timespan: 10s\n{body}\
         kerntrail:\n  tests:\n    - name: n\n      finds: {finds}\n      events:\n{events}"
    )
}

async fn found(text: &str) -> (usize, usize) {
    let path = Path::new("case.yml");
    let rules = Sources::compile_file(path, text).unwrap_or_else(|error| panic!("{error:?}\n{text}"));
    let results = testing::run(&rules, path, text).await.unwrap();
    (results[0].found.len(), results[0].expected)
}

#[tokio::test]
async fn counts_and_measures() {
    let exec = |at: f64, pid: i32, more: &str| format!("at: {at}, activity: exec, pid: {pid}, {more}");
    let same: Vec<String> = (0..5).map(|second| exec(f64::from(second), second + 1, "process_name: a")).collect();
    let different: Vec<String> =
        (0..5).map(|second| exec(f64::from(second), second + 1, &format!("process_name: p{second}"))).collect();
    let users: Vec<String> =
        (0..6).map(|second| exec(f64::from(second), 100, &format!("uid: {}, process_name: a", second % 2))).collect();
    let slow: Vec<String> = (0..5).map(|number| exec(f64::from(number) * 6.0, 1, "process_name: a")).collect();
    let cases: &[(&str, &[String], usize)] = &[
        ("  type: event_count\n  group-by: [process_name]\n  condition: {gte: 5}\n", &same, 1),
        ("  type: event_count\n  group-by: [process_name]\n  condition: {gte: 6}\n", &same, 0),
        ("  type: event_count\n  group-by: [process_name]\n  condition: {gte: 2}\n", &different, 0),
        ("  type: event_count\n  condition: {gte: 2}\n", &different, 2),
        // A group of its own for each user.
        ("  type: event_count\n  group-by: [uid]\n  condition: {gte: 3}\n", &users, 2),
        ("  type: event_count\n  group-by: [uid]\n  condition: {gt: 3}\n", &users, 0),
        // Never three within 10 s.
        ("  type: event_count\n  group-by: [process_name]\n  condition: {gte: 3}\n", &slow, 0),
        ("  type: value_count\n  condition: {field: Image, gte: 1}\n", &same, 0),
        ("  type: value_count\n  condition: {field: process_name, gte: 5}\n", &different, 1),
        ("  type: value_count\n  condition: {field: process_name, gte: 2}\n", &same, 0),
        ("  type: value_sum\n  condition: {field: pid, gte: 15}\n", &same, 1),
        ("  type: value_sum\n  condition: {field: pid, gt: 15}\n", &same, 0),
        ("  type: value_avg\n  condition: {field: pid, gte: 3}\n", &same, 1),
        ("  type: value_percentile\n  condition: {field: pid, percentile: 100, gte: 5}\n", &same, 1),
        ("  type: value_percentile\n  condition: {field: pid, percentile: 80, gte: 5}\n", &same, 0),
        ("  type: value_median\n  condition: {field: pid, gte: 4}\n", &same, 0),
        // The name in the correlation is another one in the rule.
        ("  type: event_count\n  group-by: [who]\n  aliases: {who: {base: uid}}\n  condition: {gte: 3}\n", &users, 2),
    ];
    for (body, events, finds) in cases {
        let events: Vec<&str> = events.iter().map(String::as_str).collect();
        let (found, expected) = found(&correlated(body, &events, *finds)).await;
        assert_eq!(found, expected, "{body}{events:#?}");
    }
}

#[test]
fn what_a_correlation_cannot_ask_is_named() {
    let cases = [
        ("  type: event_count\n  condition: {lt: 3}\n", "a count with neither `gte`, `gt` nor `eq`"),
        ("  type: event_count\n  condition: {gte: -3}\n", "a negative number"),
        ("  type: event_count\n  condition: {field: pid, gte: 3}\n", "a field in the condition of `event_count`"),
        ("  type: value_count\n  condition: {gte: 3}\n", "`value_count` without a field"),
        ("  type: value_sum\n  condition: {field: [pid, uid], gte: 3}\n", "`value_sum` of several fields"),
        ("  type: value_sum\n  condition: {field: pidd, gte: 3}\n", "has no field `pidd`; did you mean `pid`?"),
        (
            "  type: value_percentile\n  condition: {field: pid, percentile: 101, gte: 3}\n",
            "a `percentile` that is a whole",
        ),
        (
            "  type: value_percentile\n  condition: {field: pid, percentile: 99.9, gte: 3}\n",
            "a `percentile` that is a whole",
        ),
        ("  type: value_percentile\n  condition: {field: pid, gte: 3}\n", "a `percentile` that is a whole"),
        ("  type: event_count\n  group-by: [1]\n  condition: {gte: 3}\n", "`group-by` takes a list of names"),
        ("  type: event_count\n  group-by: [User]\n  condition: {gte: 3}\n", "field `User`: the kernel knows no names"),
        ("  type: event_count\n  window: tumbling\n  condition: {gte: 3}\n", "the window `tumbling`"),
        ("  type: event_count\n  condition: {neq: 3, gte: 1}\n", "`neq`"),
    ];
    for (body, expected) in cases {
        let error = Sources::compile_file(Path::new("case.yml"), &correlated(body, &[], 0)).expect_err(body);
        let text = kerntrail_common::error::chain(&error);
        assert!(text.starts_with("case.yml:") && text.contains(expected), "{text}\n{body}");
    }
}

fn rule(id: &str, detection: &str) -> String {
    format!(
        "title: {id}\nid: {id}\nname: {id}\nlogsource: {{category: process_creation, product: linux}}\n\
         detection: {{{detection}, condition: s}}\n"
    )
}

fn of(files: &[(&str, String)]) -> Rules {
    let mut sources = Sources::default();
    files.iter().for_each(|(path, text)| sources.add(Path::new(path), text));
    sources.compile()
}

#[test]
fn correlations_name_rules_of_other_files() {
    let correlation = |rules: &str, more: &str| {
        format!(
            "title: c\nid: c\nname: c\ncorrelation: {{type: event_count, rules: [{rules}], timespan: 1m, condition: {{gte: 2}}}}\n{more}"
        )
    };
    let base = ("a.yml", rule("base", "s: {pid: 1}"));
    // A rule that only serves a correlation makes no finding of its own.
    let cases: &[(String, &[&str], &str)] = &[
        (correlation("base", ""), &["c"], ""),
        (correlation("base", "generate: true\n"), &["base", "c"], ""),
        // One of several correlations is enough.
        (
            format!(
                "{}---\n{}",
                correlation("base", "generate: true\n"),
                correlation("base", "").replace(": c\n", ": d\n")
            ),
            &["base", "c", "d"],
            "",
        ),
        (correlation("other", ""), &["base"], "names the rule `other`, which there is not"),
        (correlation("c", ""), &["base"], "a correlation of the correlation `c` is not supported"),
    ];
    for (text, titles, refused) in cases {
        let rules = of(&[base.clone(), ("b.yml", text.clone())]);
        assert_eq!(rules.iter().map(|rule| rule.title.as_str()).collect::<Vec<_>>(), *titles, "{text}");
        let errors: Vec<String> =
            rules.refused().map(|error| kerntrail_common::error::chain(error).to_string()).collect();
        assert_eq!(errors.len(), usize::from(!refused.is_empty()), "{errors:?}");
        assert!(errors.iter().all(|error| error.contains(refused)), "{errors:?}");
    }
}

#[tokio::test]
async fn filters_exclude_what_they_say() {
    let tests = "kerntrail:\n  tests:\n    - name: n\n      finds: 0\n      events:\n        - {table: process_events, activity: exec, pid: 1, process_path: /bin/a}\n        - {table: process_events, activity: exec, pid: 1, process_path: /bin/b}\n        - {table: process_events, activity: exec, pid: 1}\n";
    let base = format!("{}{tests}", rule("base", "s: {pid: 1}"));
    let filter = |rules: &str, source: &str, body: &str| {
        format!("title: f\nid: f\nlogsource: {{{source}}}\nfilter: {{rules: {rules}, {body}}}\n")
    };
    let not_a = "s: {Image|endswith: /a}, condition: not s";
    let cases: &[(String, usize, &str)] = &[
        (filter("[base]", "category: process_creation", not_a), 2, ""),
        // Only the unknown name is not applied.
        (filter("[base, gone]", "category: process_creation", not_a), 2, "names the rule `gone`, which there is not"),
        (filter("[]", "category: process_creation", not_a), 3, "`rules` takes a list of names, or any"),
        (filter("[12]", "category: process_creation", not_a), 3, "`rules` takes a list of names, or any"),
        (filter("any", "category: process_creation, product: linux", not_a), 2, ""),
        (filter("[base]", "category: process_creation", "s: {Image|endswith: /a}, condition: s"), 1, ""),
        // Of another log source; for any rule there is nothing to say.
        (filter("any", "category: file_event", not_a), 3, ""),
        (filter("[base]", "category: file_event", not_a), 3, "has another logsource than the rule `base`"),
        (filter("[nothing]", "category: process_creation", not_a), 3, "names the rule `nothing`, which there is not"),
        (
            filter("[base]", "category: process_creation", "s: {Imagee: /a}, condition: not s"),
            3,
            "has no field `Imagee`",
        ),
    ];
    for (text, finds, refused) in cases {
        let rules = of(&[("base.yml", base.clone()), ("filter.yml", text.clone())]);
        let results = testing::run(&rules, Path::new("base.yml"), &base).await.unwrap();
        assert_eq!(results[0].found.len(), *finds, "{text}");
        let errors: Vec<String> =
            rules.refused().map(|error| kerntrail_common::error::chain(error).to_string()).collect();
        assert_eq!(errors.len(), usize::from(!refused.is_empty()), "{errors:?}");
        assert!(errors.iter().all(|error| error.starts_with("filter.yml:") && error.contains(refused)), "{errors:?}");
    }
}

#[tokio::test]
async fn placeholders_have_the_values_of_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("placeholders.yml");
    std::fs::write(&file, "tools: [nc, 'soc?t']\ndirs: [/bin, /usr/bin]\nnone: []\n").unwrap();
    let values = Placeholders::read(&file).unwrap();
    let cases = [
        ("Image|expand: '%dirs%/%tools%'", "process_path: /usr/bin/nc", Ok(1)),
        ("Image|expand: '%dirs%/%tools%'", "process_path: /bin/socat", Ok(1)),
        ("Image|expand: '%dirs%/%tools%'", "process_path: /sbin/nc", Ok(0)),
        ("CommandLine|contains|expand: '%tools% -e'", "args: [sudo, nc, -e]", Ok(1)),
        ("Image|expand: '/bin/%other%'", "", Err("the placeholder `%other%` has no values")),
        ("Image|expand: '/bin/%none%'", "", Err("the placeholder `%none%` has no values")),
    ];
    for (detection, event, expected) in cases {
        let text = format!(
            "{}kerntrail: {{tests: [{{name: n, finds: 0, events: [{{table: process_events, activity: exec, {event}}}]}}]}}\n",
            rule("r", &format!("s: {{{detection}}}"))
        );
        let mut sources = Sources::default().with_placeholders(values.clone());
        sources.add(Path::new("case.yml"), &text);
        match (sources.compile_all(), expected) {
            (Ok(rules), Ok(finds)) => {
                let results = testing::run(&rules, Path::new("case.yml"), &text).await.unwrap();
                assert_eq!(results[0].found.len(), finds, "{text}");
            }
            (Err(error), Err(expected)) => {
                let error = kerntrail_common::error::chain(&error).to_string();
                assert!(error.contains(expected), "{error}");
            }
            (compiled, _) => panic!("{compiled:?}: {text}"),
        }
    }
    std::fs::write(&file, "tools: nc\n").unwrap();
    let error = Placeholders::read(&file).unwrap_err().to_string();
    assert!(error.contains("placeholders.yml:1: a list of texts for each placeholder was expected"), "{error}");
}

/// An event that two rules of a correlation match is one event.
#[tokio::test]
async fn an_event_counts_once() {
    let body = "  type: event_count\n  condition: {gte: 2}\n";
    let text =
        correlated(body, &["at: 0, activity: exec, pid: 1"], 0).replace("rules: [base]", "rules: [base, base-id]");
    assert_eq!(found(&text).await, (0, 0));
    let text = correlated(body, &["at: 0, activity: exec, pid: 1", "at: 0, activity: exec, pid: 2"], 1);
    assert_eq!(found(&text.replace("rules: [base]", "rules: [base, base-id]")).await, (1, 1));
}

#[tokio::test]
async fn rules_for_auditd_match_rows_with_the_same_content() {
    let rule = |detection: &str| {
        format!("title: t\nid: t\nlogsource: {{product: linux, service: auditd}}\ndetection: {{{detection}}}\n")
    };
    let exec = "table: process_events, activity: exec";
    let cases = [
        (
            "s: {type: EXECVE, a0: cp, a1: /bin/sh, a2|endswith: /crond}, condition: s",
            exec,
            "args: [cp, /bin/sh, /tmp/crond]",
            1,
        ),
        ("s: {type: EXECVE, a0: cp, a1: /bin/sh}, condition: s", exec, "args: [cp, -a, /bin/sh]", 0),
        ("s: {type: execve, a0: chmod, a1: 777}, condition: s", exec, "args: [chmod, '777', x]", 1),
        ("s: {a1|startswith: --cpu-priority}, condition: s", exec, "args: [x, --cpu-priority=5]", 1),
        (
            "s: {a1|startswith: --cpu-priority}, condition: s",
            "table: process_events, activity: exit",
            "args: [x, --cpu-priority=5]",
            0,
        ),
        ("s: {type: SYSCALL, exe|startswith: /tmp/}, condition: s", exec, "process_path: /tmp/x", 1),
        ("s: {type: SYSCALL, SYSCALL: [execve, execveat], euid: 33}, condition: s", exec, "euid: 33", 1),
        (
            "s: {type: SYSCALL, comm: insmod, exe: /usr/bin/kmod}, condition: s",
            exec,
            "process_name: insmod, process_path: /usr/bin/kmod",
            1,
        ),
        ("s: {type: EXECVE}, k: ['--to-ports 42'], condition: s and k", exec, "args: [iptables, --to-ports, '42']", 1),
        (
            "s: {type: PATH, name: /etc/audit/*}, condition: s",
            "table: file_events, activity: write",
            "path: /etc/audit/rules.d",
            1,
        ),
        (
            "s: {type: SYSCALL, syscall: finit_module}, condition: s",
            "table: kernel_events, activity: module_load",
            "pid: 1",
            1,
        ),
        (
            "s: {type: SYSCALL, syscall: mount}, f: {exe: /usr/bin/podman}, condition: s and not f",
            "table: kernel_events, activity: mount",
            "process_path: /bin/x",
            1,
        ),
        (
            "s: {type: SYSCALL, syscall: mount}, f: {exe: /usr/bin/podman}, condition: s and not f",
            "table: kernel_events, activity: setns",
            "process_path: /bin/x",
            0,
        ),
    ];
    for (detection, event, more, finds) in cases {
        let text = format!(
            "{}kerntrail: {{tests: [{{name: n, finds: 0, events: [{{{event}, {more}}}]}}]}}\n",
            rule(detection)
        );
        let (found, _) = found(&text).await;
        assert_eq!(found, finds, "{detection}: {event}, {more}");
    }
    let refused = [
        ("s: {type: SYSCALL, SYSCALL: sysinfo}, condition: s", "the call `sysinfo`, which is no activity"),
        ("s: {type: SYSCALL, syscall: 59}, condition: s", "the call `59`"),
        ("s: {type: ADD_USER}, condition: s", "auditd's record type `ADD_USER`"),
        ("s: {type: SYSCALL, key: x}, condition: s", "field `key`: auditd's key"),
        ("s: {type: SYSCALL, a0: 4}, condition: s", "field `a0`: an argument of a call"),
        ("s: {type: PATH, nametype: CREATE}, condition: s", "field `nametype`: a field of auditd's"),
        (
            "p: {type: PATH, name: x}, e: {type: EXECVE, a0: y}, condition: 1 of them",
            "auditd's records of several kinds",
        ),
        (
            "s: {type: SYSCALL, exe: x}, f: {SYSCALL: execve}, condition: s and not f",
            "`not` of a detection of nothing but",
        ),
    ];
    for (detection, expected) in refused {
        let error = Sources::compile_file(Path::new("case.yml"), &rule(detection)).expect_err(detection);
        let text = kerntrail_common::error::chain(&error).to_string();
        assert!(text.contains(expected), "{text}");
    }
}

/// A filter of a rule for auditd's records is about the same ones.
#[tokio::test]
async fn filters_of_rules_for_auditd() {
    let source = "logsource: {product: linux, service: auditd}";
    let base = format!(
        "title: base\nid: base\n{source}\ndetection: {{s: {{type: SYSCALL, SYSCALL: mount}}, condition: s}}\n\
         kerntrail: {{tests: [{{name: n, finds: 0, events: [\
         {{table: kernel_events, activity: mount, process_path: /usr/bin/podman}}, {{table: kernel_events, activity: mount}}]}}]}}\n"
    );
    for (filter, finds, refused) in [
        ("s: {type: SYSCALL, exe: /usr/bin/podman}, condition: not s", 1, ""),
        ("s: {exe: /usr/bin/podman}, condition: s", 1, ""),
        ("s: {type: PATH, name: x}, condition: not s", 2, "a filter about other records than its rule"),
    ] {
        let filter = format!("title: f\nid: f\n{source}\nfilter: {{rules: [base], {filter}}}\n");
        let rules = of(&[("base.yml", base.clone()), ("filter.yml", filter.clone())]);
        let results = testing::run(&rules, Path::new("base.yml"), &base).await.unwrap();
        assert_eq!(results[0].found.len(), finds, "{filter}");
        let errors: Vec<String> =
            rules.refused().map(|error| kerntrail_common::error::chain(error).to_string()).collect();
        assert_eq!(errors.len(), usize::from(!refused.is_empty()), "{errors:?}");
        assert!(errors.iter().all(|error| error.contains(refused)), "{errors:?}");
    }
}

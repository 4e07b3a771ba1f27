//! What rules support: the rows that each rule matches, and errors that name unsupported features.

use std::path::Path;

use kerntrail_detections::Sources;
use kerntrail_detections::testing::{self, TestError, TestResult};

/// A rule over `process_events` with the given detection (YAML) and one event; `finds` says whether it matches.
fn document(detection: &str, event: &str, finds: usize) -> String {
    format!(
        "title: t\nid: rule-1\nlogsource: {{category: process_events}}\ndetection:\n{detection}\n\
         kerntrail:\n  tests:\n    - name: n\n      finds: {finds}\n      events:\n        - {{table: process_events, {event}}}\n"
    )
}

/// The results of the tests of a file with this content.
async fn run(text: &str) -> Result<Vec<TestResult>, TestError> {
    let path = Path::new("case.yml");
    testing::run(&Sources::compile_file(path, text)?, path, text).await
}

#[tokio::test]
async fn modifiers_and_conditions() {
    let cases: &[(&str, &str, usize)] = &[
        // Strings are compared without case, lists by any item.
        ("  s: {process_path: /BIN/sh}\n  condition: s", "process_path: /bin/sh", 1),
        ("  s: {process_path|cased: /BIN/sh}\n  condition: s", "process_path: /bin/sh", 0),
        ("  s: {args: -C}\n  condition: s", "args: [sh, -c, x y]", 1),
        ("  s: {args: 'x'}\n  condition: s", "args: [sh, -c, x y]", 0),
        ("  s: {args|contains: ' '}\n  condition: s", "args: [sh, -c, x y]", 1),
        ("  s: {args|startswith: 'x'}\n  condition: s", "args: [sh, xy]", 1),
        ("  s: {args|contains|all: [a, b]}\n  condition: s", "args: [xa, xb]", 1),
        ("  s: {args|contains|all: [a, c]}\n  condition: s", "args: [xa, xb]", 0),
        ("  s: {args: 1}\n  condition: s", "args: [nsenter, -t, '1']", 1),
        // Wildcards, and characters that SQL's LIKE would take for wildcards.
        ("  s: {cmd_line: 'a*c?'}\n  condition: s", "cmd_line: a b cd", 1),
        ("  s: {cmd_line|contains: '100%_'}\n  condition: s", "cmd_line: x 100%_ y", 1),
        ("  s: {cmd_line|contains: '100%_'}\n  condition: s", "cmd_line: x 1000a y", 0),
        ("  s: {cmd_line|endswith: '\\\\n'}\n  condition: s", "cmd_line: 'a\\n'", 1),
        ("  s: {cmd_line|re: '^a.{2}d$'}\n  condition: s", "cmd_line: abcd", 1),
        ("  s: {cmd_line|re: '^A'}\n  condition: s", "cmd_line: abcd", 0),
        ("  s: {cmd_line|re|i: '^A'}\n  condition: s", "cmd_line: abcd", 1),
        // Numbers and booleans.
        ("  s: {pid|gt: 5}\n  condition: s", "pid: 6", 1),
        ("  s: {pid|lte: 5}\n  condition: s", "pid: 6", 0),
        ("  s: {pid: 6}\n  condition: s", "pid: 6", 1),
        ("  s: {pid: '6'}\n  condition: s", "pid: 6", 1),
        ("  s: {pid|startswith: '6'}\n  condition: s", "pid: 61", 1),
        ("  s: {in_host_mnt_ns: true}\n  condition: s", "in_host_mnt_ns: true", 1),
        // A missing field does not match; negation applies after that.
        ("  s: {cwd: /x}\n  condition: s", "pid: 1", 0),
        ("  s: {cwd: /x}\n  condition: not s", "pid: 1", 1),
        ("  s: {cwd: null}\n  condition: s", "pid: 1", 1),
        ("  s: {cwd|exists: false}\n  condition: s", "pid: 1", 1),
        ("  s: {cwd|exists: true}\n  condition: s", "cwd: /", 1),
        // Selectors.
        ("  a1: {pid: 1}\n  a2: {pid: 2}\n  condition: 1 of a*", "pid: 2", 1),
        ("  a1: {pid: 1}\n  a2: {uid: 2}\n  condition: all of them", "pid: 1, uid: 2", 1),
        ("  a1: {pid: 1}\n  a2: {uid: 2}\n  condition: all of them", "pid: 1, uid: 3", 0),
        ("  a1: {pid: 1}\n  a2: {uid: 2}\n  condition: a1 and not a2", "pid: 1", 1),
        ("  s: [{pid: 1}, {uid: 2}]\n  condition: s", "uid: 2", 1),
        // Keywords are looked for in every text.
        ("  s: ['needle']\n  condition: s", "cmd_line: a needle in hay", 1),
        ("  s: ['needle']\n  condition: s", "cmd_line: hay", 0),
        ("  s:\n    '|all': [needle, thread]\n  condition: s", "cwd: /needle, process_path: /bin/thread", 1),
        ("  s:\n    '|all': [needle, thread]\n  condition: s", "cwd: /needle, process_path: /bin/x", 0),
        // Encodings.
        ("  s: {CommandLine|base64offset|contains: '/bin/sh'}\n  condition: s", "args: [echo, eCAvYmluL3NoIHk=]", 1),
        ("  s: {CommandLine|base64offset|contains: '/bin/sh'}\n  condition: s", "args: [echo, eCAvYmluL2xzIHk=]", 0),
        ("  s: {CommandLine|wide|base64offset|contains: 'ab'}\n  condition: s", "args: [echo, YQBiAA==]", 1),
        ("  s: {CommandLine|windash|contains: ' -enc'}\n  condition: s", "args: [pwsh, /enc, x]", 1),
        // Fields compared with one another.
        ("  s: {process_name|fieldref: cwd}\n  condition: s", "process_name: Sh, cwd: sh", 1),
        ("  s: {process_name|fieldref|cased: cwd}\n  condition: s", "process_name: Sh, cwd: sh", 0),
        ("  s: {process_path|fieldref|startswith: cwd}\n  condition: s", "process_path: /opt/x, cwd: /opt", 1),
        (
            "  s: {process_path|fieldref|endswith: process_name}\n  condition: s",
            "process_path: /opt/x, process_name: y",
            0,
        ),
        ("  s: {CommandLine|fieldref|contains: cwd}\n  condition: s", "args: [ls, /Opt/x], cwd: /opt", 1),
        ("  s: {process_path|fieldref: cwd}\n  condition: s", "process_path: /opt/x", 0),
        // Sigma's own names of fields.
        (
            "  s: {Image|endswith: /sh, ParentImage: /init}\n  condition: s",
            "process_path: /bin/sh, parent_path: /init",
            1,
        ),
        ("  s: {ParentCommandLine|contains: 'a b'}\n  condition: s", "parent_args: [a, b]", 1),
        // The arguments joined by single spaces, whatever they are: no quotes.
        ("  s: {CommandLine|endswith: '| sh'}\n  condition: s", "args: [bash, -c, 'curl x | sh']", 1),
        ("  s: {CommandLine: 'sudo -u#-1 id'}\n  condition: s", "args: [sudo, '-u#-1', id]", 1),
        ("  s: {CommandLine|contains|all: ['-c c', 'x |']}\n  condition: s", "args: [bash, -c, 'curl x | sh']", 1),
        ("  s: {CommandLine|contains: \"'\"}\n  condition: s", "args: [bash, -c, 'curl x | sh']", 0),
        ("  s: {CommandLine|re: '^a  b $'}\n  condition: s", "args: [a, '', b, '']", 1),
        ("  s: {User: root, LogonId: 0}\n  condition: s", "uid: 0", 1),
        ("  s: {User: root}\n  condition: s", "uid: 1000", 0),
        ("  s: {User: root}\n  condition: not s", "uid: 1000", 1),
        ("  s: {LogonId: 1000}\n  condition: s", "uid: 0, login_uid: 1000", 1),
        ("  s: {CommandLine|exists: false}\n  condition: s", "pid: 1", 1),
        ("  s: {ParentCommandLine|endswith: ' | sh'}\n  condition: s", "parent_args: [bash, -c, 'curl x | sh']", 1),
        ("  s: {cmd_line|endswith: \"| sh'\"}\n  condition: s", "args: [bash, -c, 'curl x | sh']", 1),
    ];
    for (detection, event, finds) in cases {
        let text = document(detection, event, *finds);
        let outcomes = run(&text).await.unwrap_or_else(|error| panic!("{error:?}\n{text}"));
        assert!(outcomes[0].passed(), "{:?}\n{text}", outcomes[0]);
    }
}

#[test]
fn unsupported_features_are_named() {
    let source = "logsource: {category: process_creation}";
    let rule =
        |detection: &str| format!("title: t\nid: rule-1\n{source}\ndetection:\n  s: {detection}\n  condition: s\n");
    let correlation = |body: &str| {
        format!(
            "{}---\ntitle: c\nid: rule-2\ncorrelation:\n  timespan: 1m\n  group-by: [node]\n{body}",
            rule("{pid: 1}").replace("title: t", "title: t\nname: a")
        )
    };
    let cases = [
        (rule("{Imag: x}"), "has no field `Imag`; did you mean `Image`?"),
        (rule("{cmd_line|utf16: x}"), "field `cmd_line`: `x` is no text; put base64"),
        (rule("{cmd_line|expand: '%x%'}"), "field `cmd_line`: the placeholder `%x%` has no values"),
        (rule("{pid|cidr: 10.0.0.0/99}"), "`10.0.0.0/99` is not a network"),
        (rule("{cmd_line|re: '('}"), "is not a regular expression"),
        (rule("{pod_labels: x}"), "field `pod_labels`: cannot be compared to text"),
        (rule("{cmd_line|gt: 3}"), "field `cmd_line`: holds no number"),
        (rule("{pid: abc}"), "field `pid`: holds a number, not `abc`"),
        (rule("{activity: exce}"), "process_events has no activity `exce`, only exec, fork, exit, existing"),
        (rule("{pid: 1}\n  timeframe: 5m"), "`timeframe` is not supported"),
        (rule("\n    pid: 1\n    cmd_line|utf16: x"), "dir/case.yml:7: rule \"t\""),
        (rule("{User: www-data}"), "field `User`: the kernel knows no names but `root`; compare `uid`"),
        (rule("{DestinationHostname: x}"), "has no field `DestinationHostname`; kerntrail does not record what"),
        (rule("{pid: []}"), "field `pid`: an empty list matches nothing"),
        (
            rule("{pid: 1}").replace("condition: s", "condition: 1 of foo_*"),
            "condition on `foo_*`, which names no selection, is not supported",
        ),
        (correlation("  type: temporal\n  rules: [a, a]\n  condition: {gte: 1}\n"), "dir/case.yml:16: a condition on"),
        (correlation("  type: temporal\n  rules: [a]\n").replace("1m", "0s"), "a timespan of 0 is not supported"),
        (rule("{pid|exists: maybe}"), "field `pid`: `exists` takes one value, true or false"),
        (rule("\n    pid: 1\n    cwd|exists: [true, false]"), "dir/case.yml:7: rule \"t\""),
        ("title: [\n".to_owned(), "case.yml:2: not YAML"),
        (format!("{}---\n{}", rule("{pid: 1}"), "a: [\n"), "case.yml:9: not YAML"),
        (format!("title: x\n---\n{}", "a: [\n"), "case.yml:1: Missing required field"),
        (format!("{}---\ntitle: u\nid: rule-2\n{source}\n", rule("{pid: 1}")), "dir/case.yml:8: "),
        (format!("{}---\n- a list\n", rule("{pid: 1}")), "dir/case.yml:8: "),
        (format!("{}---\n{}", rule("{pid: 1}"), rule("{pid|notso: 1}")), "dir/case.yml:12: "),
        (rule("{pid: 1}").replace("id: rule-1", "level: highest"), "dir/case.yml:2: "),
        (rule("{pid: 1}").replace("condition: s", "condition: s and ("), "dir/case.yml:6: Condition"),
        (rule("{pid: 1}").replace("condition: s", "condition: nosuch"), "dir/case.yml:6: rule \"t\": unknown"),
        (rule("{pid: 1}").replace("title:", "titel:"), "case.yml:1: unknown key `titel`; did you mean `title`?"),
        (rule("\n    pid: 1\n    Imag|contains: x"), "dir/case.yml:7: rule \"t\""),
        (correlation("  type: event_count\n  rules: [a]\n  condition: {lt: 3}\n"), "dir/case.yml:9: rule \"c\""),
        (
            rule("{pid: 1}").replace(source, "logsource: {product: windows, category: process_creation}"),
            "product `windows`",
        ),
        (rule("{pid: 1}").replace(source, "logsource: {category: dns_query}"), "category `dns_query`"),
        (rule("{pid: 1}").replace(source, "logsource: {product: linux, service: sshd}"), "service `sshd`"),
        (rule("{pid: 1}").replace("id: rule-1\n", ""), "has no id"),
        (
            correlation("  type: event_count\n  rules: [a]\n  condition: {lt: 3}\n"),
            "a count with neither `gte`, `gt` nor `eq` is not supported",
        ),
        (correlation("  type: temporal\n  rules: [a, b]\n"), "names the rule `b`, which there is not"),
        (
            correlation("  type: temporal\n  rules: [a]\n").replace("[node]", "[nod]"),
            "has no field `nod`; did you mean `node`?",
        ),
    ];
    for (text, expected) in cases {
        let error = Sources::compile_file(Path::new("dir/case.yml"), &text).expect_err(&text);
        let chain = format!("{:#}", anyhow::Error::from(error));
        assert!(chain.starts_with("dir/case.yml:") && chain.contains(expected), "{chain}\n{text}");
    }
}

/// Lists of any length match as short ones do, and neither planning nor dropping them overflows a stack.
#[tokio::test]
async fn long_lists() {
    /// As many as the longest list of a public rule has.
    const MANY: usize = 1_100;
    let list = |item: &dyn Fn(usize) -> String| (0..MANY).map(item).collect::<Vec<_>>().join(", ");
    let words = list(&|number| format!("word-{number}-x"));
    let maps = list(&|number| format!("{{pid: {number}, cwd: /{number}}}"));
    let networks = list(&|number| format!("10.{}.{}.0/24", number / 256, number % 256));
    let selections: String = (0..MANY).map(|number| format!("  s{number}: {{pid: {number}}}\n")).collect();
    let last = MANY - 1;
    let of = |field: &str, items: &str| format!("  s: {{{field}: [{items}]}}\n  condition: s");
    let cases = [
        (of("cmd_line|contains", &words), format!("cmd_line: a WORD-{last}-x b"), 1),
        (of("cmd_line|contains", &words), "cmd_line: word-x".to_owned(), 0),
        (of("cmd_line|contains|all", &words), format!("cmd_line: word-{last}-x"), 0),
        (of("cmd_line|startswith", &words), format!("cmd_line: word-{last}-xy"), 1),
        (of("cmd_line", &words), format!("cmd_line: word-{last}-x"), 1),
        (of("cmd_line|cased", &words), format!("cmd_line: word-{last}-X"), 0),
        (of("args", &words), format!("args: [a, word-{last}-x]"), 1),
        (of("args|contains", &words), "args: [a, b]".to_owned(), 0),
        (of("pid", &list(&|number| number.to_string())), format!("pid: {last}"), 1),
        (of("pid", &list(&|number| number.to_string())), format!("pid: {MANY}"), 0),
        (of("cwd|cidr", &networks), "cwd: 10.1.2.3".to_owned(), 1),
        (of("cwd|cidr", &networks), "cwd: 11.1.2.3".to_owned(), 0),
        (format!("  s: [{maps}]\n  condition: s"), format!("pid: {last}, cwd: /{last}"), 1),
        (format!("  s: [{maps}]\n  condition: s"), format!("pid: {last}, cwd: /0"), 0),
        (format!("  s: [{words}]\n  condition: s"), format!("cmd_line: word-{last}-x"), 1),
        (format!("{selections}  condition: 1 of s*"), format!("pid: {last}"), 1),
        (format!("{selections}  condition: all of s*"), format!("pid: {last}"), 0),
        (format!("{selections}  condition: not 1 of s*"), format!("pid: {MANY}"), 1),
    ];
    for (detection, event, finds) in &cases {
        let text = document(detection, event, *finds);
        let start = &detection[..detection.len().min(60)];
        let outcomes = run(&text).await;
        let outcomes = outcomes.unwrap_or_else(|error| panic!("{start}: {error:?}"));
        assert!(outcomes[0].passed(), "{start}, {event}: {:?}", outcomes[0]);
    }
}

#[tokio::test]
async fn lists_of_texts_keywords_and_numbers_may_be_much_longer() {
    let words: Vec<String> = (0..20_000).map(|number| format!("word-{number}-x")).collect();
    let numbers: Vec<String> = (0..30_000).map(|number| number.to_string()).collect();
    let (keywords, words, numbers) = (words[..5_000].join(", "), words.join(", "), numbers.join(", "));
    for (selection, event, finds) in [
        (format!("{{cmd_line|contains: [{words}]}}"), "cmd_line: a WORD-19999-x b", 1),
        (format!("[{keywords}]"), "process_path: /bin/word-4999-x", 1),
        (format!("[{keywords}]"), "process_path: /bin/word-5000-x", 0),
        (format!("{{pid: [{numbers}]}}"), "pid: 29999", 1),
        (format!("{{pid: [{numbers}]}}"), "pid: 30000", 0),
        (format!("{{pid: [{numbers}]}}"), "uid: 1", 0),
    ] {
        let text = document(&format!("  s: {selection}\n  condition: s"), event, finds);
        assert!(run(&text).await.unwrap()[0].passed(), "{event}");
    }
}

#[test]
fn rules_that_are_too_large_are_named() {
    let rule = |detection: &str| {
        format!("title: t\nid: t\nlogsource: {{category: process_events}}\ndetection:\n{detection}\n")
    };
    let selections: String = (0..10_000).map(|number| format!("  s{number}: {{pid: {number}}}\n")).collect();
    let nested = format!("  s: {{pid: 1}}\n  condition: {}s{}", "(".repeat(5_000), ")".repeat(5_000));
    let lists = format!("  s: {{pid: {}1{}}}\n  condition: s", "[".repeat(5_000), "]".repeat(5_000));
    for (detection, named) in [
        (format!("{selections}  condition: 1 of s*"), "a rule of more than 20000 parts"),
        (nested, "rules.yml:6: more than 100 brackets"),
        (repeated(150, 8_000), "a rule that takes about 73 MiB of memory (64 MiB are allowed"),
        (lists, "rules.yml:5: more than 100 brackets"),
        (format!("  s: {{cmd_line: '{}'}}\n  condition: s", "x".repeat(5 << 20)), "bytes; 4194304 are allowed"),
    ] {
        let error = Sources::compile_file(Path::new("rules.yml"), &rule(&detection)).unwrap_err();
        let text = kerntrail_common::error::chain(&error);
        assert!(text.contains(named), "{named}: {text:.300}");
    }
}

/// A detection by `count` regular expressions that stand for `length` characters each.
fn repeated(count: usize, length: usize) -> String {
    let regexes: Vec<String> = (0..count).map(|number| format!("'{number}x{{{length}}}'")).collect();
    format!("  s: {{cmd_line|re: [{}]}}\n  condition: s", regexes.join(", "))
}

#[test]
fn rules_that_are_too_large_together_are_named() {
    let mut sources = Sources::default();
    for number in 0..12 {
        let detection = repeated(100, 8_000);
        let rule = format!(
            "title: t{number}\nid: t{number}\nlogsource: {{category: process_events}}\ndetection:\n{detection}\n"
        );
        sources.add(Path::new("rules.yml"), &rule);
    }
    let small =
        "title: small\nid: small\nlogsource: {category: process_events}\ndetection: {s: {pid: 1}, condition: s}\n";
    sources.add(Path::new("small.yml"), small);
    let rules = sources.compile();
    let refused: Vec<_> = rules.refused().map(|error| kerntrail_common::error::chain(error)).collect();
    assert_eq!(refused.len(), 7, "{refused:?}");
    for error in &refused {
        assert!(error.contains("more than 256 MiB of memory together with those before it"), "{error}");
    }
    assert_eq!(rules.iter().last().map(|rule| rule.title.as_str()), Some("small"));
}

#[test]
fn rules_of_a_folder_that_cannot_be_used_are_named_and_the_others_are_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let rule = |id: &str, detection: &str| {
        format!(
            "title: {id}\nid: {id}\nlogsource: {{category: process_events}}\ndetection:\n  s: {{{detection}}}\n  condition: s\n"
        )
    };
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("a.yml", &format!("{}---\n{}---\n{}", rule("a1", "pid: 1"), rule("a2", "nosuch: 1"), rule("a3", "pid: 3")));
    write("b.yml", "title: [\n");
    write("c.yml", &rule("a1", "pid: 1"));
    std::fs::create_dir(folder.path().join("d")).unwrap();
    write("d/d.yml", &rule("d", "pid: 1"));
    std::fs::write(folder.path().join("d/e.yml"), b"\xff").unwrap();
    let mut sources = Sources::default();
    sources.add_folder(folder.path()).unwrap();
    let rules = sources.compile();
    assert_eq!(rules.iter().map(|rule| rule.title.as_str()).collect::<Vec<_>>(), ["a1", "a3", "d"]);
    let refused: Vec<String> = rules.refused().map(|error| format!("{error}")).collect();
    let expected =
        ["a.yml:12: rule \"a2\"", "b.yml:2: not YAML", "c.yml: rule \"a1\" has the id a1 of a rule in", "e.yml"];
    assert_eq!(refused.len(), expected.len(), "{refused:#?}");
    for (error, expected) in refused.iter().zip(expected) {
        assert!(error.contains(expected), "{error} is not about {expected}");
    }
    assert!(Sources::default().add_folder(Path::new("/no/such/folder")).is_err());
}

#[test]
fn a_duplicate_id_is_an_error() {
    let text =
        "title: t\nid: rule-1\nlogsource: {category: process_events}\ndetection:\n  s: {pid: 1}\n  condition: s\n";
    let mut sources = Sources::default();
    sources.add(Path::new("a.yml"), text);
    sources.add(Path::new("b.yml"), text);
    let error = sources.compile_all().unwrap_err().to_string();
    assert!(error.contains("b.yml") && error.contains("has the id rule-1 of a rule in a.yml"), "{error}");
}

#[test]
fn a_document_that_cannot_be_used_stops_none_of_the_others_of_its_file() {
    let rule = |id: &str, selection: &str| {
        format!(
            "title: {id}\nid: {id}\nlogsource: {{category: process_events}}\ndetection:\n  s: {{{selection}}}\n  condition: s\n"
        )
    };
    let (first, last) = (rule("first", "pid: 1"), rule("last", "pid: 2"));
    // Documents, the lines of what is refused, and the rules that are left.
    for (text, lines, left) in [
        (format!("{first}---\ntitle: broken\n---\n{last}"), &[8][..], &["first", "last"][..]),
        (format!("# A license.\n---\n{first}---\n"), &[], &["first"]),
        (format!("{first}---\n\n# nothing\n---\n{last}"), &[], &["first", "last"]),
        (format!("title: one\n---\na: [\n---\n{last}"), &[1, 4], &["last"]),
        (format!("{first}---\n{}", rule("last", "NoSuchField: 1")), &[12], &["first"]),
        ("title: one\n---\n- a list\n".to_owned(), &[1, 3], &[]),
    ] {
        let mut sources = Sources::default();
        sources.add(Path::new("several.yml"), &text);
        let rules = sources.compile();
        let refused: Vec<usize> = rules.refused().map(|error| error.line()).collect();
        assert_eq!(refused, lines, "{text}\n{:?}", rules.refused().collect::<Vec<_>>());
        assert_eq!(rules.iter().map(|rule| rule.title.as_str()).collect::<Vec<_>>(), left, "{text}");
    }
}

//! What is bad is named by line and reason, counted and kept; the rest goes in.

use std::io;

use kerntrail_pipeline::import::FORMATS;

use super::*;

/// Lines and reasons of the rejects of `input`, and how many rows went in.
async fn rejected(input: impl AsRef<[u8]>) -> (u64, Vec<(u64, String)>, Vec<serde_json::Value>) {
    let importing = Importing::new();
    let report = importing.import("dir/bad.json", input).await;
    counts(&report);
    let kept = importing.rejects(&report);
    assert_eq!(kept.len() as u64, report.rejected);
    let named: Vec<_> = report.first_rejects.iter().map(|reject| (reject.line, reject.reason.clone())).collect();
    for (kept, (line, reason)) in kept.iter().zip(&named) {
        assert_eq!(kept["file"], "dir/bad.json");
        assert_eq!((kept["line"].as_u64(), kept["reason"].as_str()), (Some(*line), Some(reason.as_str())));
    }
    assert_eq!(importing.everything().await.len() as u64, report.rows);
    (report.rows, named, kept)
}

/// An exec with `process` inside, and `rest` beside.
fn record(process: &str, rest: &str) -> String {
    format!(r#"{{"process_exec":{{"process":{{{process}}}}}{rest}}}"#)
}

const NODE_AND_TIME: &str = r#","node_name":"n","time":"2026-11-24T12:00:00Z""#;

/// Why a record is rejected that no format recognizes.
fn not_known() -> String {
    let names: Vec<_> = FORMATS.iter().map(|format| format.name()).collect();
    format!("no event of a known format ({})", names.join(", "))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_record_among_good_ones() {
    let not_known = not_known();
    let good = ["a", "b", "c"].map(|node| exec(node, 1));
    let with = |process: &str| record(process, NODE_AND_TIME);
    let only = |rest: &str| record(r#""pid":1"#, rest);
    let cases = [
        ("not json".to_owned(), "not a JSON object"),
        (r#"{"a":1,}"#.to_owned(), "trailing comma (line 2, column 8)"),
        (r#"{"a":1"#.to_owned(), "the record is not closed before the next one starts"),
        (r#"{"a":"x"#.to_owned(), "a string is not closed on its line"),
        (good[0][..100].to_owned(), "a string is not closed on its line"),
        ("17".to_owned(), "not a JSON object"),
        ("{}".to_owned(), not_known.as_str()),
        (r#"{"flow":{},"node_name":"n"}"#.to_owned(), not_known.as_str()),
        (r#"{"process_exec":5}"#.to_owned(), "invalid type: integer `5`, expected an object (line 2, column 17)"),
        (r#"{"process_exec":null}"#.to_owned(), not_known.as_str()),
        (format!(r#"{{"process_exec":{{}}{NODE_AND_TIME}}}"#), "no process"),
        (with(""), "a process without exec_id and pid"),
        (only(r#","time":"2026-11-24T12:00:00Z""#), "no node_name"),
        (only(r#","node_name":"","time":"2026-11-24T12:00:00Z""#), "no node_name"),
        (only(r#","node_name":"n""#), "no time"),
        (only(r#","node_name":"n","time":null"#), "no time"),
        (only(r#","node_name":"n","time":"soon""#), "time \"soon\" is not a time between 1970 and 2262"),
        (
            only(r#","node_name":"n","time":"2262-04-12T00:00:00Z""#),
            "time \"2262-04-12T00:00:00Z\" is not a time between 1970 and 2262",
        ),
        (
            only(r#","node_name":"n","time":"0001-01-01T00:00:00Z""#),
            "time \"0001-01-01T00:00:00Z\" is not a time between 1970 and 2262",
        ),
        (only(r#","node_name":"n","time":17"#), "invalid type: integer `17`, expected a string (line 2, column 63)"),
        (with(r#""pid":4294967295"#), "process.pid 4294967295 is out of range"),
        (with(r#""pid":1e30"#), "invalid value: floating point `1e+30`, expected a whole number (line 2, column 38)"),
        (with(r#""pid":-1"#), "process.pid is negative"),
        (with(r#""pid":1.5"#), "invalid value: floating point `1.5`, expected a whole number (line 2, column 37)"),
        (with(r#""pid":"many""#), "invalid value: string \"many\", expected a whole number (line 2, column 40)"),
        (with(r#""pid":[1]"#), "invalid type: sequence, expected a whole number (line 2, column 35)"),
        (with(r#""pid":1,"uid":-7"#), "process.uid -7 is out of range"),
        (with(r#""pid":1,"start_time":"never""#), "process.start_time \"never\" is not a time"),
        (with(r#""pid":1,"pid":2"#), "duplicate field `pid` (line 2, column 41)"),
        (with(r#""pid":1,"cwd":5"#), "invalid type: integer `5`, expected a string (line 2, column 43)"),
        (with(r#""pid":1,"cwd":"\ud800""#), "unexpected end of hex escape (line 2, column 50)"),
        (
            format!(r#"{{"process_exit":{{"process":{{"pid":1}},"signal":"SIGNEW"}}{NODE_AND_TIME}}}"#),
            "signal \"SIGNEW\" is not known",
        ),
        (
            format!(r#"{{"process_exit":{{"process":{{"pid":1}},"status":256}}{NODE_AND_TIME}}}"#),
            "status 256 is out of range",
        ),
        (format!(r#"{{"process_kprobe":{{"process":{{"pid":1}}}}{NODE_AND_TIME}}}"#), "a call without function_name"),
        (
            format!(r#"{{"process_connect":{{"process":{{"pid":1}},"source_port":70000}}{NODE_AND_TIME}}}"#),
            "source_port 70000 is out of range",
        ),
        (
            format!(
                r#"{{"process_exec":{{"process":{{"pid":1}}}},"process_exit":{{"process":{{"pid":1}}}}{NODE_AND_TIME}}}"#
            ),
            "a second event, `process_exit` (line 2, column 52)",
        ),
        (
            format!(
                r#"{{"process_exec":{{"process":{{"pid":1}}}},"x":{}1{}{NODE_AND_TIME}}}"#,
                "[".repeat(130),
                "]".repeat(130)
            ),
            "nested deeper than 128 levels",
        ),
    ];
    let mut wrong = Vec::new();
    for (bad, reason) in cases {
        let (rows, named, kept) = rejected(format!("{}\n{bad}\n{}\n{}\n", good[0], good[1], good[2])).await;
        assert_eq!((rows, kept[0]["raw"].as_str()), (3, Some(bad.as_str())));
        if named != [(2, reason.to_owned())] {
            wrong.push((bad, reason, named));
        }
    }
    assert!(wrong.is_empty(), "record, expected, got: {wrong:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn line_numbers_are_right_in_every_form_of_input() {
    let (good, bad) = (records(&exec("a", 1)), r#"{"process_exec":{"process":{"pid":1}},"node_name":"n"}"#);
    let good = serde_json::to_string_pretty(&good[0]).unwrap();
    let bad_indented = serde_json::to_string_pretty(&records(bad)[0]).unwrap();
    let lines = good.lines().count() as u64;
    let no_time = |line| (line, "no time".to_owned());
    let cases = [
        (format!("{bad}\n{bad}\n"), vec![no_time(1), no_time(2)]),
        (format!("\r\n\r\n{bad}\r\n"), vec![no_time(3)]),
        (format!("{good}\n{bad_indented}\n{good}"), vec![no_time(lines + 1)]),
        (format!("[\n{bad},\n{good},\n{bad}\n]"), vec![no_time(2), no_time(lines + 3)]),
        (format!("{bad}{bad}\n{bad}{bad}\n"), vec![no_time(1), no_time(1), no_time(2), no_time(2)]),
        (format!("[{bad_indented},{bad_indented}]"), vec![no_time(1), no_time(bad_indented.lines().count() as u64)]),
        // The line of an error inside an indented record is that of the input.
        (
            "{\n}\n{\n  \"time\": 5\n}".to_owned(),
            vec![(1, not_known()), (3, "invalid type: integer `5`, expected a string (line 4, column 11)".to_owned())],
        ),
    ];
    for (input, expected) in cases {
        let (_, named, _) = rejected(&input).await;
        assert_eq!(named, expected, "{input}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_on_one_line_are_judged_one_by_one() {
    let line = format!("{}{{\"a\":1}}{}, {} x", exec("a", 1), exec("b", 2), exec("c", 3));
    let (rows, named, kept) = rejected(format!("{}\n{line}\n{}\n", exec("d", 4), exec("e", 5))).await;
    assert_eq!(rows, 5);
    let expected = [(2, not_known()), (2, "not a JSON object".to_owned())];
    assert_eq!(named, expected);
    assert_eq!((&kept[0]["raw"], &kept[1]["raw"]), (&"{\"a\":1}".into(), &"x".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_not_text_are_kept_too() {
    let input = [exec("a", 1).as_bytes(), b"\n{\"time\":\"\xff\"}\n", exec("b", 2).as_bytes()].concat();
    let (rows, named, kept) = rejected(input).await;
    assert_eq!(rows, 2);
    assert!(named[0].1.starts_with("not UTF-8: invalid utf-8 sequence of 1 bytes from index 9"), "{named:?}");
    assert_eq!(kept[0]["raw_base64"], "eyJ0aW1lIjoi/yJ9");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_stream_is_imported_up_to_its_end() {
    let text: String = (0..20_000).map(|number| exec("a", number) + "\n").collect();
    for (name, packed) in [("gzip", gzip(text.as_bytes())), ("zstd", zstd(text.as_bytes()))] {
        let importing = Importing::new();
        let report = importing.import(name, &packed[..packed.len() / 2]).await;
        assert!((1_000..20_000).contains(&report.rows), "{report:?}");
        assert_eq!(report.rejected, 1, "{report:?}");
        let last = report.first_rejects.last().unwrap();
        assert!(last.reason.starts_with(&format!("the {name} stream is damaged or cut short")), "{last:?}");
        assert!(last.line >= report.rows, "{report:?}");
        assert_eq!(importing.everything().await.len() as u64, report.rows);
        // The whole file then adds the rest.
        let report = importing.import(name, &packed).await;
        assert_eq!((report.rows + report.already_there, report.rejected), (20_000, 0));
        assert_eq!(importing.everything().await.len(), 20_000);
    }
    // Cut in the middle of an indented record.
    let pretty = serde_json::to_string_pretty(&records(ESCAPE)).unwrap();
    let (rows, named, _) = rejected(&pretty[..pretty.len() - 60]).await;
    assert_eq!((rows, named.len()), (ESCAPE_ROWS - 1, 1), "{named:?}");
    assert_eq!(named[0].1, "the input ends inside the record");
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_bounded() {
    let importing = Importing::new();
    let options = ImportOptions { max_record_bytes: 10_000, ..importing.options("bounded") };
    let long = exec("a", 2).replace("/bin/true", &format!("/bin/{}", "x".repeat(3_000_000)));
    let pretty = serde_json::to_string_pretty(&records(&long)[0]).unwrap();
    let input = format!("{}\n{pretty}\n{}\n{}\n", exec("a", 1), exec("a", 3), exec("a", 4));
    let report = importing.import_to(&importing.log, options, Cursor::new(input)).await.unwrap();
    assert_eq!((report.rows, report.rejected), (3, 1), "{report:?}");
    assert!(report.first_rejects.iter().any(|reject| reject.reason == "a record longer than the limit"), "{report:?}");
    for kept in importing.rejects(&report) {
        assert!(kept["raw"].as_str().unwrap().len() <= 64 * 1024);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_that_cannot_be_read() {
    /// Gives some bytes, then fails.
    struct Failing(Cursor<Vec<u8>>);
    impl Read for Failing {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            match self.0.read(into)? {
                0 => Err(io::Error::other("the disk is gone")),
                count => Ok(count),
            }
        }
    }
    let importing = Importing::new();
    for (bytes, what) in
        [(&b"PK\x03\x04.."[..], "a zip archive"), (b"\xff\xfe{\0}\0", "UTF-16 text"), (b"BZh9..", "bzip2")]
    {
        match importing.import_to(&importing.log, importing.options("x"), Cursor::new(bytes)).await {
            Err(ImportError::NotReadable { what: named, .. }) => assert_eq!(named, what),
            other => panic!("{what}: {other:?}"),
        }
    }
    let input = Failing(Cursor::new(ESCAPE.into()));
    let failed = importing.import_to(&importing.log, importing.options("x"), input).await;
    assert!(matches!(failed, Err(ImportError::Read { .. })), "{failed:?}");
    importing.drain().await;
    assert_eq!(importing.everything().await.len() as u64, ESCAPE_ROWS, "what was read before is there");

    let nowhere = ImportOptions {
        rejects_dir: path_of(importing.path(), "lake/acme/process_events/_delta_log/00000000000000000000.json"),
        ..importing.options("x")
    };
    let failed = importing.import_to(&importing.log, nowhere, Cursor::new("garbage")).await;
    assert!(matches!(failed, Err(ImportError::Rejects { .. })), "{failed:?}");
}

//! One recording, however it is written, is the same rows; and only once.

use serde_json::json;

use super::*;

/// The recording in every shape that is taken.
fn shapes() -> Vec<(&'static str, Vec<u8>)> {
    let records = records(ESCAPE);
    let pretty = |record: &serde_json::Value| serde_json::to_string_pretty(record).unwrap();
    let compact: Vec<String> = records.iter().map(ToString::to_string).collect();
    let indented: Vec<String> = records.iter().map(pretty).collect();
    // `to_string` sorts keys, so these also have another order of keys than the recording.
    let array = serde_json::to_string_pretty(&records).unwrap();
    let (first, rest) = ESCAPE.split_at(ESCAPE.len() / 2);
    let escaped: String = ESCAPE.replace("/bin/sh", "\\/bin\\u002fsh");
    let mut shapes: Vec<(&'static str, Vec<u8>)> = vec![
        ("ndjson", ESCAPE.into()),
        ("ndjson without the last line break", ESCAPE.trim_end().into()),
        ("ndjson, CRLF", ESCAPE.replace('\n', "\r\n").into()),
        ("ndjson, blank lines, BOM", format!("\u{feff}\n{}", ESCAPE.replace('\n', "\n\n \n")).into()),
        ("ndjson, other escapes", escaped.into()),
        ("sorted keys", compact.join("\n").into()),
        ("side by side", compact.concat().into()),
        ("pretty", indented.join("\n").into()),
        ("pretty, CRLF, BOM", format!("\u{feff}{}", indented.join("\r\n").replace('\n', "\r\n")).into()),
        (
            "pretty, not indented",
            indented.join("\n").lines().map(str::trim_start).collect::<Vec<_>>().join("\n").into(),
        ),
        ("pretty, tabs, side by side", indented.concat().replace("  ", "\t").into()),
        ("array", array.clone().into()),
        ("array on one line", format!("[{}]", compact.join(",")).into()),
        ("array, an object on each line", format!("[\n{}\n]\n", compact.join(",\n")).into()),
        ("array, braces side by side", format!("[{}]", indented.join(", ")).into()),
        ("arrays", format!("[{}]\n[{}]", compact[..3].join(","), compact[3..].join(",")).into()),
        (
            "mixed",
            format!("{}\n{}\n[{}]", compact[..4].join("\n"), indented[4..8].join("\n"), compact[8..].join(",")).into(),
        ),
        ("gzip", gzip(ESCAPE.as_bytes())),
        ("gzip, two members", [gzip(first.as_bytes()), gzip(rest.as_bytes())].concat()),
        ("zstd", zstd(ESCAPE.as_bytes())),
        ("zstd, two frames", [zstd(first.as_bytes()), zstd(rest.as_bytes())].concat()),
        ("zstd of a pretty array", zstd(array.as_bytes())),
    ];
    shapes.extend(shipped(&compact).map(|(shape, text)| (shape, text.into_bytes())));
    shapes
}

/// The records as container logs, log shippers and SIEMs keep them.
fn shipped(records: &[String]) -> impl Iterator<Item = (&'static str, String)> {
    let time = "2026-03-01T10:00:00.000000001Z";
    let lines = |line: &dyn Fn(&str) -> String| records.iter().map(|record| line(record) + "\n").collect::<String>();
    let object = |value: serde_json::Value| value.to_string();
    let halves = |record: &str| {
        let middle = record.floor_char_boundary(record.len() / 2);
        [record[..middle].to_owned(), record[middle..].to_owned()]
    };
    let value = |record: &str| serde_json::from_str::<serde_json::Value>(record).unwrap();
    [
        ("CRI", lines(&|record| format!("{time} stdout F {record}"))),
        (
            "CRI in parts, both streams",
            lines(&|record| {
                let [first, rest] = halves(record);
                format!("{time} stdout P {first}\n{time} stderr F \n{time} stdout F {rest}")
            }),
        ),
        ("json-file", lines(&|record| object(json!({"log": format!("{record}\n"), "stream": "stdout", "time": time})))),
        (
            "json-file in parts",
            lines(&|record| {
                let [first, rest] = halves(record);
                let part = |text: String| object(json!({"log": text, "stream": "stdout", "time": time}));
                format!("{}\n{}", part(first), part(rest + "\n"))
            }),
        ),
        ("kubectl --prefix", lines(&|record| format!("[pod/tetragon-x/export-stdout] {record}"))),
        ("kubectl --timestamps", lines(&|record| format!("{time} {record}"))),
        ("kubectl with both", lines(&|record| format!("[pod/tetragon-x/export-stdout] {time} {record}"))),
        ("Vector", lines(&|record| object(json!({"file": "/x", "host": "h", "message": record, "timestamp": time})))),
        ("Fluent Bit", lines(&|record| object(json!({"date": 1.5, "log": format!("{time} stdout F {record}")})))),
        ("HEC", lines(&|record| object(json!({"event": value(record), "host": "h", "time": 1})))),
        (
            "Splunk's export",
            lines(&|record| object(json!({"preview": false, "result": {"_raw": record, "host": "h"}}))),
        ),
        ("Elasticsearch", lines(&|record| object(json!({"_index": "i", "_source": {"message": record}})))),
        (
            "pretty HEC",
            lines(&|record| serde_json::to_string_pretty(&json!({"event": value(record), "time": 1})).unwrap()),
        ),
    ]
    .into_iter()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_input_gives_the_same_rows_as_lines() {
    let mut expected = Vec::new();
    for (shape, bytes) in shapes() {
        let importing = Importing::new();
        let report = importing.import(shape, &bytes).await;
        assert_eq!(counts(&report), (ESCAPE_ROWS, 0, 0, 0), "{shape}: {report:?}");
        let rows = importing.everything().await;
        assert_eq!(rows.len() as u64, ESCAPE_ROWS, "{shape}");
        if expected.is_empty() {
            expected = rows;
        } else {
            assert_eq!(rows, expected, "{shape}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn importing_again_in_any_form_adds_nothing() {
    let importing = Importing::new();
    importing.import("first", ESCAPE).await;
    let rows = importing.everything().await;
    for (shape, bytes) in shapes() {
        let report = importing.import(shape, &bytes).await;
        assert_eq!(counts(&report), (0, ESCAPE_RECORDS, 0, 0), "{shape}");
    }
    assert_eq!(importing.everything().await, rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_twice_in_one_input_is_one_row() {
    let importing = Importing::new();
    let pretty = serde_json::to_string_pretty(&records(ESCAPE)).unwrap();
    let report = importing.import("twice", format!("{ESCAPE}\n{pretty}\n{ESCAPE}")).await;
    assert_eq!(counts(&report), (ESCAPE_ROWS, 2 * ESCAPE_RECORDS, 0, 0));
    assert_eq!(importing.everything().await.len() as u64, ESCAPE_ROWS);
}

/// Chunks, messages and nodes: more of each than one.
#[tokio::test(flavor = "multi_thread")]
async fn long_inputs_keep_the_order_of_each_node() {
    let importing = Importing::new();
    let text: String = (0..12_000).map(|number| exec(["a", "b", "c"][number as usize % 3], number) + "\n").collect();
    assert!(text.len() > 2 * 1024 * 1024);
    let mut seen = Vec::new();
    let mut progress = |progress: kerntrail_pipeline::import::ImportProgress| seen.push(progress);
    let options = ImportOptions { bytes_total: Some(text.len() as u64), ..importing.options("long") };
    let input = Cursor::new(text.clone().into_bytes());
    let report = import(input, options, &importing.log, &importing.lake, &mut progress).await.unwrap();
    assert_eq!(counts(&report), (12_000, 0, 0, 0));
    assert!(seen.is_sorted_by_key(|progress| progress.records));
    let last = seen.last().unwrap();
    assert_eq!((last.bytes_read, last.bytes_total, last.rows), (text.len() as u64, Some(text.len() as u64), 12_000));
    importing.drain().await;
    let rows = importing.rows(Table::ProcessEvents, "node, stream, pid").await;
    assert_eq!(rows.len(), 12_000);
    for (number, row) in rows.iter().enumerate() {
        let node = ["a", "b", "c"][number % 3];
        assert_eq!(*row, [node.to_owned(), format!("tetragon:{node}"), number.to_string()]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_node_can_be_given() {
    let importing = Importing::new();
    let named = exec("a", 1);
    let unnamed = r#"{"process_exec":{"process":{"pid":2,"binary":"/bin/x","start_time":"2026-09-01T00:00:00Z"}}}"#;
    let input = format!("{named}\n{unnamed}\n");
    let options = ImportOptions { missing_node: Some("b".into()), ..importing.options("x") };
    importing.import_to(&importing.log, options, Cursor::new(input)).await.unwrap();
    importing.drain().await;
    let rows = importing.rows(Table::ProcessEvents, "node, stream, pid").await;
    let expected = [["a", "tetragon:a", "1"], ["b", "tetragon:b", "2"]];
    assert!(expected.iter().all(|row| rows.iter().any(|have| have == row)), "{rows:?}");
    let times = importing.rows(Table::ProcessEvents, "time").await;
    assert!(times.iter().any(|time| time[0].starts_with("2026-09-01T00:00:00")), "of its start: {times:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn node_and_cluster_can_be_overridden() {
    let importing = Importing::new();
    let options = ImportOptions { node: Some("n1".into()), cluster: Some("c1".into()), ..importing.options("x") };
    importing.import_to(&importing.log, options, Cursor::new(ESCAPE)).await.unwrap();
    importing.drain().await;
    let rows = importing.rows(Table::ProcessEvents, "distinct node, stream, cluster, time, seq").await;
    assert!(rows.iter().all(|row| row[..3] == ["n1", "tetragon:n1", "c1"]), "{rows:?}");
    // Another node has other rows, also of the same records.
    let report = importing.import("as recorded", ESCAPE).await;
    assert_eq!(report.rows, ESCAPE_ROWS);
}

//! One recording, however it is written, is the same rows; and only once.

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
    vec![
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
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_input_gives_the_same_rows_as_lines() {
    let mut expected = Vec::new();
    for (shape, bytes) in shapes() {
        let importing = Importing::new();
        let report = importing.import(shape, &bytes).await;
        assert_eq!(counts(&report), (ESCAPE_ROWS, 0, 1, 0), "{shape}: {report:?}");
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
        assert_eq!(counts(&report), (0, ESCAPE_ROWS, 1, 0), "{shape}");
    }
    assert_eq!(importing.everything().await, rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_twice_in_one_input_is_one_row() {
    let importing = Importing::new();
    let pretty = serde_json::to_string_pretty(&records(ESCAPE)).unwrap();
    let report = importing.import("twice", format!("{ESCAPE}\n{pretty}\n{ESCAPE}")).await;
    assert_eq!(counts(&report), (ESCAPE_ROWS, 2 * ESCAPE_ROWS, 3, 0));
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

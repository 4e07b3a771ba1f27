//! Answers in every format.

use std::io::Cursor;

use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use kerntrail_query_engine::output::{Format, List, Options, OutputError, write};
use kerntrail_query_engine::{Limits, Session};

use crate::golden;
use crate::rows::{Rows, many};

/// Values that formats trip over.
const ODD: &str = "select * from (select null as nothing, '' as empty, chr(27) || ']0;owned' || chr(7) as escape, chr(155) || '2J' as c1, \
    'a' || chr(10) || 'b' || chr(13) || chr(9) || 'c' as lines, 'say \"hi\", | `x` <b>' as quotes, \
    make_array('x', null, 'y, z', chr(27)) as list, map(['k' || chr(10)], ['v']) as labels, \
    'a' || chr(8238) || 'b' as bidi, 1.5 as number, true as flag, \
    timestamp '2026-08-01T10:00:00.123456Z' as time, date '2026-08-01' as day, 9223372036854775807 as big \
    union all select null, null, null, null, null, null, null, null, null, null, null, null, null, null) order by big nulls last";

async fn written(session: &Session, sql: &str, format: Format) -> (Vec<u8>, Result<usize, OutputError>) {
    let mut out = Vec::new();
    let rows = write(session.query(sql).await.unwrap(), format, Options::default(), &mut out).await;
    (out, rows)
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_values_in_every_text_format() {
    let stored = Rows::default().into_lake().await;
    let session = stored.session();
    for format in [Format::Table, Format::Json, Format::Ndjson, Format::Csv, Format::Markdown] {
        let (out, rows) = written(&session, ODD, format).await;
        assert_eq!(rows.unwrap(), 2, "{format}");
        let text = String::from_utf8(out).unwrap();
        let dangerous = |c: char| (c.is_control() && c != '\n' && c != '\t') || c == '\u{202e}';
        assert!(!text.contains(dangerous), "{format} lets a control through: {text:?}");
        golden::check(&format!("odd_values.{format}"), &text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn json_preserves_values() {
    let stored = Rows::default().into_lake().await;
    let (out, _) = written(&stored.session(), ODD, Format::Json).await;
    let rows: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(rows[0]["escape"], "\x1b]0;owned\x07");
    assert_eq!(rows[0]["c1"], "\u{9b}2J");
    assert_eq!(rows[0]["lines"], "a\nb\r\tc");
    assert_eq!(rows[0]["bidi"], "a\u{202e}b");
    assert_eq!(rows[0]["list"], serde_json::json!(["x", null, "y, z", "\x1b"]));
    assert_eq!(rows[0]["labels"], serde_json::json!({"k\n": "v"}));
    assert_eq!(rows[0]["big"], i64::MAX);
    assert!(rows[1].as_object().unwrap().values().all(serde_json::Value::is_null));
    let no_numbers =
        "select cast('inf' as double) as infinite, cast('-inf' as double) as negative, cast('nan' as double) as nan";
    let (out, _) = written(&stored.session(), no_numbers, Format::Ndjson).await;
    assert_eq!(String::from_utf8(out).unwrap(), "{\"infinite\":null,\"negative\":null,\"nan\":null}\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_with_the_same_name_get_two_keys() {
    let stored = Rows::default().into_lake().await;
    let sql = "select a.x, b.x from (select 1 as x) a cross join (select 2 as x) b";
    let (out, _) = written(&stored.session(), sql, Format::Ndjson).await;
    assert_eq!(String::from_utf8(out).unwrap(), "{\"x\":1,\"x_2\":2}\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn results_without_rows() {
    let stored = Rows::default().into_lake().await;
    let session = stored.session();
    for (format, expected) in [
        (Format::Table, " a | b\n---+---\n(0 rows)\n"),
        (Format::Json, "[]\n"),
        (Format::Ndjson, ""),
        (Format::Csv, "a,b\n"),
        (Format::Markdown, "| a | b |\n| ---: | --- |\n"),
    ] {
        let (out, rows) = written(&session, "select 1 as a, 'x' as b where false", format).await;
        assert_eq!((String::from_utf8(out).unwrap().as_str(), rows.unwrap()), (expected, 0), "{format}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn arrow_preserves_batches() {
    let stored = many(20_000).await;
    let (out, rows) =
        written(&stored.session(), "select pid, cmd_line from process_events order by pid", Format::Arrow).await;
    assert_eq!(rows.unwrap(), 20_000);
    let batches: Vec<RecordBatch> =
        StreamReader::try_new(Cursor::new(out), None).unwrap().map(Result::unwrap).collect();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 20_000);
    assert_eq!(batches[0].schema().field(1).name(), "cmd_line");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_table_keeps_its_columns_aligned() {
    let stored = many(3_000).await;
    let sql = "select pid, case when pid = 2500 then repeat('x', 500) else 'short' end as text, 1 as end from process_events order by pid";
    let (out, _) = written(&stored.session(), sql, Format::Table).await;
    let text = String::from_utf8(out).unwrap();
    let widths: std::collections::BTreeSet<usize> =
        text.lines().skip(2).take(3_000).map(|line| line.chars().count()).collect();
    assert_eq!(widths.len(), 1, "{widths:?}");
    assert!(text.contains("xxxx… |"), "the wide value is cut visibly");
    assert!(text.ends_with("(3000 rows)\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_before_an_error_are_written() {
    let stored = many(1_000).await;
    let session = stored.session_within(Limits { max_rows: 2, ..Limits::default() });
    for (format, expected) in [
        (Format::Csv, "pid\n0\n1\n"),
        (Format::Ndjson, "{\"pid\":0}\n{\"pid\":1}\n"),
        (Format::Table, " pid\n-----\n   0\n   1\n"),
    ] {
        let (out, failed) = written(&session, "select pid from process_events order by pid", format).await;
        assert_eq!(String::from_utf8(out).unwrap(), expected, "{format}");
        assert!(matches!(failed, Err(OutputError::Query(_))), "{format}");
    }
}

#[test]
fn names_of_formats() {
    for format in Format::ALL {
        assert_eq!(format.as_str().parse::<Format>().unwrap(), format);
    }
    let error = "jsno".parse::<Format>().unwrap_err().to_string();
    assert!(error.contains("did you mean `json`"), "{error}");
}

#[test]
fn a_list_from_outside_a_query_in_every_text_format() {
    let list = || List::default().text("name", ["a\x1bb", "c,d"]).numbers("count", [1, -20]);
    let cases = [
        (Format::Table, " name   | count\n--------+-------\n a\\x1bb |     1\n c,d    |   -20\n(2 rows)\n"),
        (Format::Json, "[\n{\"name\":\"a\\u001bb\",\"count\":1},\n{\"name\":\"c,d\",\"count\":-20}\n]\n"),
        (Format::Csv, "name,count\na\\x1bb,1\n\"c,d\",-20\n"),
        (Format::Markdown, "| name | count |\n| --- | ---: |\n| a\\\\x1bb | 1 |\n| c,d | -20 |\n"),
    ];
    for (format, expected) in cases {
        let mut out = Vec::new();
        list().write(format, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), expected, "{format}");
    }
    let uneven = List::default().text("a", ["x"]).numbers("b", [1, 2]).write(Format::Csv, &mut Vec::new());
    assert!(matches!(uneven, Err(OutputError::Encode(_))));
}

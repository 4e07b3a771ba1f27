//! A format that only this test knows: what every format can do, by nothing but its module and its place in the list.

use kerntrail_pipeline::import::FORMATS;
use kerntrail_pipeline::import::format::{
    FormatMapping, FormatScope, ImportFormat, ImportedRow, MappedColumn, MappedRow, Reading, RecordRefusal,
};
use kerntrail_schemas::cell::Micros;
use kerntrail_schemas::identity::StreamId;
use kerntrail_schemas::tables::{Actor, Envelope, FileColumns, LossColumns};
use serde::Deserialize;

use super::again::{Act, Acting, all_once};
use super::*;

/// Records `{"sensor": {...}}`: a file that a process opened, and how many events the sensor lost before it.
struct Sensor;

#[derive(Deserialize)]
struct Record {
    sensor: Option<Event>,
}

#[derive(Deserialize)]
struct Event {
    node: Option<String>,
    cluster: Option<String>,
    time: i64,
    opened: Option<Opened>,
    lost: Option<i64>,
    /// A number that the sensor gave the event.
    number: Option<(i32, i64)>,
    broken: Option<String>,
}

#[derive(Deserialize, Hash)]
struct Opened {
    pid: i32,
    path: String,
}

impl ImportFormat for Sensor {
    fn name(&self) -> &'static str {
        "sensor"
    }

    fn description(&self) -> &'static str {
        "the sensor of a test"
    }

    fn mapping(&self) -> FormatMapping {
        let row = |part, table, activity, column, from: &str| MappedRow {
            records: vec![part],
            when: "",
            table,
            activity,
            columns: vec![MappedColumn::new(column, from)],
        };
        FormatMapping {
            envelope: vec![MappedColumn::new("time", "`time`")],
            actor: vec![MappedColumn::new("pid", "`opened.pid`")],
            rows: vec![
                row("opened", Table::FileEvents, "open", "path", "`opened.path`"),
                row("lost", Table::EventLoss, "ring_full", "lost", "`lost`"),
            ],
        }
    }

    fn read(&self, text: &str, scope: &mut FormatScope, rows: &mut Vec<ImportedRow>) -> Result<Reading, RecordRefusal> {
        let Record { sensor: Some(event) } = serde_json::from_str(text)? else { return Ok(Reading::OtherFormat) };
        let origin = match &event.cluster {
            Some(cluster) => scope.other_origin(cluster),
            None => scope.node(event.node.as_deref()),
        };
        let origin = origin.ok_or_else(|| RecordRefusal::content("no node"))?;
        let mut envelope = Envelope { cluster: scope.cluster(event.cluster.as_deref()), ..Envelope::default() };
        if let Some((cpu, seq)) = event.number {
            envelope.stream = Some(StreamId::new("sensor-7"));
            (envelope.cpu, envelope.seq) = (Some(cpu), Some(seq));
        }
        let time = Micros(event.time);
        if let Some(opened) = event.opened {
            let make = || Ok::<_, RecordRefusal>(Actor { pid: Some(opened.pid), ..Actor::default() });
            let actor = scope.actor(&opened, make)?;
            let own = FileColumns { path: Some(opened.path), ..FileColumns::default() };
            let row = ImportedRow::new(origin.clone(), time, "open", envelope.clone(), own);
            rows.push(row.with_actor(actor));
        }
        if let Some(reason) = event.broken {
            return Err(RecordRefusal::content(reason));
        }
        if event.lost.is_some() {
            let own = LossColumns { lost: event.lost, ..LossColumns::default() };
            rows.push(ImportedRow::new(origin, time, "ring_full", envelope, own));
        }
        Ok(if rows.is_empty() { Reading::NoPlace("heartbeat".into()) } else { Reading::Rows })
    }
}

/// The format of the test beside those of the program, as one more line of their list.
static WITH_SENSOR: [&dyn ImportFormat; FORMATS.len() + 1] = {
    let mut formats: [&dyn ImportFormat; FORMATS.len() + 1] = [&Sensor; FORMATS.len() + 1];
    let mut place = 0;
    while place < FORMATS.len() {
        formats[place] = FORMATS[place];
        place += 1;
    }
    formats
};

/// Noon of 2026-11-24 in microseconds.
const NOON: i64 = 1_795_521_600_000_000;

/// A record with these fields, at `seconds` after noon.
fn record(seconds: i64, fields: &str) -> String {
    format!(r#"{{"sensor":{{"time":{},{fields}}}}}"#, NOON + seconds * 1_000_000)
}

fn options(importing: &Importing) -> ImportOptions {
    ImportOptions { formats: &WITH_SENSOR, ..importing.options("sensor.json") }
}

async fn import_all(importing: &Importing, input: &str) -> ImportReport {
    let input = Cursor::new(input.to_owned());
    let report = importing.import_to(&importing.log, options(importing), input).await.unwrap();
    importing.drain().await;
    let without_place: u64 = report.without_place.values().sum();
    assert_eq!(report.records, report.added + report.already_there + without_place + report.rejected, "{report:?}");
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_any_table_with_and_without_an_actor() {
    let input = [
        record(1, r#""node":"n","opened":{"pid":7,"path":"/etc/shadow"},"lost":3"#),
        record(2, r#""node":"n","lost":4"#),
        record(3, r#""node":"n""#),
        record(4, r#""lost":5"#),
        record(5, r#""node":"n","opened":{"pid":8,"path":"/x"},"broken":"the disk is upside down""#),
        record(6, r#""cluster":"prod","lost":6"#),
        record(7, r#""node":"n","opened":{"pid":9,"path":"/y"},"lost":7,"number":[2,40]"#),
        record(8, r#""node":"n","opened":{"pid":9,"path":"/y"},"lost":7,"number":[3,40]"#),
        // Its `time` is not what Tetragon has under that name.
        format!(r#"{{"time":5,{}"#, record(9, r#""node":"n","lost":8"#).trim_start_matches('{')),
        exec("n", 1),
    ];
    let importing = Importing::new();
    let report = import_all(&importing, &input.join("\n")).await;
    assert_eq!((report.records, report.added, report.rows, report.already_there), (10, 7, 10, 0));
    assert_eq!(report.without_place, [("heartbeat".to_owned(), 1)].into());
    let rejected: Vec<_> = report.first_rejects.iter().map(|reject| (reject.line, &*reject.reason)).collect();
    assert_eq!(rejected, [(4, "no node"), (5, "the disk is upside down")]);

    let columns = "time, node, cluster, source, stream, cpu, activity, action, count";
    let files = importing.rows(Table::FileEvents, &format!("{columns}, pid, path")).await;
    assert_eq!(
        files.iter().map(|row| row.join(" | ")).collect::<Vec<_>>(),
        [
            "2026-11-24T12:00:01Z | n | - | sensor | sensor:n | 0 | open | observed | 1 | 7 | /etc/shadow",
            "2026-11-24T12:00:07Z | n | - | sensor | sensor-7 | 2 | open | observed | 1 | 9 | /y",
            "2026-11-24T12:00:08Z | n | - | sensor | sensor-7 | 3 | open | observed | 1 | 9 | /y",
        ]
    );
    let losses = importing.rows(Table::EventLoss, &format!("{columns}, lost")).await;
    assert_eq!(
        losses.iter().map(|row| row.join(" | ")).collect::<Vec<_>>(),
        [
            "2026-11-24T12:00:01Z | n | - | sensor | sensor:n | 0 | ring_full | observed | 1 | 3",
            "2026-11-24T12:00:02Z | n | - | sensor | sensor:n | 0 | ring_full | observed | 1 | 4",
            "2026-11-24T12:00:06Z | - | prod | sensor | sensor:prod | 0 | ring_full | observed | 1 | 6",
            "2026-11-24T12:00:07Z | n | - | sensor | sensor-7 | 2 | ring_full | observed | 1 | 7",
            "2026-11-24T12:00:08Z | n | - | sensor | sensor-7 | 3 | ring_full | observed | 1 | 7",
            "2026-11-24T12:00:09Z | n | - | sensor | sensor:n | 0 | ring_full | observed | 1 | 8",
        ]
    );
    // Rows of one record have numbers of their own, unless the format sets them.
    let file_seqs = importing.rows(Table::FileEvents, "seq").await;
    let loss_seqs = importing.rows(Table::EventLoss, "seq").await;
    assert_ne!(file_seqs[0], loss_seqs[0]);
    assert_eq!((&*file_seqs[1][0], &*loss_seqs[3][0]), ("40", "40"));
    assert_eq!(importing.rows(Table::ProcessEvents, "source, stream").await, [["tetragon", "tetragon:n"]]);

    let before = importing.everything().await;
    let report = import_all(&importing, &input.join("\n")).await;
    assert_eq!((report.records, report.added, report.rows, report.already_there), (10, 0, 0, 7));
    assert_eq!(importing.everything().await, before);
}

/// The tables of a record are appended one after the other, so its rows may arrive in the lake one by one.
#[tokio::test(flavor = "multi_thread")]
async fn killed_between_the_rows_of_a_record() {
    let input: String =
        (0..50).map(|number| record(number, r#""node":"n","opened":{"pid":7,"path":"/a"},"lost":1"#) + "\n").collect();
    for acts in [&[Act::Take, Act::Hang][..], &[Act::Take, Act::TakeAndHang], &[Act::Hang]] {
        let importing = Importing::new();
        let acting = Acting::new(&importing.log, acts);
        tokio::select! {
            report = importing.import_to(&acting, options(&importing), Cursor::new(input.clone())) => panic!("{report:?}"),
            () = acting.hanging.notified() => {}
        }
        importing.drain().await;
        let before = all_once(&importing).await as u64;
        let report = import_all(&importing, &input).await;
        assert_eq!(report.rows, 100 - before, "{acts:?}");
        assert_eq!(report.added, if before == 100 { 0 } else { 50 }, "{acts:?}");
        assert_eq!(importing.rows(Table::FileEvents, "seq").await.len(), 50, "{acts:?}");
        assert_eq!(importing.rows(Table::EventLoss, "seq").await.len(), 50, "{acts:?}");
    }
}

//! Messages of a newer release: their partition waits, the others go on, and an upgrade loses nothing.

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use kerntrail_lake::Lake;
use kerntrail_pipeline::{Pipeline, PipelineError};
use kerntrail_schemas::history::MessageColumns;
use kerntrail_schemas::identity::StreamId;
use kerntrail_schemas::tables::{Actor, ProcessColumns};
use kerntrail_schemas::{SchemaHistory, Table, TableBatch, TableBuilder};
use kerntrail_transport::{Codec, EmbeddedLog, EmbeddedOptions, EventLog, Group, Holds};
use metrics_exporter_prometheus::PrometheusBuilder;

use crate::support::{config, envelope, numbers, rows, running, seqs, topic, until};

/// Two releases: the second has two columns that the first has not, one of the actor and one of a table. Together they
/// have the columns of this one, as the lake has.
struct Releases {
    first: Codec,
    second: Codec,
}

impl Releases {
    fn new() -> Self {
        let mut columns = MessageColumns::declared();
        let own = columns.own.get_mut(&Table::ProcessEvents).unwrap();
        for column in columns.actor.iter_mut().chain(own) {
            column.since = if ["tty", "exit_code"].contains(&column.name) { 2 } else { 1 };
        }
        let release = |version| Codec::new(Arc::new(SchemaHistory::new(&columns, version)));
        Self { first: release(1), second: release(2) }
    }
}

/// Batch `batch` of `node`, with ten rows: as a release with `codec` writes it.
async fn append(log: &EmbeddedLog, codec: &Codec, node: &str, batch: i64) {
    let mut builder = TableBuilder::<ProcessColumns>::default();
    let actor = Arc::new(Actor { pid: Some(7), tty: Some("pts/0".into()), ..Actor::default() });
    for seq in batch * 10..batch * 10 + 10 {
        let own = ProcessColumns { exit_code: Some(3), ..ProcessColumns::default() };
        builder.append(&envelope(seq), Some(&actor), &own);
    }
    let rows = builder.finish().unwrap();
    let layout = codec.history().newest(Table::ProcessEvents).unwrap();
    let rows = TableBatch {
        table: rows.table,
        actors: Some(with_columns(rows.actors.as_ref().unwrap(), layout.actors.as_ref().unwrap())),
        events: with_columns(&rows.events, &layout.events),
    };
    let stream = StreamId::new(format!("stream of {node}"));
    let messages = codec.messages(&rows, node, &stream, batch).unwrap();
    log.append(&topic(Table::ProcessEvents), messages).await.unwrap();
}

fn with_columns(batch: &RecordBatch, schema: &arrow::datatypes::SchemaRef) -> RecordBatch {
    let columns = schema.fields().iter().map(|field| batch.column_by_name(field.name()).unwrap().clone());
    RecordBatch::try_new(schema.clone(), columns.collect()).unwrap()
}

struct Bed {
    log: Arc<EmbeddedLog>,
    lake: Arc<Lake>,
    holds: Holds,
}

impl Bed {
    async fn new(folder: &Path) -> Self {
        let options = EmbeddedOptions { partitions: 3, ..EmbeddedOptions::default() };
        let log = Arc::new(EmbeddedLog::open(folder.join("log"), options).await.unwrap());
        let lake = Arc::new(Lake::open(folder.join("lake").to_str().unwrap(), "acme").unwrap());
        Self { log, lake, holds: Holds::default() }
    }

    fn pipeline(&self, folder: &Path, codec: &Codec) -> Arc<Pipeline> {
        let log = Arc::clone(&self.log) as Arc<dyn EventLog>;
        let pipeline = Pipeline::new(log, Arc::clone(&self.lake), config(folder));
        Arc::new(pipeline.with_codec(codec.clone()).with_holds(self.holds.clone()))
    }

    /// Rows in the lake, and how many of them have the columns of the second release.
    async fn rows(&self) -> (usize, usize) {
        let new = "case when tty = 'pts/0' and exit_code = 3 then 1 when tty is null and exit_code is null then 0 end";
        let rows = numbers(&self.lake, Table::ProcessEvents, new).await;
        (rows.len(), rows.iter().filter(|new| **new == 1).count())
    }

    /// The sum of what the group has committed.
    async fn committed(&self) -> i64 {
        let group = Group("pipeline".into());
        let committed = self.log.committed(&group, &topic(Table::ProcessEvents)).await.unwrap();
        committed.iter().map(|position| position.next).sum()
    }
}

/// Two nodes in different partitions.
async fn two_nodes(log: &EmbeddedLog, codec: &Codec) -> [String; 2] {
    let extent = async |log: &EmbeddedLog| log.end(&topic(Table::ProcessEvents)).await.unwrap();
    append(log, codec, "node-0", 0).await;
    let first = extent(log).await;
    for number in 1.. {
        let node = format!("node-{number}");
        append(log, codec, &node, 0).await;
        let partitions_in_use = extent(log).await.iter().filter(|end| end.next > 0).count();
        if partitions_in_use == 2 {
            assert_eq!(first.iter().filter(|end| end.next > 0).count(), 1);
            return ["node-0".to_owned(), node];
        }
    }
    unreachable!("three partitions");
}

#[tokio::test]
async fn a_partition_waits_for_the_upgrade_and_the_others_continue() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let folder = tempfile::tempdir().unwrap();
    let (bed, releases) = (Bed::new(folder.path()).await, Releases::new());
    let [held, other] = two_nodes(&bed.log, &releases.first).await;
    let before = bed.log.end(&topic(Table::ProcessEvents)).await.unwrap().iter().map(|end| end.next).sum::<i64>();
    append(&bed.log, &releases.second, &held, 1).await;
    append(&bed.log, &releases.first, &held, 2).await;
    append(&bed.log, &releases.first, &other, 1).await;

    let first = bed.pipeline(folder.path(), &releases.first);
    let work = async {
        until("one partition is held", || async { bed.holds.all().len() == 1 }).await;
        let refused = first.drain().await;
        assert!(matches!(refused, Err(PipelineError::Held { .. })), "{refused:?}");
        // Also what comes later goes on.
        append(&bed.log, &releases.first, &other, 2).await;
        let expected = (before as usize + 2) * 10;
        until("the other partition is stored", || async { bed.rows().await.0 == expected }).await;
        let reason = bed.holds.all()[0].to_string();
        assert!(reason.starts_with("pipeline holds kerntrail.acme.process_events/"), "{reason}");
        assert!(reason.contains("schema version 2 is newer than 1"), "{reason}");
        let gauge = r#"kerntrail_transport_held_partitions{reader="pipeline",table="process_events"} 1"#;
        let shown = recorder.handle().render();
        assert!(shown.contains(gauge), "{shown}");
    };
    running(&first, work).await.1.unwrap();
    let (rows, with_new_columns) = bed.rows().await;
    assert_eq!((rows, with_new_columns), ((before as usize + 2) * 10, 0));
    assert_eq!(bed.committed().await, before + 2);
    assert!(!folder.path().join("rejected").exists(), "nothing is rejected");
    assert!(seqs(&bed.lake, Table::EventLoss).await.is_empty(), "nothing is lost");

    // The same release meets it again; the next one takes it and what follows it.
    let first = bed.pipeline(folder.path(), &releases.first);
    let work = until("it is held again", || async { bed.holds.all().len() == 1 });
    running(&first, work).await.1.unwrap();
    let second = bed.pipeline(folder.path(), &releases.second);
    // Looked at while it runs: what a pipeline holds is released when it ends.
    let work = async {
        second.drain().await.unwrap();
        bed.holds.all()
    };
    assert_eq!(running(&second, work).await.0, []);
    assert_eq!(bed.rows().await, ((before as usize + 4) * 10, 10));
    assert_eq!(bed.committed().await, before + 4);

    // Rolled back: the release before waits at what the next one has written since, and takes what it can.
    append(&bed.log, &releases.first, &held, 3).await;
    append(&bed.log, &releases.second, &held, 4).await;
    append(&bed.log, &releases.first, &other, 3).await;
    let first = bed.pipeline(folder.path(), &releases.first);
    let work = async {
        until("it is held again", || async { bed.holds.all().len() == 1 }).await;
        until("the rest is stored", || async { bed.rows().await.0 == (before as usize + 6) * 10 }).await;
    };
    running(&first, work).await.1.unwrap();
    let second = bed.pipeline(folder.path(), &releases.second);
    running(&second, second.drain()).await.0.unwrap();
    assert_eq!(bed.rows().await, ((before as usize + 7) * 10, 20));
    assert_eq!(bed.log.held_bytes(), 0, "the log keeps nothing that the lake has");
}

/// Sets the version that the lake of `folder` says the progress of `table` has.
fn set_progress_version(folder: &Path, table: Table, from: u32, to: u32) {
    let first = folder.join(format!("lake/acme/{}/_delta_log/00000000000000000000.json", table.name()));
    let property = |version| format!(r#""kerntrail.progressVersion":"{version}""#);
    let text = std::fs::read_to_string(&first).unwrap();
    assert!(text.contains(&property(from)), "{text}");
    std::fs::write(&first, text.replace(&property(from), &property(to))).unwrap();
}

#[tokio::test]
async fn a_table_waits_when_a_newer_release_recorded_its_progress_and_the_others_continue() {
    let folder = tempfile::tempdir().unwrap();
    let (mut bed, codec) = (Bed::new(folder.path()).await, Codec::current());
    append(&bed.log, &codec, "node", 0).await;
    let pipeline = bed.pipeline(folder.path(), &codec);
    running(&pipeline, pipeline.drain()).await.0.unwrap();
    let committed = bed.committed().await;

    let fresh = || Arc::new(Lake::open(folder.path().join("lake").to_str().unwrap(), "acme").unwrap());
    set_progress_version(folder.path(), Table::ProcessEvents, 2, 3);
    bed.lake = fresh();
    append(&bed.log, &codec, "node", 1).await;
    let losses = codec.messages(&rows(Table::EventLoss, 0, 5), "node", &StreamId::new("losses"), 0).unwrap();
    bed.log.append(&topic(Table::EventLoss), losses).await.unwrap();
    let pipeline = bed.pipeline(folder.path(), &codec);
    let work = async {
        until("all partitions of the table are held", || async { bed.holds.all().len() == 3 }).await;
        until("the other table is stored", || async { seqs(&bed.lake, Table::EventLoss).await.len() == 5 }).await;
        let reasons: Vec<String> = bed.holds.all().iter().map(ToString::to_string).collect();
        assert!(reasons.iter().all(|reason| reason.contains("progress version 3 is newer than 2")), "{reasons:?}");
        assert!(reasons[0].starts_with("pipeline holds kerntrail.acme.process_events/"), "{reasons:?}");
    };
    running(&pipeline, work).await.1.unwrap();
    assert_eq!((bed.rows().await.0, bed.committed().await), (10, committed), "nothing is taken or committed");

    // The release that knows the form goes on from there.
    set_progress_version(folder.path(), Table::ProcessEvents, 3, 2);
    bed.lake = fresh();
    let pipeline = bed.pipeline(folder.path(), &codec);
    running(&pipeline, pipeline.drain()).await.0.unwrap();
    assert_eq!((bed.rows().await.0, bed.committed().await), (20, committed + 1));
}

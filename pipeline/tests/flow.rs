//! From the log to the lake, in good weather and when partitions move.

use std::sync::Arc;
use std::time::Duration;

use kerntrail_common::period::Period;
use kerntrail_common::size::Size;
use kerntrail_lake::{Lake, Progress};
use kerntrail_pipeline::{PipelineConfig, PipelineError};
use kerntrail_schemas::Table;
use kerntrail_transport::{EventLog, Group, Polled};
use tokio_util::sync::CancellationToken;

use crate::memory_log::{Entry, MemoryLog};
use crate::support::{config, message, numbers, pipeline, place, running, seqs, topic, until};

fn lake(folder: &tempfile::TempDir) -> Arc<Lake> {
    Arc::new(Lake::open(folder.path().join("lake").to_str().unwrap(), "acme").unwrap())
}

#[tokio::test]
async fn rows_of_all_tables_arrive_with_their_progress() {
    let folder = tempfile::tempdir().unwrap();
    let (log, lake) = (MemoryLog::new(1), lake(&folder));
    for batch in 0..20 {
        log.push(
            &place(Table::ProcessEvents, 0),
            Entry::Message(message(Table::ProcessEvents, "s", batch, batch * 10, 10)),
        );
        log.push(&place(Table::EventLoss, 0), Entry::Message(message(Table::EventLoss, "s", batch, batch, 1)));
    }
    let pipeline = pipeline(&log, &lake, config(folder.path()));
    let started = chrono::Utc::now().timestamp_micros();
    let (drained, ended) = running(&pipeline, pipeline.drain()).await;
    drained.unwrap();
    ended.unwrap();
    assert_eq!(seqs(&lake, Table::ProcessEvents).await, (0..200).collect::<Vec<_>>());
    assert_eq!(seqs(&lake, Table::EventLoss).await, (0..20).collect::<Vec<_>>());
    let ingested = numbers(&lake, Table::ProcessEvents, "cast(ingest_time as bigint)").await;
    assert!(ingested.iter().all(|time| *time >= started && *time <= chrono::Utc::now().timestamp_micros()));
    assert!(lake.existing(Table::FileEvents).await.unwrap().is_none(), "a table without rows is not made");

    let progress = lake.existing(Table::ProcessEvents).await.unwrap().unwrap();
    let progress = progress.progress("kerntrail.acme.process_events/0").unwrap();
    assert_eq!((progress.next_offset, progress.batches), (20, [("s".to_owned(), 19)].into()));
    let offsets = log.committed(&Group("pipeline".into()), &topic(Table::ProcessEvents)).await.unwrap();
    assert_eq!(offsets[0].next, 20);
}

#[tokio::test]
async fn resent_batches_are_dropped_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (log, lake) = (MemoryLog::new(1), lake(&folder));
    let send = |stream: &str, batch| {
        let entry = Entry::Message(message(Table::ProcessEvents, stream, batch, batch, 1));
        log.push(&place(Table::ProcessEvents, 0), entry);
    };
    [0, 1, 0, 1, 2].into_iter().for_each(|batch| send("s", batch));
    let first = pipeline(&log, &lake, config(folder.path()));
    running(&first, first.drain()).await.0.unwrap();
    [1, 2, 3, 2].into_iter().for_each(|batch| send("s", batch));
    let again = Arc::new(Lake::open(folder.path().join("lake").to_str().unwrap(), "acme").unwrap());
    let second = pipeline(&log, &again, config(folder.path()));
    running(&second, second.drain()).await.0.unwrap();
    assert_eq!(seqs(&again, Table::ProcessEvents).await, [0, 1, 2, 3]);
}

#[tokio::test]
async fn a_cancel_commits_buffered_rows() {
    let folder = tempfile::tempdir().unwrap();
    let (log, lake) = (MemoryLog::new(1), lake(&folder));
    log.push(&place(Table::ProcessEvents, 0), Entry::Message(message(Table::ProcessEvents, "s", 0, 0, 5)));
    let patient = PipelineConfig { flush_interval: Period(Duration::from_secs(3600)), ..config(folder.path()) };
    let pipeline = pipeline(&log, &lake, patient);
    let polled_all = until("the message was polled", || async { log.delivered(0) == 1 });
    let (_, ended) = running(&pipeline, polled_all).await;
    ended.unwrap();
    assert_eq!(seqs(&lake, Table::ProcessEvents).await, (0..5).collect::<Vec<_>>());
}

#[tokio::test]
async fn rows_are_committed_at_the_bounds_of_rows_and_bytes() {
    for bounded in [
        PipelineConfig { flush_rows: 50, ..PipelineConfig::default() },
        PipelineConfig { flush_size: Size(20_000), ..PipelineConfig::default() },
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (log, lake) = (MemoryLog::new(1), lake(&folder));
        for batch in 0..200 {
            log.push(
                &place(Table::ProcessEvents, 0),
                Entry::Message(message(Table::ProcessEvents, "s", batch, batch * 10, 10)),
            );
        }
        let defaults = config(folder.path());
        let pipeline = pipeline(
            &log,
            &lake,
            PipelineConfig {
                flush_interval: Period(Duration::from_secs(3600)),
                tenant: defaults.tenant,
                rejected_dir: defaults.rejected_dir,
                ..bounded
            },
        );
        let most = until("most rows are there", || async { seqs(&lake, Table::ProcessEvents).await.len() >= 1000 });
        running(&pipeline, most).await.1.unwrap();
        // A cancel commits what is held; what was not polled yet stays in the log.
        let found = seqs(&lake, Table::ProcessEvents).await;
        assert!(found.len() >= 1000);
        assert_eq!(found, (0..found.len() as i64).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn partitions_move_between_two_pipelines() {
    let folder = tempfile::tempdir().unwrap();
    let (log, lake) = (MemoryLog::new(2), lake(&folder));
    let places = [place(Table::ProcessEvents, 0), place(Table::ProcessEvents, 1)];
    let send = |number: usize, batch: i64| {
        let stream = format!("s{number}");
        let seq = number as i64 * 1000 + batch;
        log.push(&places[number], Entry::Message(message(Table::ProcessEvents, &stream, batch, seq, 1)));
    };
    let cancel = CancellationToken::new();
    let start = |lake: &Arc<Lake>| {
        let pipeline = pipeline(&log, lake, config(folder.path()));
        let cancel = cancel.clone();
        let run = Arc::clone(&pipeline);
        (pipeline, tokio::spawn(async move { run.run(cancel).await }))
    };
    let (first, first_task) = start(&lake);
    (0..20).for_each(|batch| send(0, batch));
    (0..20).for_each(|batch| send(1, batch));
    first.drain().await.unwrap();

    // The second takes partition 1 over before the first has let go of it.
    let others = Arc::new(Lake::open(folder.path().join("lake").to_str().unwrap(), "acme").unwrap());
    log.notify(1, Polled::Assigned(vec![places[1].clone()]));
    (20..40).for_each(|batch| send(1, batch));
    let (second, second_task) = start(&others);
    until("the second reads", || async { log.consumers() == 2 }).await;
    (40..60).for_each(|batch| send(1, batch));
    log.notify(0, Polled::Revoked(vec![places[1].clone()]));
    (60..80).for_each(|batch| send(1, batch));
    (20..40).for_each(|batch| send(0, batch));
    second.drain().await.unwrap();
    cancel.cancel();
    first_task.await.unwrap().unwrap();
    second_task.await.unwrap().unwrap();
    assert_eq!(seqs(&others, Table::ProcessEvents).await, (0..40).chain(1000..1080).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_log_that_was_replaced_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let (log, lake) = (MemoryLog::new(1), lake(&folder));
    let partition = place(Table::ProcessEvents, 0);
    let taken = Progress { partition: partition.to_string(), next_offset: 99, ..Progress::default() };
    lake.table(Table::ProcessEvents).await.unwrap().append(vec![], &[taken]).await.unwrap();
    log.push(&partition, Entry::Message(message(Table::ProcessEvents, "s", 0, 0, 1)));
    let pipeline = pipeline(&log, &lake, config(folder.path()));
    let error = pipeline.run(CancellationToken::new()).await.unwrap_err();
    assert!(matches!(error, PipelineError::LogReplaced { end: 1, taken: 99, .. }), "{error}");
    assert!(matches!(pipeline.drain().await, Ok(())), "the lake has more than the log");
}

#[tokio::test]
async fn draining_a_pipeline_that_ended_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let (log, lake) = (MemoryLog::new(1), lake(&folder));
    let pipeline = pipeline(&log, &lake, config(folder.path()));
    running(&pipeline, std::future::ready(())).await.1.unwrap();
    pipeline.drain().await.unwrap();
    log.push(&place(Table::ProcessEvents, 0), Entry::Message(message(Table::ProcessEvents, "s", 0, 0, 1)));
    assert!(matches!(pipeline.drain().await, Err(PipelineError::Ended)));
}

#[tokio::test]
async fn maintenance_keeps_files_few_while_rows_arrive() {
    let folder = tempfile::tempdir().unwrap();
    let (log, lake) = (MemoryLog::new(1), lake(&folder));
    let busy = PipelineConfig {
        flush_interval: Period(Duration::ZERO),
        flush_rows: 1,
        compact_interval: Period(Duration::from_millis(20)),
        ..config(folder.path())
    };
    let pipeline = pipeline(&log, &lake, busy);
    let work = async {
        for batch in 0..150 {
            log.push(
                &place(Table::ProcessEvents, 0),
                Entry::Message(message(Table::ProcessEvents, "s", batch, batch, 1)),
            );
            pipeline.drain().await.unwrap();
        }
        until("files are merged", || async {
            let table = lake.existing(Table::ProcessEvents).await.unwrap().unwrap();
            table.files().len() <= 33
        })
        .await;
    };
    running(&pipeline, work).await.1.unwrap();
    assert_eq!(seqs(&lake, Table::ProcessEvents).await, (0..150).collect::<Vec<_>>());
}

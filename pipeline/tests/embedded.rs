//! With the event log that a single machine uses: lives that end anywhere, and messages that leave the log when taken.

use std::path::Path;
use std::sync::Arc;

use kerntrail_lake::Lake;
use kerntrail_pipeline::Pipeline;
use kerntrail_schemas::Table;
use kerntrail_transport::{EmbeddedLog, EmbeddedOptions, EventLog};

use crate::support::{config, message, running, seqs, topic, until};

const LIVES: i64 = 8;
const BATCHES: i64 = 12;

async fn open(folder: &Path) -> (Arc<EmbeddedLog>, Arc<Lake>, Arc<Pipeline>) {
    let options = EmbeddedOptions { partitions: 3, ..EmbeddedOptions::default() };
    let log = Arc::new(EmbeddedLog::open(folder.join("log"), options).await.unwrap());
    let lake = Arc::new(Lake::open(folder.join("lake").to_str().unwrap(), "acme").unwrap());
    let pipeline = Pipeline::new(Arc::clone(&log) as Arc<dyn EventLog>, Arc::clone(&lake), config(folder));
    (log, lake, Arc::new(pipeline))
}

/// Sends batch `batch` of two nodes, and the one before it once more.
async fn send(log: &EmbeddedLog, batch: i64) {
    for node in 0..2 {
        for batch in [batch - 1, batch].into_iter().filter(|batch| *batch >= 0) {
            let mut message =
                message(Table::ProcessEvents, &format!("s{node}"), batch, node * 100_000 + batch * 10, 10);
            message.headers.node = format!("node {node}");
            log.append(&topic(Table::ProcessEvents), vec![message]).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_that_end_anywhere_store_each_row_once() {
    let folder = tempfile::tempdir().unwrap();
    for life in 0..LIVES {
        let (log, lake, pipeline) = open(folder.path()).await;
        let before = seqs(&lake, Table::ProcessEvents).await.len();
        let work = async {
            for batch in life * BATCHES..(life + 1) * BATCHES {
                send(&log, batch).await;
            }
            until("something was committed", || async { seqs(&lake, Table::ProcessEvents).await.len() > before }).await;
        };
        // The end of the work cuts the pipeline off, with whatever it holds and does just then.
        tokio::select! {
            () = work => {}
            ended = running(&pipeline, std::future::pending::<()>()) => panic!("{:?}", ended.1),
        }
        drop(pipeline);
        // The task that was cut off lets go of the log a moment later.
        until("the log is free", || async { Arc::strong_count(&log) == 1 }).await;
    }
    let (log, lake, pipeline) = open(folder.path()).await;
    let (drained, ended) = running(&pipeline, pipeline.drain()).await;
    drained.unwrap();
    ended.unwrap();
    let of_node = |node: i64| (0..LIVES * BATCHES * 10).map(move |seq| node * 100_000 + seq);
    assert_eq!(seqs(&lake, Table::ProcessEvents).await, of_node(0).chain(of_node(1)).collect::<Vec<_>>());
    assert_eq!(log.held_bytes(), 0, "the log keeps nothing that the lake has");
}

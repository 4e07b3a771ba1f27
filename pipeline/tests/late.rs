//! Messages sent again when the lake has forgotten their stream.

use std::sync::Arc;

use kerntrail_lake::Lake;
use kerntrail_schemas::Table;

use crate::memory_log::{Entry, MemoryLog};
use crate::support::{NOON, config, message, pipeline, place, running, seqs};

const DAY_MS: i64 = 86_400_000;

/// Takes all that is in `log` into the lake of `folder`, whose clock shows `days` after the rows' day.
async fn drain(log: &MemoryLog, folder: &std::path::Path, days: i64) -> Arc<Lake> {
    let lake = Lake::open(folder.to_str().unwrap(), "acme").unwrap();
    let lake = Arc::new(lake.with_clock(move || NOON / 1000 + days * DAY_MS));
    let pipeline = pipeline(log, &lake, config(folder));
    let (drained, ended) = running(&pipeline, pipeline.drain()).await;
    drained.unwrap();
    ended.unwrap();
    lake
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_is_resent_after_its_stream_has_expired_is_stored_once() {
    let folder = tempfile::tempdir().unwrap();
    let log = MemoryLog::new(1);
    let processes = place(Table::ProcessEvents, 0);
    let send = |stream: &str, batch: i64, first: i64| {
        log.push(&processes, Entry::Message(message(Table::ProcessEvents, stream, batch, first, 10)));
    };
    for batch in 0..4 {
        send("stream", batch, batch * 10);
    }
    let lake = drain(&log, folder.path(), 0).await;
    let known = lake.existing(Table::ProcessEvents).await.unwrap().unwrap();
    assert_eq!(known.progress(&processes.to_string()).unwrap().batches, [("stream".to_owned(), 3)].into());

    // Its node was off for two months, and had not heard that the last two batches were stored.
    for (batch, first) in [(2, 20), (3, 30), (4, 40), (5, 50)] {
        send("stream", batch, first);
    }
    // Another one was off as well, and has news only.
    send("other", 7, 60);
    let lake = drain(&log, folder.path(), 60).await;
    assert_eq!(seqs(&lake, Table::ProcessEvents).await, (0..70).collect::<Vec<_>>());
    let known = lake.existing(Table::ProcessEvents).await.unwrap().unwrap();
    let progress = known.progress(&processes.to_string()).unwrap();
    assert_eq!(progress.batches, [("stream".to_owned(), 5), ("other".to_owned(), 7)].into());
    assert_eq!(progress.next_offset, 9);
}

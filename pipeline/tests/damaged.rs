//! Bytes that are not a message: set aside, counted once, and blocking nothing.

use std::path::Path;
use std::sync::Arc;

use kerntrail_lake::Lake;
use kerntrail_schemas::Table;
use serde_json::Value;

use crate::memory_log::{Entry, MemoryLog};
use crate::support::{config, damaged, message, numbers, pipeline, place, running, seqs};

fn description(folder: &Path, name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join("rejected").join(name)).unwrap()).unwrap()
}

#[tokio::test]
async fn a_damaged_message_becomes_a_loss_row_and_reading_continues() {
    let folder = tempfile::tempdir().unwrap();
    let log = MemoryLog::new(1);
    let lake = Arc::new(Lake::open(folder.path().join("lake").to_str().unwrap(), "acme").unwrap());
    let (processes, losses) = (place(Table::ProcessEvents, 0), place(Table::EventLoss, 0));
    let good = |table, batch| Entry::Message(message(table, "s", batch, batch * 10, 10));
    let wrong_count = |mut message: kerntrail_transport::Message| {
        message.headers.rows += 1;
        Entry::Message(message)
    };
    for entry in [
        good(Table::ProcessEvents, 0),
        Entry::Message(damaged(message(Table::ProcessEvents, "s", 1, 10, 10))),
        good(Table::ProcessEvents, 2),
        Entry::Damaged,
        Entry::Damaged,
        wrong_count(message(Table::ProcessEvents, "s", 3, 30, 10)),
        good(Table::ProcessEvents, 4),
        // A damaged resend of what was taken is not a loss.
        Entry::Message(damaged(message(Table::ProcessEvents, "s", 4, 40, 10))),
    ] {
        log.push(&processes, entry);
    }
    log.push(&losses, Entry::Message(damaged(message(Table::EventLoss, "s", 0, 0, 2))));
    log.push(&losses, good(Table::EventLoss, 1));

    for life in 0..2 {
        let pipeline = pipeline(&log, &lake, config(folder.path()));
        let (drained, ended) = running(&pipeline, pipeline.drain()).await;
        drained.unwrap();
        ended.unwrap();
        let expected: Vec<i64> = [0..10, 20..30, 40..50].into_iter().flatten().collect();
        assert_eq!(seqs(&lake, Table::ProcessEvents).await, expected, "life {life}");
        let lost = "case when activity = 'decode_error' then seq * 100 + coalesce(lost, 99) else -1 end";
        let rows = numbers(&lake, Table::EventLoss, lost).await;
        let of_events: Vec<i64> = [vec![-1; 10], vec![2, 110, 399, 499, 511]].concat();
        assert_eq!(rows, of_events, "life {life}");
    }

    let about = description(folder.path(), "kerntrail.acme.process_events-0-1.json");
    assert_eq!(
        (&about["offset"], &about["headers"]["batch"], &about["headers"]["rows"]),
        (&1.into(), &1.into(), &10.into())
    );
    let payload = folder.path().join("rejected/kerntrail.acme.process_events-0-1.bin");
    assert_eq!(std::fs::read(payload).unwrap(), b"no rows of any table");
    assert_eq!(description(folder.path(), "kerntrail.acme.process_events-0-3.json")["reason"], "no headers");
    let reason = description(folder.path(), "kerntrail.acme.process_events-0-5.json")["reason"].clone();
    assert_eq!(reason, "the header says 11 rows, but there are 10");
    assert_eq!(std::fs::read_dir(folder.path().join("rejected")).unwrap().count(), 10);
}

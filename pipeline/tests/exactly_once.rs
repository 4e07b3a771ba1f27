//! Every stage fails or dies, before and after it took effect; in the end each row is in the lake once.

use std::sync::Arc;
use std::time::Duration;

use kerntrail_common::period::Period;
use kerntrail_lake::Lake;
use kerntrail_pipeline::PipelineConfig;
use kerntrail_schemas::Table;

use crate::faulty_store::{Fault, Spot, faulty};
use crate::memory_log::{Entry, MemoryLog, Step};
use crate::support::{config, damaged, message, numbers, pipeline, place, running, seqs};

/// A place where a life of the pipeline meets a fault.
#[derive(Clone, Debug)]
enum Trouble {
    Store(Spot),
    LogFails(Step),
    LogStops(Step),
}

fn troubles() -> Vec<Trouble> {
    let faults = [Fault::FailBefore, Fault::FailAfter, Fault::StopBefore, Fault::StopAfter];
    let mut troubles = Vec::new();
    for path_has in ["process_events/date", "process_events/_delta_log", "event_loss/date", "event_loss/_delta_log"] {
        for (fault, nth) in faults.into_iter().flat_map(|fault| [0, 1, 2].map(|nth| (fault, nth))) {
            troubles.push(Trouble::Store(Spot { path_has, nth, fault }));
        }
    }
    for step in [Step::Poll, Step::CommitBefore, Step::CommitAfter] {
        troubles.push(Trouble::LogFails(step));
        troubles.push(Trouble::LogStops(step));
    }
    troubles
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_row_is_stored_once_whatever_fails_or_is_killed() {
    for trouble in troubles() {
        let folder = tempfile::tempdir().unwrap();
        let (url, faults) = faulty(folder.path());
        let log = MemoryLog::new(1);
        let processes = place(Table::ProcessEvents, 0);
        for batch in 0..30 {
            let good = message(Table::ProcessEvents, "s", batch, batch * 10, 10);
            let entry = if batch == 13 { damaged(good) } else { good };
            log.push(&processes, Entry::Message(entry));
            // A resend.
            if batch % 7 == 3 {
                log.push(&processes, Entry::Message(message(Table::ProcessEvents, "s", batch, batch * 10, 10)));
            }
        }
        let config = PipelineConfig {
            flush_rows: 40,
            flush_interval: Period(Duration::ZERO),
            compact_interval: Period(Duration::from_secs(3600)),
            ..config(folder.path())
        };
        match &trouble {
            Trouble::Store(spot) => faults.arm([spot.clone()]),
            Trouble::LogFails(step) => log.fail(*step),
            Trouble::LogStops(step) => log.stop(*step),
        }

        // The first life: until it is through, or stuck for good.
        let lake = Arc::new(Lake::open(&url, "acme").unwrap());
        let first = pipeline(&log, &lake, config.clone());
        let life = running(&first, first.drain());
        tokio::select! {
            (drained, ended) = life => {
                drained.unwrap();
                ended.unwrap();
            }
            () = faults.stopped() => {}
            () = log.stopped() => {}
        }
        drop((first, lake));
        log.heal();

        // The second life finds what the first left.
        let lake = Arc::new(Lake::open(&url, "acme").unwrap());
        let second = pipeline(&log, &lake, config);
        let (drained, ended) = running(&second, second.drain()).await;
        drained.unwrap();
        ended.unwrap();
        let expected: Vec<i64> = (0..300).filter(|seq| seq / 10 != 13).collect();
        assert_eq!(seqs(&lake, Table::ProcessEvents).await, expected, "{trouble:?}");
        assert_eq!(numbers(&lake, Table::EventLoss, "lost").await, [10], "{trouble:?}");
        // Not every stage comes more than once.
        if let Trouble::Store(Spot { nth: 0, .. }) = &trouble {
            assert!(faults.all_happened(), "{trouble:?}");
        }
    }
}

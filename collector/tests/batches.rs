//! Rows on their way into the event log.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use kerntrail_collector::CollectorConfig;
use kerntrail_schemas::{SCHEMA_VERSION, Table};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::kernel_records::closed;
use crate::log::{Fault, MemoryLog};
use crate::script::{Rows, Script, Setup, fails};

fn setup(change: impl FnOnce(&mut CollectorConfig)) -> Setup {
    let mut setup = Setup::default();
    change(&mut setup.config);
    setup
}

/// `count` processes that start, one connection each.
fn busy(count: u32) -> Script {
    let (mut script, init) = Script::new();
    for pid in 0..count {
        let process = script.spawn(&init, 10 + pid, &["/bin/nc", "10.0.0.9", "443"]);
        script.push(&process, closed());
    }
    script
}

#[tokio::test]
async fn headers_and_batch_numbers() {
    let setup = setup(|config| {
        config.batch_rows = 10;
        config.tenant = "acme".into();
    });
    let rows = busy(30).run_on(setup).await;
    assert_eq!(rows.0.topics(), ["kerntrail.acme.network_flows", "kerntrail.acme.process_events"]);
    for (table, total) in [(Table::ProcessEvents, 61), (Table::NetworkFlows, 30)] {
        let messages = rows.0.messages(table);
        assert!(messages.len() > 2);
        assert_eq!(messages.iter().map(|message| message.headers.rows).sum::<u32>(), total);
        for (number, message) in messages.iter().enumerate() {
            let headers = &message.headers;
            assert_eq!((headers.batch, headers.schema_version), (number as i64, SCHEMA_VERSION));
            assert_eq!(headers.node, "node-1");
            assert!(headers.rows <= 10 && headers.seq_range.0 <= headers.seq_range.1);
        }
        let pairs = messages.windows(2);
        assert!(
            pairs.into_iter().skip(1).all(|pair| pair[0].headers.seq_range.1 < pair[1].headers.seq_range.0),
            "in order"
        );
    }
}

#[tokio::test]
async fn an_actor_is_sent_once_per_batch() {
    let (mut script, init) = Script::new();
    let process = script.spawn(&init, 10, &["/bin/nc"]);
    for _ in 0..50 {
        script.push(&process, closed());
    }
    let log = script.run().await.0;
    let message = &log.messages(Table::NetworkFlows)[0];
    let batch = kerntrail_transport::codec::decode(Table::NetworkFlows, SCHEMA_VERSION, &message.payload).unwrap();
    assert_eq!((batch.rows(), batch.actors.unwrap().num_rows()), (50, 1));
}

#[tokio::test]
async fn a_batch_is_bounded_by_bytes() {
    let (mut script, init) = Script::new();
    let long = "x".repeat(8_000);
    for pid in 10..60 {
        script.spawn(&init, pid, &["/bin/echo", &long]);
    }
    let rows = script.run_on(setup(|config| config.batch_bytes = 100_000)).await;
    let messages = rows.0.messages(Table::ProcessEvents);
    assert!(messages.len() >= 4 && messages.iter().all(|message| message.headers.rows < 30), "{}", messages.len());
    assert_eq!(rows.of(Table::ProcessEvents).len(), 101);
}

#[tokio::test]
async fn after_a_temporary_failure_the_log_gets_the_same_batches_again() {
    let log = Arc::new(MemoryLog::failing([Fault::Full, Fault::Retriable, Fault::StoredButFailed]));
    let (collector, _) = busy(3).collector(&Setup::default());
    collector.run(Arc::clone(&log) as _, CancellationToken::new()).await.unwrap();
    let messages = log.messages(Table::ProcessEvents);
    let (stored, resent) = messages.split_at(messages.len() / 2);
    assert_eq!(stored, resent, "stored, reported as failed, and resent as it was");
    assert_eq!(Rows(log).of(Table::ProcessEvents).len(), 7);
}

#[tokio::test]
async fn a_permanent_failure_of_the_log_ends_the_collector() {
    let (collector, _) = busy(3).collector(&Setup::default());
    let failed = fails(collector.run(Arc::new(MemoryLog::always(Fault::Final)), CancellationToken::new()).await);
    assert!(failed.contains("cannot append rows to the event log: cannot append to kerntrail.default."), "{failed}");
}

#[tokio::test]
async fn a_slow_log_makes_the_collector_leave_events_in_the_ring() {
    let setup = setup(|config| {
        config.batch_rows = 1;
        config.queue_batches = 2;
    });
    let log = Arc::new(MemoryLog::blocked());
    let (collector, taken) = busy(1_000).collector(&setup);
    let running = tokio::spawn(collector.run(Arc::clone(&log) as _, CancellationToken::new()));
    // One thread: after so many turns the collector has done all it can while the log is blocked.
    for _ in 0..10_000 {
        tokio::task::yield_now().await;
    }
    let most = taken.load(Ordering::Relaxed);
    assert!(most < 20, "{most} records taken though nothing is delivered");
    log.permits.add_permits(1_000_000);
    running.await.unwrap().unwrap();
    assert_eq!(Rows(log).of(Table::ProcessEvents).len(), 2_001);
}

#[tokio::test]
async fn a_cancelled_collector_drains_the_source() {
    let (collector, _) = busy(20).collector(&Setup::default());
    let cancel = CancellationToken::new();
    cancel.cancel();
    let log = Arc::new(MemoryLog::default());
    collector.run(Arc::clone(&log) as _, cancel).await.unwrap();
    let rows = Rows(log);
    assert_eq!(rows.of(Table::ProcessEvents).len(), 41);
    assert_eq!(rows.of(Table::NetworkFlows).len(), 20);
}

#[tokio::test]
async fn a_connection_of_an_unknown_process_has_a_row_without_actor() {
    let (mut script, _) = Script::new();
    script.push(&kerntrail_collector::event::Task::default(), closed());
    let rows = script.run().await.of(Table::NetworkFlows);
    assert_eq!((rows[0]["dst_ip"].as_str(), &rows[0]["pid"]), (Some("10.0.0.9"), &Value::Null));
}

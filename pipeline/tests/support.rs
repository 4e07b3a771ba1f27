//! Messages to send, a pipeline to run, rows to look at.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use bytes::Bytes;
use kerntrail_common::period::Period;
use kerntrail_lake::Lake;
use kerntrail_pipeline::{Pipeline, PipelineConfig, PipelineError};
use kerntrail_schemas::cell::Micros;
use kerntrail_schemas::identity::StreamId;
use kerntrail_schemas::tables::{Actor, Envelope, LossColumns, ProcessColumns};
use kerntrail_schemas::{SCHEMA_VERSION, Table, TableBatch, TableBuilder};
use kerntrail_transport::{Headers, Message, Partition, Topic, codec};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::memory_log::MemoryLog;

/// 2026-11-24T12:00:00Z in microseconds.
pub const NOON: i64 = 1_795_521_600_000_000;

pub fn topic(table: Table) -> Topic {
    Topic { tenant: "acme".into(), table }
}

pub fn place(table: Table, number: i32) -> Partition {
    Partition { topic: topic(table), number }
}

pub fn envelope(seq: i64) -> Envelope {
    let time = Micros(NOON + seq);
    Envelope {
        date: Some(time.day()),
        time: Some(time),
        node: Some("node".into()),
        stream: Some(StreamId::new("stream")),
        cpu: Some(0),
        seq: Some(seq),
        activity: Some("exec".into()),
        ..Envelope::default()
    }
}

/// The rows `first..first + count` of `table`, which has actors or not.
pub fn rows(table: Table, first: i64, count: i64) -> TableBatch {
    if table == Table::EventLoss {
        let mut builder = TableBuilder::<LossColumns>::default();
        for seq in first..first + count {
            builder.append(&envelope(seq), None, &LossColumns { lost: Some(1), ..LossColumns::default() });
        }
        return builder.finish().unwrap();
    }
    let mut builder = TableBuilder::<ProcessColumns>::default();
    let actor = Arc::new(Actor { pid: Some(7), args: Some(vec!["sh".into()]), ..Actor::default() });
    for seq in first..first + count {
        builder.append(&envelope(seq), Some(&actor), &ProcessColumns::default());
    }
    builder.finish().unwrap()
}

/// Batch number `batch` of `stream`: the rows `first..first + count`.
pub fn message(table: Table, stream: &str, batch: i64, first: i64, count: i64) -> Message {
    let rows = rows(table, first, count);
    let headers = Headers {
        schema_version: SCHEMA_VERSION,
        node: "node".into(),
        stream: StreamId::new(stream),
        batch,
        rows: rows.rows() as u32,
        seq_range: (first, first + count - 1),
    };
    Message { headers, payload: codec::encode(&rows).unwrap() }
}

/// The same message with an invalid payload.
pub fn damaged(mut message: Message) -> Message {
    message.payload = Bytes::from_static(b"no rows of any table");
    message
}

pub fn config(folder: &Path) -> PipelineConfig {
    PipelineConfig {
        tenant: "acme".into(),
        flush_interval: Period(Duration::from_millis(10)),
        rejected_dir: folder.join("rejected"),
        ..PipelineConfig::default()
    }
}

pub fn pipeline(log: &MemoryLog, lake: &Arc<Lake>, config: PipelineConfig) -> Arc<Pipeline> {
    Arc::new(Pipeline::new(Arc::new(log.clone()), Arc::clone(lake), config))
}

/// Runs `pipeline` while `work` is done, then cancels it and gives what it returned.
pub async fn running<T>(pipeline: &Arc<Pipeline>, work: impl Future<Output = T>) -> (T, Result<(), PipelineError>) {
    let cancel = CancellationToken::new();
    // Dropping this future is kill -9.
    let task = AbortOnDropHandle::new(tokio::spawn({
        let (pipeline, cancel) = (Arc::clone(pipeline), cancel.clone());
        async move { pipeline.run(cancel).await }
    }));
    let done = work.await;
    cancel.cancel();
    (done, task.await.unwrap())
}

/// One column of whole numbers of the lake, sorted; empty when there is no table.
pub async fn numbers(lake: &Lake, table: Table, column: &str) -> Vec<i64> {
    let Some(table) = lake.existing(table).await.unwrap() else { return Vec::new() };
    let session = kerntrail_session::unguarded(|config| config);
    session.register_table("t", table.provider()).unwrap();
    let sql = format!("select {column} as n from t order by n");
    let batches = session.sql(&sql).await.unwrap().collect().await.unwrap();
    batches
        .iter()
        .flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().iter().map(Option::unwrap_or_default))
        .collect()
}

pub async fn seqs(lake: &Lake, table: Table) -> Vec<i64> {
    numbers(lake, table, "seq").await
}

/// Waits until `state` says yes, or 30 s.
pub async fn until<F: Future<Output = bool>>(what: &str, mut state: impl FnMut() -> F) {
    let waited = tokio::time::timeout(Duration::from_secs(240), async {
        while !state().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("not so after 30 s: {what}"));
}

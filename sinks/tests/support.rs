//! What the tests share: rows, a running sink, waiting.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kerntrail_schemas::cell::Micros;
use kerntrail_schemas::identity::StreamId;
use kerntrail_schemas::tables::{Actor, Envelope, ProcessColumns};
use kerntrail_schemas::{SCHEMA_VERSION, Table, TableBuilder};
use kerntrail_sinks::{Sink, SinkConfig, SinkError, SinkState};
use kerntrail_transport::{EventLog, Headers, Message, Topic, codec};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::log::MemoryLog;

/// The longest that a test waits for a state.
pub(crate) const LIMIT: Duration = Duration::from_secs(240);

pub(crate) fn topic() -> Topic {
    Topic { tenant: "acme".into(), table: Table::ProcessEvents }
}

/// A message with the rows `pids` of node `n1`, in namespace `ns<pid % 2>`.
pub(crate) fn message(batch: i64, pids: std::ops::Range<i32>) -> Message {
    message_at(batch, pids, 1_785_585_600_000_000)
}

/// The same, from `start` (µs since the epoch) on, a row each ms.
pub(crate) fn message_at(batch: i64, pids: std::ops::Range<i32>, start: i64) -> Message {
    let stream = StreamId::new("boot+1");
    let mut builder = TableBuilder::<ProcessColumns>::default();
    for pid in pids.clone() {
        let time = Micros(start + i64::from(pid) * 1_000);
        let envelope = Envelope {
            date: Some(time.day()),
            time: Some(time),
            node: Some("n1".into()),
            stream: Some(stream.clone()),
            cpu: Some(0),
            seq: Some(pid.into()),
            activity: Some("exec".into()),
            ..Envelope::default()
        };
        let actor = Actor { pid: Some(pid), namespace: Some(format!("ns{}", pid % 2)), ..Actor::default() };
        builder.append(&envelope, Some(&Arc::new(actor)), &ProcessColumns::default());
    }
    let payload = codec::encode(&builder.finish().unwrap()).unwrap();
    let seq_range = (pids.start.into(), i64::from(pids.end) - 1);
    let rows = pids.len() as u32;
    Message {
        headers: Headers { schema_version: SCHEMA_VERSION, node: "n1".into(), stream, batch, rows, seq_range },
        payload,
    }
}

/// `event_id` of the row `pid`.
pub(crate) fn event_id(pid: i32) -> String {
    format!("boot+1-0-{pid}")
}

/// Appends the rows `pids` in messages of ten, numbered on from `first_batch`.
pub(crate) async fn append(log: &MemoryLog, first_batch: i64, pids: std::ops::Range<i32>) {
    let starts = pids.clone().step_by(10);
    let messages = starts
        .enumerate()
        .map(|(number, start)| message(first_batch + number as i64, start..(start + 10).min(pids.end)));
    log.append(&topic(), messages.collect()).await.unwrap();
}

/// A configuration with short waits. `changes` come on top.
pub(crate) fn config(base: Value, changes: Value) -> SinkConfig {
    let mut config = json!({
        "name": "test", "tables": ["process_events"], "batch_wait_ms": 1, "batch_events": 25,
        "backoff_initial_ms": 1, "backoff_max_ms": 20, "drain_seconds": 30,
    });
    for (key, value) in base.as_object().unwrap().iter().chain(changes.as_object().unwrap()) {
        config[key] = value.clone();
    }
    serde_json::from_value(config).unwrap()
}

/// A sink that runs in the background.
pub(crate) struct Running {
    pub(crate) cancel: CancellationToken,
    pub(crate) state: watch::Receiver<SinkState>,
    task: JoinHandle<Result<(), SinkError>>,
}

impl Running {
    pub(crate) fn start(config: &SinkConfig, log: &MemoryLog, dlq_dir: &Path) -> Self {
        Self::start_on(config, Arc::new(log.clone()), dlq_dir)
    }

    pub(crate) fn start_on(config: &SinkConfig, log: Arc<dyn EventLog>, dlq_dir: &Path) -> Self {
        Self::start_sink(Sink::new(config, log, dlq_dir, "acme").unwrap())
    }

    pub(crate) fn start_sink(sink: Sink) -> Self {
        let (state, cancel) = (sink.state(), CancellationToken::new());
        Self { state, task: tokio::spawn(sink.run(cancel.clone())), cancel }
    }

    /// Cancels, and returns when it has ended.
    pub(crate) async fn stop(self) {
        self.cancel.cancel();
        tokio::time::timeout(LIMIT, self.task).await.expect("the sink does not stop").unwrap().unwrap();
    }

    /// Ends it as a kill would.
    pub(crate) async fn kill(self) {
        self.task.abort();
        self.task.await.expect_err("the sink has ended by itself");
    }

    /// Waits until the sink is in a state that `wanted` accepts.
    pub(crate) async fn wait(&mut self, what: &str, wanted: impl FnMut(&SinkState) -> bool) -> SinkState {
        let waited = tokio::time::timeout(LIMIT, self.state.wait_for(wanted)).await;
        let reached = waited.map(|state| state.unwrap().clone());
        reached.unwrap_or_else(|_| panic!("waited for {what}, but the sink is {:?}", self.state.borrow()))
    }
}

/// Waits until `probe` gives a value; `Err` says what it saw instead.
pub(crate) async fn until<T>(what: &str, mut probe: impl FnMut() -> Result<T, String>) -> T {
    let end = tokio::time::Instant::now() + LIMIT;
    loop {
        match probe() {
            Ok(value) => return value,
            Err(seen) if tokio::time::Instant::now() > end => panic!("waited for {what}, but {seen}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// Waits until the sink `name` has committed everything before `offset`.
pub(crate) async fn committed(log: &MemoryLog, name: &str, offset: i64) {
    until("a commit", || {
        let done = log.committed_by(name, &topic());
        if done >= offset { Ok(()) } else { Err(format!("offset {done} of {offset} is committed")) }
    })
    .await;
}

/// How often each id is there.
pub(crate) fn counts(ids: impl IntoIterator<Item = String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for id in ids {
        *counts.entry(id).or_default() += 1;
    }
    counts
}

/// Each row of `pids` once.
pub(crate) fn once(pids: impl IntoIterator<Item = i32>) -> BTreeMap<String, usize> {
    pids.into_iter().map(|pid| (event_id(pid), 1)).collect()
}

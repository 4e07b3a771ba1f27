//! Importing, in the process that has the event log open: this one, or the running server, which gets the bytes over
//! HTTP and responds with progress and outcome, one JSON object per line.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures::StreamExt;
use kerntrail_common::mask::Mask;
use kerntrail_lake::{Lake, LakeLock};
use kerntrail_pipeline::Pipeline;
use kerntrail_pipeline::import::{ImportOptions, ImportProgress, ImportReport, import};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, MutexGuard, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::parts::{self, event_log::Log, http};

/// Path at which the running server accepts imports.
pub const PATH: &str = "/api/v1/import";
/// Lines of progress that are buffered for a slow reader; further ones are dropped.
const LINES: usize = 16;
/// Longest time without a chunk of a body.
const SILENCE: Duration = Duration::from_secs(300);
/// A client that sends less than this within this time loses its import when another one waits.
const SLOWEST: (usize, Duration) = (64 << 10, Duration::from_secs(10));
/// Chunks of a body that wait for the parser.
const PIECES: usize = 16;

/// Name of the lock that an import holds in the lake's folder.
const LOCK: &str = "import";

/// Imports into a lake, one at a time, so that two imports of the same events do not both add them.
pub struct Importer {
    opened: Log,
    lake: Arc<Lake>,
    pipeline: Arc<Pipeline>,
    rejects_dir: PathBuf,
    cluster: Option<String>,
    mask: Arc<Mask>,
    one: Mutex<()>,
    /// Imports that wait for the one that runs.
    waiting: AtomicUsize,
}

/// An input of an import.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Input {
    /// Path, or - for standard input.
    pub name: String,
    /// Its length, where known.
    pub bytes: Option<u64>,
    /// Node of records that name none.
    pub node: Option<String>,
}

/// Progress of an import; over HTTP, a line of the response.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// Another import is running; this one starts after it.
    Waiting,
    /// The counts so far.
    Progress { bytes_read: u64, rows: u64, rejected: u64 },
    /// The rows are committed.
    Done(ImportSummary),
    /// The import failed.
    Failed { reason: String },
}

/// Result of an import.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct ImportSummary {
    pub records: u64,
    pub rows: u64,
    pub already_there: u64,
    pub without_place: Vec<(String, u64)>,
    pub rejected: u64,
    pub rejects_file: Option<PathBuf>,
    /// Rejects that the file has no room for.
    #[serde(default)]
    pub rejects_not_kept: u64,
    /// Line and reason of the first rejects.
    pub first_rejects: Vec<(u64, String)>,
}

impl From<ImportReport> for ImportSummary {
    fn from(report: ImportReport) -> Self {
        Self {
            records: report.records,
            rows: report.rows,
            already_there: report.already_there,
            without_place: report.without_place.into_iter().collect(),
            rejected: report.rejected,
            rejects_file: report.rejects_file,
            rejects_not_kept: report.rejects_not_kept,
            first_rejects: report.first_rejects.into_iter().map(|reject| (reject.line, reject.reason)).collect(),
        }
    }
}

impl Importer {
    /// Imports through `opened` and `pipeline`, which must run, into `lake`.
    ///
    /// Errors: a rule for secrets is invalid.
    pub fn new(config: &Config, opened: Log, lake: Arc<Lake>, pipeline: Arc<Pipeline>) -> anyhow::Result<Self> {
        let (rejects_dir, cluster) = (parts::rejected_dir(config), parts::cluster(config));
        let mask = Arc::new(Mask::new(&config.collector.mask)?);
        let (one, waiting) = (Mutex::new(()), AtomicUsize::new(0));
        Ok(Self { opened, lake, pipeline, rejects_dir, cluster, mask, one, waiting })
    }

    /// Imports `reader` and returns when its rows are committed to the lake.
    pub async fn run<R: Read + Send + 'static>(
        &self,
        reader: R,
        input: &Input,
        on_progress: &mut (dyn FnMut(Line) + Send),
    ) -> anyhow::Result<ImportSummary> {
        let _alone = self.alone(on_progress).await?;
        // Rows that a killed import left in the log must be in the lake before the import compares with it.
        self.settle().await.context("cannot commit what the event log still holds")?;
        let mut options = ImportOptions::new(input.name.clone(), self.rejects_dir.clone());
        options.bytes_total = input.bytes;
        options.missing_node = input.node.clone();
        options.cluster = self.cluster.clone();
        options.mask = Some(Arc::clone(&self.mask));
        let mut progress = |now: ImportProgress| {
            on_progress(Line::Progress { bytes_read: now.bytes_read, rows: now.rows, rejected: now.rejected });
        };
        let report = import(reader, options, self.opened.log.as_ref(), &self.lake, &mut progress).await;
        self.settle().await.context("cannot commit the imported rows")?;
        Ok(report?.into())
    }

    /// Waits for other imports into this lake to end, in this process and, through Kafka, in others.
    async fn alone(
        &self,
        on_progress: &mut (dyn FnMut(Line) + Send),
    ) -> anyhow::Result<(MutexGuard<'_, ()>, LakeLock)> {
        if let Ok(here) = self.one.try_lock()
            && let Some(lock) = self.lake.try_lock(LOCK)?
        {
            return Ok((here, lock));
        }
        on_progress(Line::Waiting);
        let _waits = Waits::new(&self.waiting);
        Ok((self.one.lock().await, self.lake.lock(LOCK).await?))
    }

    /// Returns once no import runs here.
    pub async fn idle(&self) {
        let _one = self.one.lock().await;
    }

    /// Returns once what was appended is committed to the lake.
    async fn settle(&self) -> anyhow::Result<()> {
        self.opened.settle().await?;
        Ok(self.pipeline.drain().await?)
    }
}

/// The server's route. `stop` cancels a running import.
pub fn route(importer: Arc<Importer>, stop: CancellationToken) -> Router {
    Router::new().route(PATH, post(take)).layer(DefaultBodyLimit::disable()).with_state((importer, stop))
}

async fn take(
    State((importer, stop)): State<(Arc<Importer>, CancellationToken)>,
    Query(input): Query<Input>,
    body: Body,
) -> Response {
    let (lines, answer) = mpsc::channel::<String>(LINES);
    let (pieces, held) = std::sync::mpsc::sync_channel(PIECES);
    let begun = Arc::new(AtomicBool::new(false));
    tokio::spawn(hand_over(body, pieces, (Arc::clone(&importer), Arc::clone(&begun))));
    let reader = Pieces { held, piece: Bytes::new(), begun };
    tokio::spawn(async move {
        let mut on_progress = |line: Line| {
            let _ = lines.try_send(written(&line));
        };
        let done = tokio::select! {
            done = importer.run(reader, &input, &mut on_progress) => done,
            () = stop.cancelled() => Err(anyhow!(INTERRUPTED)),
        };
        let line = match done {
            Ok(outcome) => Line::Done(outcome),
            Err(error) => Line::Failed { reason: format!("{error:#}") },
        };
        let _ = lines.send(written(&line)).await;
    });
    let lines = ReceiverStream::new(answer).map(|line| Ok::<_, std::convert::Infallible>(Bytes::from(line)));
    ([("content-type", "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

/// Sends the body's chunks to the thread that reads them; a full queue makes the client wait.
async fn hand_over(
    body: Body,
    pieces: SyncSender<std::io::Result<Bytes>>,
    (importer, begun): (Arc<Importer>, Arc<AtomicBool>),
) {
    let mut stream = body.into_data_stream();
    let mut pace = Pace::default();
    loop {
        let asked = Instant::now();
        let next = tokio::time::timeout(SLOWEST.1, stream.next()).await;
        let piece = match next {
            Ok(None) => return,
            Ok(Some(piece)) => Some(piece.map_err(std::io::Error::other)),
            Err(_) => None,
        };
        let length = piece.as_ref().and_then(|piece| piece.as_ref().ok()).map_or(0, Bytes::len);
        // One that waits itself keeps nobody waiting.
        let others_wait = begun.load(Ordering::Relaxed) && importer.waiting.load(Ordering::Relaxed) > 0;
        let is_overtaken = pace.is_slow(asked.elapsed(), length) && others_wait;
        let piece = match (piece, pace.too_late(is_overtaken)) {
            (_, Some(reason)) => Err(std::io::Error::new(std::io::ErrorKind::TimedOut, reason)),
            (Some(piece), None) => piece,
            (None, None) => continue,
        };
        let pieces = pieces.clone();
        let sent = tokio::task::spawn_blocking(move || pieces.send(piece)).await;
        // The reader is gone: the import ended early and reports why.
        if !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
}

/// Counts an import that waits, as long as it does.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How fast a client sends, while the server waits for it.
#[derive(Default)]
struct Pace {
    waited: Duration,
    bytes: usize,
    silent: Duration,
}

impl Pace {
    /// Whether less than [`SLOWEST`] has come, now that `bytes` more came after `waited`.
    fn is_slow(&mut self, waited: Duration, bytes: usize) -> bool {
        self.silent = if bytes == 0 { self.silent + waited } else { Duration::ZERO };
        self.waited += waited;
        self.bytes += bytes;
        if self.waited < SLOWEST.1 {
            return false;
        }
        let slow = self.bytes < SLOWEST.0;
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        slow
    }

    fn too_late(&self, is_overtaken: bool) -> Option<&'static str> {
        match is_overtaken {
            true => Some("another import waits, and less than 64 KiB came within 10 s; import the file again"),
            false => (self.silent >= SILENCE).then_some("no data for five minutes"),
        }
    }
}

/// Reads the chunks of a body.
struct Pieces {
    held: Receiver<std::io::Result<Bytes>>,
    piece: Bytes,
    /// Set with the first byte that is asked for: then the import holds the lock.
    begun: Arc<AtomicBool>,
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.begun.store(true, Ordering::Relaxed);
        while self.piece.is_empty() {
            match self.held.recv() {
                Ok(piece) => self.piece = piece?,
                Err(_) => return Ok(0),
            }
        }
        let count = into.len().min(self.piece.len());
        into[..count].copy_from_slice(&self.piece.split_to(count));
        Ok(count)
    }
}

fn written(line: &Line) -> String {
    let mut text = serde_json::to_string(line).unwrap_or_default();
    text.push('\n');
    text
}

/// Importing again is safe: no row is added twice.
const INTERRUPTED: &str = "the running kerntrail ended during the import; import the file again";

/// Has the running server import `body`.
pub async fn ask_server(
    config: &Config,
    input: &Input,
    body: reqwest::Body,
    on_progress: &mut (dyn FnMut(Line) + Send),
) -> anyhow::Result<ImportSummary> {
    let client = http::Client::new(config)?;
    let mut parameters = vec![("name", input.name.clone())];
    parameters.extend(input.bytes.map(|bytes| ("bytes", bytes.to_string())));
    parameters.extend(input.node.clone().map(|node| ("node", node)));
    let request = client.post(PATH, &parameters)?.body(body);
    let response = request.send().await.context("cannot reach the running kerntrail")?;
    if !response.status().is_success() {
        bail!("the running kerntrail refused the import: {}", response.text().await.unwrap_or_default().trim());
    }
    let mut stream = response.bytes_stream();
    let mut held = Vec::new();
    while let Some(bytes) = stream.next().await {
        held.extend_from_slice(&bytes.context(INTERRUPTED)?);
        while let Some(end) = held.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = held.drain(..=end).collect();
            match serde_json::from_slice(&line).context("unexpected response from the running kerntrail")? {
                Line::Done(outcome) => return Ok(outcome),
                Line::Failed { reason } => bail!("{reason}"),
                so_far => on_progress(so_far),
            }
        }
    }
    bail!(INTERRUPTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_client_gives_way_to_another_import() {
        let second = Duration::from_secs(1);
        for (seconds, bytes_each, slow, error) in [
            (9, 0, false, None),
            (10, 0, true, Some("another import waits")),
            (10, 1000, true, Some("another import waits")),
            (10, 7000, false, None),
            (300, 0, true, Some("five minutes")),
        ] {
            let mut pace = Pace::default();
            let ends = (0..seconds).fold(false, |_, _| pace.is_slow(second, bytes_each));
            assert_eq!(ends, slow, "{seconds} s with {bytes_each} bytes each");
            let reason = pace.too_late(slow && seconds < 300);
            assert_eq!(reason.is_some(), error.is_some());
            assert!(error.is_none_or(|part| reason.is_some_and(|reason| reason.contains(part))), "{reason:?}");
        }
    }
}

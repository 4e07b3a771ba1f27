//! Exports of other tools, as rows of our tables in the event log.
//!
//! The way of a record: [`source`] (bytes, decompressed) -> [`split`] (cut into objects) -> a format's adapter (row) and
//! [`canonical`] (number), in several threads -> [`known`] (is it in the lake?) -> [`outbox`] (messages in the log).
//!
//! Invariant: every record is counted as one of: row, already there, without a place in the tables, rejected.
//! Invariant: a record has the same stream and number whenever and in whatever shape it is imported, so importing it
//! again adds nothing, also after the import was killed at any point.
//! Invariant: memory does not grow with the input, except by 16 bytes a record up to a bound (see [`known`]).

mod format;
mod formats;
mod identity;
mod outbox;
mod reject_file;
mod source;
mod split;
mod stages;
mod time;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use kerntrail_lake::Lake;
use kerntrail_schemas::Table;
use kerntrail_transport::{EventLog, LogError};

use self::format::Row;
use self::identity::known::Known;
use self::outbox::Outbox;
use self::reject_file::Rejects;
use self::source::Meter;
use self::stages::{End, Found, Next, Plan};
use crate::metrics::RECORDS_IN_TOTAL;

pub use self::reject_file::Reject;

/// Longest record, unless the options say otherwise.
pub const MAX_RECORD_BYTES: usize = 16 * 1024 * 1024;

/// How to import an input.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// What to call the input: its path, or `-`. Rejects are kept under this name.
    pub name: String,
    /// Length of the input in bytes, as it lies there, when known; only for showing progress.
    pub bytes_total: Option<u64>,
    /// Node to use instead of what the records say.
    pub node: Option<String>,
    /// Cluster to use instead of what the records say.
    pub cluster: Option<String>,
    /// Folder for what is not taken.
    pub rejects_dir: PathBuf,
    /// Threads that parse.
    pub parsers: usize,
    /// Longest record in bytes; a longer one is rejected. It bounds the memory used.
    pub max_record_bytes: usize,
}

impl ImportOptions {
    /// The usual options for the input called `name`.
    pub fn new(name: impl Into<String>, rejects_dir: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            bytes_total: None,
            node: None,
            cluster: None,
            rejects_dir: rejects_dir.into(),
            parsers: usual_parsers(),
            max_record_bytes: MAX_RECORD_BYTES,
        }
    }
}

/// One core is left to what follows parsing, which on two cores makes one parser faster than two (measured: a tenth).
fn usual_parsers() -> usize {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    (cores - 1).clamp(1, 4)
}

/// How far an import is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportProgress {
    /// Bytes of the input read.
    pub bytes_read: u64,
    /// Its length, when known.
    pub bytes_total: Option<u64>,
    /// Records read.
    pub records: u64,
    /// Rows made of them.
    pub rows: u64,
    /// Records not taken.
    pub rejected: u64,
}

/// What an import did. `records` = `rows` + `already_there` + the sum of `without_place` + `rejected`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportReport {
    /// Records read, and stretches of garbage.
    pub records: u64,
    /// Rows appended to the event log.
    pub rows: u64,
    /// Records that the lake held, or that the input holds more than once.
    pub already_there: u64,
    /// Good records of events that no table has a place for, by kernel function or kind.
    pub without_place: BTreeMap<String, u64>,
    /// Records that were not taken, and stretches of garbage.
    pub rejected: u64,
    /// Where they are kept, when there are any.
    pub rejects_file: Option<PathBuf>,
    /// The first of them.
    pub first_rejects: Vec<Reject>,
}

/// What stopped an import. What was appended before stays; importing again goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The input could not be read to its end; what was read is in the log.
    #[error("cannot read {name}")]
    Read {
        /// The input.
        name: String,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// The input is something that is not read.
    #[error("{name} is {what}: JSON is expected, plain or compressed with gzip or zstd")]
    NotReadable {
        /// The input.
        name: String,
        /// What it is.
        what: &'static str,
    },
    /// Rejects could not be kept aside.
    #[error("cannot keep rejected records in {}", path.display())]
    Rejects {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// It could not be found out what the lake holds.
    #[error("cannot tell which records {table} holds")]
    Known {
        /// The table.
        table: Table,
        /// The lake's or the query's error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Rows could not be encoded.
    #[error("cannot encode rows of {table}")]
    Encode {
        /// The table.
        table: Table,
        /// The codec's error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The event log did not take rows.
    #[error("cannot append rows of {table} to the event log")]
    Append {
        /// The table.
        table: Table,
        /// The log's error.
        #[source]
        source: LogError,
    },
    /// A thread could not be started, or ended early.
    #[error("a thread of the import ended")]
    Thread(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Imports `input`: appends a row to `log` for each record that `lake` does not hold yet.
///
/// The log must have been drained into the lake before, and must be drained after; it may be drained meanwhile, and
/// must be if it can fill up: a full log is waited for. Nobody else may import events of the same nodes meanwhile.
/// Returns when everything is in the log. Records that cannot be taken do not stop it; see [`ImportReport`].
/// `progress` is called about once a mebibyte.
///
/// Errors: as named by [`ImportError`]; what had been appended stays. Cancel-safe in the same sense.
pub async fn import<R: Read + Send + 'static>(
    input: R,
    options: ImportOptions,
    log: &dyn EventLog,
    lake: &Lake,
    progress: &mut (dyn FnMut(ImportProgress) + Send),
) -> Result<ImportReport, ImportError> {
    let rejects = Rejects::new(&options.rejects_dir, &options.name)
        .map_err(|source| ImportError::Rejects { path: options.rejects_dir.clone(), source })?;
    let meter = Arc::new(Meter::default());
    let plan = Plan {
        parsers: options.parsers,
        max_record: options.max_record_bytes,
        node: options.node,
        cluster: options.cluster,
    };
    let mut chunks =
        stages::start(input, Arc::clone(&meter), &plan).map_err(|error| ImportError::Thread(error.into()))?;
    let mut walk =
        Walk { known: Known::new(lake), outbox: Outbox::new(log, lake), rejects, report: ImportReport::default() };
    let end = loop {
        match chunks.recv().await {
            Some(Next::Chunk(found)) => {
                let found = found.await.map_err(|error| ImportError::Thread(error.into()))?;
                walk.take(found).await?;
                progress(walk.progress(meter.bytes(), options.bytes_total));
            }
            Some(Next::End(end)) => break end,
            None => return Err(ImportError::Thread("the reader is gone".into())),
        }
    };
    let report = walk.finish().await?;
    match end {
        End::Read => Ok(report),
        End::Failed(source) => Err(ImportError::Read { name: options.name, source }),
        End::NotReadable(what) => Err(ImportError::NotReadable { name: options.name, what }),
    }
}

/// One import, after the records were parsed.
struct Walk<'a> {
    known: Known<'a>,
    outbox: Outbox<'a>,
    rejects: Rejects,
    report: ImportReport,
}

impl Walk<'_> {
    async fn take(&mut self, found: Vec<Found>) -> Result<(), ImportError> {
        let before = (self.report.rows, self.report.already_there, self.rejects.count());
        let count = found.len() as u64;
        for found in &found {
            match found {
                // A future made for each row would cost more than the row: only what is rare awaits.
                Found::Row { row, seq, source } => {
                    if !self.known.is_loaded(row.own.table(), source, row.time) {
                        self.known.load_day(row.own.table(), source, row.time).await?;
                    }
                    if self.take_row(row, *seq, source)? {
                        self.outbox.send().await?;
                    }
                }
                Found::NoPlace(name) => self.without_place(name),
                Found::Reject { line, reason, raw, bytes } => {
                    let kept = self.rejects.add(*line, reason, raw, *bytes);
                    kept.map_err(|source| ImportError::Rejects { path: self.rejects.path().to_owned(), source })?;
                }
            }
        }
        self.report.records += count;
        let rows = self.report.rows - before.0;
        let already_there = self.report.already_there - before.1;
        let rejected = self.rejects.count() - before.2;
        metrics::counter!(RECORDS_IN_TOTAL, "outcome" => "row").increment(rows);
        metrics::counter!(RECORDS_IN_TOTAL, "outcome" => "already_there").increment(already_there);
        metrics::counter!(RECORDS_IN_TOTAL, "outcome" => "rejected").increment(rejected);
        let no_place = count - rows - already_there - rejected;
        metrics::counter!(RECORDS_IN_TOTAL, "outcome" => "no_place").increment(no_place);
        Ok(())
    }

    /// Takes a row whose day is loaded. True: it is time to send.
    fn take_row(&mut self, row: &Row, seq: i64, source: &'static str) -> Result<bool, ImportError> {
        if !self.known.is_new(row.own.table(), &row.node.stream, seq, row.time)? {
            self.report.already_there += 1;
            return Ok(false);
        }
        self.report.rows += 1;
        Ok(self.outbox.put(row, seq, source))
    }

    /// Counts an event that has no place. Names come from the input, so there may be any number of them.
    fn without_place(&mut self, name: &str) {
        const MOST_NAMES: usize = 1000;
        let counts = &mut self.report.without_place;
        let known = counts.len() < MOST_NAMES || counts.contains_key(name);
        *counts.entry(if known { name } else { "others" }.to_owned()).or_default() += 1;
    }

    fn progress(&self, bytes_read: u64, bytes_total: Option<u64>) -> ImportProgress {
        let (records, rows, rejected) = (self.report.records, self.report.rows, self.rejects.count());
        ImportProgress { bytes_read, bytes_total, records, rows, rejected }
    }

    async fn finish(mut self) -> Result<ImportReport, ImportError> {
        self.outbox.finish().await?;
        self.report.rejected = self.rejects.count();
        let path = self.rejects.path().to_owned();
        let kept = self.rejects.finish().map_err(|source| ImportError::Rejects { path, source })?;
        (self.report.rejects_file, self.report.first_rejects) = kept;
        Ok(self.report)
    }
}

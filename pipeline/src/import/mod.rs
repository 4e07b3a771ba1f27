//! Exports of other tools, as rows of our tables in the event log.
//!
//! A record passes through: [`source`] (bytes, decompressed) -> [`log_lines`] (without what a container's log put around
//! them) -> [`split`] (one object each) -> [`parse`], in several threads: its [`format`], or that of the record in its [`envelope`] (rows) and [`identity`] (numbers) -> [`run`], which drops what the lake holds -> [`outbox`]
//! (messages in the log). [`stages`] has the threads and queues between them, [`formats`] the formats.
//!
//! Invariant: every record is counted once: added, already there, without a place in the tables, or rejected.
//! Invariant: a row has the same stream and number whenever and in whatever form its record is imported, so importing
//! it again adds nothing, even after the import was killed at any point.
//! Invariant: memory does not grow with the input, except by 16 bytes a row up to a bound (see [`identity::known`]).

mod batch_numbers;
mod docs;
mod envelope;
pub mod format;
mod formats;
mod identity;
mod json;
mod log_lines;
mod mapping;
mod options;
mod outbox;
mod parse;
mod reject_file;
mod report;
mod row;
mod run;
mod scope;
mod source;
mod split;
mod stages;
mod time;

use std::io::Read;
use std::sync::Arc;

use kerntrail_lake::Lake;
use kerntrail_transport::EventLog;

use self::parse::ParseOptions;
use self::reject_file::RejectFile;
use self::run::ImportRun;
use self::source::Meter;
use self::stages::{InputEnd, NextChunk};

pub use self::docs::importing_page;
pub use self::formats::FORMATS;
pub use self::options::{ImportOptions, MAX_RECORD_BYTES};
pub use self::reject_file::RejectedRecord;
pub use self::report::{ImportError, ImportProgress, ImportReport};

/// Imports `input`: appends the rows of each record that `lake` does not hold yet to `log`.
///
/// The log must have been drained into the lake before, and must be drained after. It may be drained meanwhile, and must
/// be if it can fill up: the import waits while the log is full. Nobody else may import events of the same nodes at the
/// same time. Returns when everything is in the log. Rejected records do not stop it; see [`ImportReport`].
/// `progress` is called about once per mebibyte.
///
/// Errors: see [`ImportError`]; what had been appended stays. Cancel-safe in the same sense.
pub async fn import<R: Read + Send + 'static>(
    input: R,
    options: ImportOptions,
    log: &dyn EventLog,
    lake: &Lake,
    progress: &mut (dyn FnMut(ImportProgress) + Send),
) -> Result<ImportReport, ImportError> {
    let ImportOptions { name, bytes_total, rejects_dir, parsers, .. } = options;
    let reject_file = RejectFile::new(&rejects_dir, &name)
        .map_err(|source| ImportError::Rejects { path: rejects_dir.clone(), source })?;
    let mut run = ImportRun::new(log, lake, reject_file);
    let meter = Arc::new(Meter::default());
    let ImportOptions { node, missing_node, cluster, mask, max_record_bytes, formats, .. } = options;
    let parsing = ParseOptions { formats, max_record_bytes, node, missing_node, cluster, mask };
    let chunks = stages::start(input, Arc::clone(&meter), parsers, &parsing);
    let mut chunks = chunks.map_err(|error| ImportError::Thread(error.into()))?;
    let end = loop {
        match chunks.recv().await {
            Some(NextChunk::Chunk(parsed)) => {
                let parsed = parsed.await.map_err(|error| ImportError::Thread(error.into()))?;
                run.take(parsed).await?;
                progress(run.progress(meter.bytes(), bytes_total));
            }
            Some(NextChunk::InputEnd(end)) => break end,
            None => return Err(ImportError::Thread("the thread that reads ended early".into())),
        }
    };
    let report = run.finish().await?;
    match end {
        InputEnd::Read => Ok(report),
        InputEnd::Failed(source) => Err(ImportError::Read { name, source }),
        InputEnd::NotReadable(what) => Err(ImportError::NotReadable { name, what }),
    }
}

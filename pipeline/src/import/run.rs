//! The second half of an import: drops duplicates, appends rows to the event log, and counts the rest.

use kerntrail_lake::Lake;
use kerntrail_transport::EventLog;

use super::identity::known::KnownRows;
use super::outbox::Outbox;
use super::parse::{Parsed, ParsedRecord};
use super::reject_file::RejectFile;
use super::report::{ImportError, ImportProgress, ImportReport};
use super::row::ImportedRow;
use crate::metrics::RECORDS_IN_TOTAL;

/// Names of events without a place that are counted each; the input may hold any number of them.
const MAX_NAMES: usize = 1000;

/// What an import does with parsed records, and the counts of its report.
pub(super) struct ImportRun<'a> {
    known: KnownRows<'a>,
    outbox: Outbox<'a>,
    reject_file: RejectFile,
    report: ImportReport,
}

impl<'a> ImportRun<'a> {
    /// Appends to `log` what `lake` does not hold.
    pub(super) fn new(log: &'a dyn EventLog, lake: &'a Lake, reject_file: RejectFile) -> Self {
        let report = ImportReport::default();
        Self { known: KnownRows::new(lake), outbox: Outbox::new(log, lake), reject_file, report }
    }

    /// Takes the next records of the input.
    pub(super) async fn take(&mut self, parsed: Parsed) -> Result<(), ImportError> {
        let before = (self.report.added, self.report.already_there, self.reject_file.count());
        let count = parsed.records.len() as u64;
        let mut rows = parsed.rows.into_iter();
        for record in parsed.records {
            match record {
                ParsedRecord::Rows(count) => {
                    let mut added = false;
                    for row in rows.by_ref().take(count) {
                        // A future for each row would cost more than the row: only rare steps are awaited.
                        let (table, source) = (row.table(), row.envelope.source.unwrap_or_default());
                        if !self.known.is_loaded(table, source, row.time) {
                            self.known.load_day(table, source, row.time).await?;
                        }
                        if !self.is_new(&row)? {
                            continue;
                        }
                        added = true;
                        self.report.rows += 1;
                        if self.outbox.put(row)? {
                            self.outbox.send().await?;
                        }
                    }
                    *if added { &mut self.report.added } else { &mut self.report.already_there } += 1;
                }
                ParsedRecord::NoPlace(name) => self.without_place(name),
                ParsedRecord::Rejected { line, reason, raw, bytes } => {
                    let added = self.reject_file.add(line, &reason, &raw, bytes);
                    added
                        .map_err(|source| ImportError::Rejects { path: self.reject_file.path().to_owned(), source })?;
                }
            }
        }
        self.report.records += count;
        let added = self.report.added - before.0;
        let already_there = self.report.already_there - before.1;
        let rejected = self.reject_file.count() - before.2;
        metrics::counter!(RECORDS_IN_TOTAL, "outcome" => "row").increment(added);
        metrics::counter!(RECORDS_IN_TOTAL, "outcome" => "already_there").increment(already_there);
        metrics::counter!(RECORDS_IN_TOTAL, "outcome" => "rejected").increment(rejected);
        let no_place = count - added - already_there - rejected;
        metrics::counter!(RECORDS_IN_TOTAL, "outcome" => "no_place").increment(no_place);
        Ok(())
    }

    /// Whether neither the lake nor an earlier part of the input has the row, whose day is loaded.
    fn is_new(&mut self, row: &ImportedRow) -> Result<bool, ImportError> {
        let envelope = &row.envelope;
        let stream = envelope.stream.as_ref().unwrap_or_else(|| row.origin.stream());
        let numbers = (stream, envelope.cpu.unwrap_or_default(), envelope.seq.unwrap_or_default());
        self.known.is_new(row.table(), numbers, row.time)
    }

    fn without_place(&mut self, name: String) {
        let counts = &mut self.report.without_place;
        let counted = counts.len() < MAX_NAMES || counts.contains_key(&name);
        *counts.entry(if counted { name } else { "others".to_owned() }).or_default() += 1;
    }

    /// How far it is, at `bytes_read` of `bytes_total` bytes.
    pub(super) fn progress(&self, bytes_read: u64, bytes_total: Option<u64>) -> ImportProgress {
        let (records, rows, rejected) = (self.report.records, self.report.rows, self.reject_file.count());
        ImportProgress { bytes_read, bytes_total, records, rows, rejected }
    }

    /// Appends the last rows and returns the report.
    pub(super) async fn finish(mut self) -> Result<ImportReport, ImportError> {
        self.outbox.finish().await?;
        self.report.rejected = self.reject_file.count();
        let path = self.reject_file.path().to_owned();
        let finished = self.reject_file.finish().map_err(|source| ImportError::Rejects { path, source })?;
        self.report.rejects_file = finished.file;
        self.report.first_rejects = finished.first;
        self.report.rejects_not_kept = finished.not_kept;
        Ok(self.report)
    }
}

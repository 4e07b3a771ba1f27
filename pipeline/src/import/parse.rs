//! From a piece of the input to the rows of its record.

use std::sync::Arc;

use kerntrail_common::mask::Mask;

use super::envelope;
use super::format::{FormatScope, ImportFormat, ImportedRow, Reading, RecordRefusal};
use super::identity::canonical;
use super::reject_file::MAX_RAW;
use super::scope::Actors;
use super::split::{Piece, Splitter};

/// The records of a stretch of the input, in its order.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) records: Vec<ParsedRecord>,
    /// The rows of all records, one after the other.
    pub(super) rows: Vec<ImportedRow>,
}

/// What a record turned out to be.
#[derive(Debug)]
pub(super) enum ParsedRecord {
    /// As many rows, one or more, the next ones of [`Parsed::rows`].
    Rows(usize),
    /// An event that no table has a place for; its name.
    NoPlace(String),
    /// It is rejected. `raw`: its first bytes, of `bytes` in all.
    Rejected { line: u64, reason: String, raw: Vec<u8>, bytes: usize },
}

impl ParsedRecord {
    /// A record on `line` that is rejected for `reason`.
    pub(super) fn rejected(line: u64, reason: String, bytes: &[u8]) -> Self {
        Self::Rejected { line, reason, raw: bytes[..bytes.len().min(MAX_RAW)].to_vec(), bytes: bytes.len() }
    }
}

/// How to read records; the same for all parsers of an import.
#[derive(Clone, Debug)]
pub(super) struct ParseOptions {
    pub(super) formats: &'static [&'static dyn ImportFormat],
    pub(super) max_record_bytes: usize,
    pub(super) node: Option<String>,
    pub(super) missing_node: Option<String>,
    pub(super) cluster: Option<String>,
    pub(super) mask: Option<Arc<Mask>>,
}

/// Parses pieces, with what it remembers from one record to the next.
pub(super) struct Parser {
    formats: Vec<(&'static dyn ImportFormat, FormatScope)>,
    /// The rows of the current record.
    rows: Vec<ImportedRow>,
    max_record_bytes: usize,
}

impl Parser {
    /// `actors` is shared by the parsers of an import.
    pub(super) fn new(options: ParseOptions, actors: &Arc<Actors>) -> Self {
        let ParseOptions { formats, max_record_bytes, node, missing_node, cluster, mask } = options;
        let scope = |format: &dyn ImportFormat| {
            let nodes = (node.clone(), missing_node.clone());
            FormatScope::new(format.name(), nodes, cluster.clone(), (Arc::clone(actors), mask.clone()))
        };
        let formats = formats.iter().map(|format| (*format, scope(*format))).collect();
        Self { formats, rows: Vec::new(), max_record_bytes }
    }

    /// Appends what `piece` of `buffer` is to `parsed`.
    pub(super) fn parse(&mut self, buffer: &[u8], piece: &Piece, parsed: &mut Parsed) {
        let (bytes, line) = (&buffer[piece.range.clone()], piece.line);
        let refused = match piece.broken {
            Some(why) => Refused::because(why.to_owned()),
            None => match self.record(bytes, line, &mut parsed.rows) {
                Ok(record) => return parsed.records.push(record),
                Err(refused) => refused,
            },
        };
        if refused.may_be_several && self.several(bytes, line, parsed) {
            return;
        }
        parsed.records.push(ParsedRecord::rejected(line, refused.reason, bytes));
    }

    /// Parses objects side by side on one line, each on its own; false when there is only one piece.
    fn several(&mut self, bytes: &[u8], line: u64, parsed: &mut Parsed) -> bool {
        let (pieces, _) = Splitter::new(line, self.max_record_bytes).split(bytes, true);
        if pieces.len() < 2 {
            return false;
        }
        for Piece { range, line, broken } in pieces {
            let bytes = &bytes[range];
            let record = match broken {
                Some(why) => Err(why.to_owned()),
                None => self.record(bytes, line, &mut parsed.rows).map_err(|refused| refused.reason),
            };
            parsed.records.push(record.unwrap_or_else(|reason| ParsedRecord::rejected(line, reason, bytes)));
        }
        true
    }

    /// Reads one object, or the record that an envelope of it has inside, and appends its rows.
    fn record(&mut self, bytes: &[u8], line: u64, rows: &mut Vec<ImportedRow>) -> Result<ParsedRecord, Refused> {
        let text = str::from_utf8(bytes).map_err(|error| Refused::because(format!("not UTF-8: {error}")))?;
        let refused = match self.object(text, line, rows) {
            Err(refused) if refused.is_unknown => refused,
            read => return read,
        };
        for inner in envelope::inside(text) {
            match self.object(&inner, line, rows) {
                Err(inner) if inner.is_unknown => {}
                read => return read,
            }
        }
        Err(refused)
    }

    /// Reads one object by the format that recognizes it, and appends its rows.
    fn object(&mut self, text: &str, line: u64, rows: &mut Vec<ImportedRow>) -> Result<ParsedRecord, Refused> {
        let mut shape = None;
        for (format, scope) in &mut self.formats {
            self.rows.clear();
            match format.read(text, scope, &mut self.rows) {
                Ok(Reading::OtherFormat) => {}
                Ok(Reading::NoPlace(name)) => return Ok(ParsedRecord::NoPlace(name)),
                Ok(Reading::Rows) if self.rows.is_empty() => {
                    return Ok(ParsedRecord::NoPlace(format.name().to_owned()));
                }
                Ok(Reading::Rows) => {
                    let number = canonical::number_of(text).map_err(|error| Refused::because(error.to_string()))?;
                    let (source, count) = (format.source(), self.rows.len());
                    self.rows.iter_mut().enumerate().for_each(|(place, row)| row.complete(source, number, place));
                    rows.append(&mut self.rows);
                    return Ok(ParsedRecord::Rows(count));
                }
                Err(RecordRefusal::Content(reason)) => return Err(Refused::because(reason)),
                // Text that is not JSON is refused by every format alike.
                Err(RecordRefusal::Json(error)) if error.is_syntax() => {
                    return Err(Refused { may_be_several: true, ..Refused::because(json_reason(&error, line)) });
                }
                // A record of another format may have a value of another type under the same name.
                Err(RecordRefusal::Json(error)) => shape = shape.or(Some(json_reason(&error, line))),
            }
        }
        Err(Refused { is_unknown: true, ..Refused::because(shape.unwrap_or_else(|| self.unknown())) })
    }

    fn unknown(&self) -> String {
        let names: Vec<&str> = self.formats.iter().map(|(format, _)| format.name()).collect();
        format!("no event of a known format ({})", names.join(", "))
    }
}

/// Why a piece is not one record.
struct Refused {
    reason: String,
    /// Whether several objects side by side would be refused in the same way.
    may_be_several: bool,
    /// Whether no format recognized it.
    is_unknown: bool,
}

impl Refused {
    fn because(reason: String) -> Self {
        Self { reason, may_be_several: false, is_unknown: false }
    }
}

/// The parser's words, with the line in the input instead of that in the record.
fn json_reason(error: &serde_json::Error, line: u64) -> String {
    let text = error.to_string();
    let words = text.rsplit_once(" at line ").map_or(text.as_str(), |(words, _)| words);
    let line = line + (error.line() as u64).saturating_sub(1);
    format!("{words} (line {line}, column {})", error.column())
}

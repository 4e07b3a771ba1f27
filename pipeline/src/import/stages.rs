//! The threads between an input and its rows: one reads and cuts, several parse, and what they find comes out in the
//! order of the input.
//!
//! Bounds: a chunk is about 1 MiB (more only where one record is longer, up to its limit), and at most
//! [`IN_FLIGHT`] chunks are between reader and taker. A slow taker stops the reader.

use std::io::Read;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::sync::{mpsc, oneshot};

use super::format::{Actors, FORMATS, Reading, Refusal, Row, Scope};
use super::identity::canonical;
use super::reject_file::MOST_RAW;
use super::source::{self, Meter, Packing};
use super::split::{INPUT_ENDS, Piece, Splitter, Step};

/// Bytes that are cut and parsed together.
const CHUNK: usize = 1024 * 1024;
/// Chunks read and not yet taken.
const IN_FLIGHT: usize = 6;

/// What a piece of the input is.
pub(crate) enum Found {
    /// A row, the number of its record, and the name of its format.
    Row { row: Row, seq: i64, source: &'static str },
    /// An event that no table has a place for.
    NoPlace(String),
    /// Something that is not taken.
    Reject { line: u64, reason: String, raw: Vec<u8>, bytes: usize },
}

/// How the reading of an input ended.
pub(crate) enum End {
    /// At its end, or where its compression could not be followed further (which is among what was found).
    Read,
    /// Where it could not be read any more.
    Failed(std::io::Error),
    /// At once, since it is something else.
    NotReadable(&'static str),
}

/// What comes next.
pub(crate) enum Next {
    /// What was found in the next chunk, when its parser is done.
    Chunk(oneshot::Receiver<Vec<Found>>),
    /// Nothing more.
    End(End),
}

struct Chunk {
    bytes: Vec<u8>,
    pieces: Vec<Piece>,
}

type Work = (Chunk, oneshot::Sender<Vec<Found>>);

/// How to read and parse.
pub(crate) struct Plan {
    pub(crate) parsers: usize,
    pub(crate) max_record: usize,
    pub(crate) node: Option<String>,
    pub(crate) cluster: Option<String>,
}

/// Starts the threads. They end when the input does, or when the receiver is dropped.
pub(crate) fn start<R: Read + Send + 'static>(
    input: R,
    meter: Arc<Meter>,
    plan: &Plan,
) -> std::io::Result<mpsc::Receiver<Next>> {
    let (to_taker, taker) = mpsc::channel(IN_FLIGHT);
    let (to_parsers, work) = sync_channel::<Work>(IN_FLIGHT);
    let work = Arc::new(Mutex::new(work));
    let (max_record, actors) = (plan.max_record, Arc::new(Actors::default()));
    for parser in 0..plan.parsers.max(1) {
        let work = Arc::clone(&work);
        let scope = Scope::new(plan.node.clone(), plan.cluster.clone(), Arc::clone(&actors));
        let parse = move || parse_all(&work, scope, max_record);
        thread::Builder::new().name(format!("import-parse-{parser}")).spawn(parse)?;
    }
    let read = move || {
        let mut reader = Reader { to_taker, to_parsers, max_record };
        let end = reader.run(input, meter);
        // The taker may be gone.
        reader.to_taker.blocking_send(Next::End(end)).ok();
    };
    thread::Builder::new().name("import-read".into()).spawn(read)?;
    Ok(taker)
}

struct Reader {
    to_taker: mpsc::Sender<Next>,
    to_parsers: SyncSender<Work>,
    max_record: usize,
}

impl Reader {
    fn run<R: Read + Send + 'static>(&mut self, input: R, meter: Arc<Meter>) -> End {
        match source::open(input, Arc::clone(&meter)) {
            Ok((Packing::Other(name), _)) => End::NotReadable(name),
            Ok((packing, reader)) => self.read(reader, packing, &meter),
            Err(error) => End::Failed(error),
        }
    }

    fn read(&mut self, mut input: Box<dyn Read + Send>, packing: Packing, meter: &Meter) -> End {
        let mut splitter = Splitter::new(1, self.max_record);
        let mut buffer = Vec::with_capacity(CHUNK * 2);
        loop {
            let before = buffer.len();
            let read = input.by_ref().take(CHUNK as u64).read_to_end(&mut buffer);
            let end = read.is_err() || buffer.len() - before < CHUNK;
            let (mut pieces, rest) = cut(&mut splitter, &buffer, end);
            // What damage cut off is told with the damage, not once more.
            let cut_off = pieces.pop_if(|piece| read.is_err() && piece.broken == Some(INPUT_ENDS));
            let cut_off = cut_off.map(|piece| (piece.line, buffer[piece.range].to_vec()));
            let mut next = Vec::with_capacity(CHUNK * 2);
            next.extend_from_slice(&buffer[rest..]);
            let bytes = std::mem::replace(&mut buffer, next);
            if !self.pass_on(Chunk { bytes, pieces }) {
                return End::Read;
            }
            match read {
                Err(error) if meter.failed() => return End::Failed(error),
                Err(error) => {
                    let (line, raw) = cut_off.unwrap_or_else(|| (splitter.line(), Vec::new()));
                    self.report_damage(line, &raw, packing, &error);
                    return End::Read;
                }
                Ok(_) if end => return End::Read,
                Ok(_) => {}
            }
        }
    }

    /// Hands a chunk to a parser, and the taker its place in the order. False: nobody takes any more.
    fn pass_on(&mut self, chunk: Chunk) -> bool {
        if chunk.pieces.is_empty() {
            return !self.to_taker.is_closed();
        }
        let (done, found) = oneshot::channel();
        self.to_parsers.send((chunk, done)).is_ok() && self.to_taker.blocking_send(Next::Chunk(found)).is_ok()
    }

    fn report_damage(&mut self, line: u64, raw: &[u8], packing: Packing, error: &std::io::Error) {
        let (done, found) = oneshot::channel();
        let reason = format!("the {} stream is damaged or cut short: {error}", packing.name());
        done.send(vec![reject(line, reason, raw)]).ok();
        self.to_taker.blocking_send(Next::Chunk(found)).ok();
    }
}

/// The pieces of `buffer`, and where the rest starts, which needs more input.
fn cut(splitter: &mut Splitter, buffer: &[u8], end: bool) -> (Vec<Piece>, usize) {
    let mut pieces = Vec::new();
    let mut at = 0;
    loop {
        match splitter.next(buffer, at, end) {
            Step::Piece(piece, after) => {
                pieces.push(piece);
                at = after;
            }
            Step::More(rest) => return (pieces, rest),
        }
    }
}

fn parse_all(work: &Mutex<Receiver<Work>>, mut scope: Scope, max_record: usize) {
    loop {
        let next = work.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((chunk, done)) = next else { return };
        let mut found = Vec::with_capacity(chunk.pieces.len());
        for piece in &chunk.pieces {
            let bytes = &chunk.bytes[piece.range.clone()];
            match piece.broken {
                Some(why) => found.push(reject(piece.line, why.to_owned(), bytes)),
                None => parse(bytes, piece.line, max_record, &mut scope, &mut found),
            }
        }
        // The taker may be gone; then the reader ends, and this with it.
        done.send(found).ok();
    }
}

fn reject(line: u64, reason: String, bytes: &[u8]) -> Found {
    Found::Reject { line, reason, raw: bytes[..bytes.len().min(MOST_RAW)].to_vec(), bytes: bytes.len() }
}

/// Parses what looks like an object, or, on one line, like several.
fn parse(bytes: &[u8], line: u64, max_record: usize, scope: &mut Scope, found: &mut Vec<Found>) {
    let refusal = match read(bytes, line, scope) {
        Ok(good) => return found.push(good),
        Err(refusal) => refusal,
    };
    if refusal.may_be_several {
        let mut splitter = Splitter::new(line, max_record);
        let (pieces, _) = cut(&mut splitter, bytes, true);
        if pieces.len() > 1 {
            for piece in pieces {
                let bytes = &bytes[piece.range];
                found.push(match piece.broken {
                    Some(why) => reject(piece.line, why.to_owned(), bytes),
                    None => read(bytes, piece.line, scope)
                        .unwrap_or_else(|refused| reject(piece.line, refused.reason, bytes)),
                });
            }
            return;
        }
    }
    found.push(reject(line, refusal.reason, bytes));
}

struct Refused {
    reason: String,
    may_be_several: bool,
}

fn read(bytes: &[u8], line: u64, scope: &mut Scope) -> Result<Found, Refused> {
    let refused = |reason: String| Refused { reason, may_be_several: false };
    let text = str::from_utf8(bytes).map_err(|error| refused(format!("not UTF-8: {error}")))?;
    for format in FORMATS {
        let reading = match format.read(text, scope) {
            None => continue,
            Some(Ok(reading)) => reading,
            Some(Err(Refusal::Content(reason))) => return Err(refused(reason)),
            Some(Err(Refusal::Json(error))) => {
                return Err(Refused { reason: json_reason(&error, line), may_be_several: error.is_syntax() });
            }
        };
        return match reading {
            Reading::NoPlace(name) => Ok(Found::NoPlace(name)),
            Reading::Row(row) => {
                let too_deep = |_| refused("nested deeper than 128 levels".to_owned());
                let seq = canonical::number_of(text).map_err(too_deep)?;
                Ok(Found::Row { row, seq, source: format.name() })
            }
        };
    }
    let names: Vec<&str> = FORMATS.iter().map(|format| format.name()).collect();
    Err(refused(format!("no event of a known format ({})", names.join(", "))))
}

/// The parser's words, with the line in the input instead of that in the record.
fn json_reason(error: &serde_json::Error, line: u64) -> String {
    let text = error.to_string();
    let words = text.rsplit_once(" at line ").map_or(text.as_str(), |(words, _)| words);
    let line = line + (error.line() as u64).saturating_sub(1);
    format!("{words} (line {line}, column {})", error.column())
}

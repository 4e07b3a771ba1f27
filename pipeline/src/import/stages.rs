//! The threads between an input and its rows: one reads and splits, several parse, and the results come out in the order
//! of the input.
//!
//! Bounds: a chunk is about 1 MiB (more only where one record is longer, up to its limit), and at most
//! [`IN_FLIGHT`] chunks are between the reader and the consumer. A slow consumer stops the reader.

use std::io::{BufReader, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::sync::{mpsc, oneshot};

use super::log_lines::LogLines;
use super::parse::{ParseOptions, Parsed, ParsedRecord, Parser};
use super::scope::Actors;
use super::source::{self, Compression, Meter};
use super::split::{INPUT_ENDS, Piece, Splitter};

/// Bytes that are split and parsed together.
const CHUNK: usize = 1024 * 1024;
/// Chunks read and not yet consumed.
const IN_FLIGHT: usize = 6;

/// How the reading of an input ended.
pub(super) enum InputEnd {
    /// At its end, or where it could not be decompressed further, which is among the rejected records.
    Read,
    /// Where it could not be read any more.
    Failed(std::io::Error),
    /// At the start, since it is an unsupported kind of file, with this name.
    NotReadable(&'static str),
}

/// What comes next.
pub(super) enum NextChunk {
    /// The records of the next chunk, when its parser is done.
    Chunk(oneshot::Receiver<Parsed>),
    /// Nothing more.
    InputEnd(InputEnd),
}

struct Chunk {
    bytes: Vec<u8>,
    pieces: Vec<Piece>,
}

type Work = (Chunk, oneshot::Sender<Parsed>);

/// Starts the reader and `parsers` parsers. They end when the input does, or when the receiver is dropped.
pub(super) fn start<R: Read + Send + 'static>(
    input: R,
    meter: Arc<Meter>,
    parsers: usize,
    options: &ParseOptions,
) -> std::io::Result<mpsc::Receiver<NextChunk>> {
    let (to_consumer, consumer) = mpsc::channel(IN_FLIGHT);
    let (to_parsers, work) = sync_channel::<Work>(IN_FLIGHT);
    let (work, actors) = (Arc::new(Mutex::new(work)), Arc::new(Actors::default()));
    for number in 0..parsers.max(1) {
        let work = Arc::clone(&work);
        let parser = Parser::new(options.clone(), &actors);
        thread::Builder::new().name(format!("import-parse-{number}")).spawn(move || parse_all(&work, parser))?;
    }
    let max_record_bytes = options.max_record_bytes;
    let read = move || {
        let mut reader = InputReader { to_consumer, to_parsers, max_record_bytes };
        let end = reader.run(input, meter);
        // The consumer may be gone.
        reader.to_consumer.blocking_send(NextChunk::InputEnd(end)).ok();
    };
    thread::Builder::new().name("import-read".into()).spawn(read)?;
    Ok(consumer)
}

struct InputReader {
    to_consumer: mpsc::Sender<NextChunk>,
    to_parsers: SyncSender<Work>,
    max_record_bytes: usize,
}

impl InputReader {
    fn run<R: Read + Send + 'static>(&mut self, input: R, meter: Arc<Meter>) -> InputEnd {
        match source::open(input, Arc::clone(&meter)) {
            Ok((Compression::Other(name), _)) => InputEnd::NotReadable(name),
            Ok((compression, reader)) => {
                let lines = LogLines::new(BufReader::with_capacity(CHUNK / 4, reader), self.max_record_bytes);
                self.read(Box::new(lines), compression, &meter)
            }
            Err(error) => InputEnd::Failed(error),
        }
    }

    fn read(&mut self, mut input: Box<dyn Read + Send>, compression: Compression, meter: &Meter) -> InputEnd {
        let mut splitter = Splitter::new(1, self.max_record_bytes);
        let mut buffer = Vec::with_capacity(CHUNK * 2);
        loop {
            let before = buffer.len();
            let read = input.by_ref().take(CHUNK as u64).read_to_end(&mut buffer);
            let end = read.is_err() || buffer.len() - before < CHUNK;
            let (mut pieces, rest) = splitter.split(&buffer, end);
            // A record that damage cut off is rejected once, with the damage as the reason.
            let cut_off = pieces.pop_if(|piece| read.is_err() && piece.broken == Some(INPUT_ENDS));
            let cut_off = cut_off.map(|piece| (piece.line, buffer[piece.range].to_vec()));
            let mut next = Vec::with_capacity(CHUNK * 2);
            next.extend_from_slice(&buffer[rest..]);
            let bytes = std::mem::replace(&mut buffer, next);
            if !self.pass_on(Chunk { bytes, pieces }) {
                return InputEnd::Read;
            }
            match read {
                Err(error) if meter.failed() => return InputEnd::Failed(error),
                Err(error) => {
                    let (line, raw) = cut_off.unwrap_or_else(|| (splitter.line(), Vec::new()));
                    self.report_damage(line, &raw, compression, &error);
                    return InputEnd::Read;
                }
                Ok(_) if end => return InputEnd::Read,
                Ok(_) => {}
            }
        }
    }

    /// Hands a chunk to a parser, and its place in the order to the consumer. False: the consumer is gone.
    fn pass_on(&mut self, chunk: Chunk) -> bool {
        if chunk.pieces.is_empty() {
            return !self.to_consumer.is_closed();
        }
        let (done, found) = oneshot::channel();
        self.to_parsers.send((chunk, done)).is_ok() && self.to_consumer.blocking_send(NextChunk::Chunk(found)).is_ok()
    }

    fn report_damage(&mut self, line: u64, raw: &[u8], compression: Compression, error: &std::io::Error) {
        let (done, found) = oneshot::channel();
        let reason = format!("the {} stream is damaged or cut short: {error}", compression.name());
        let records = vec![ParsedRecord::rejected(line, reason, raw)];
        done.send(Parsed { records, rows: Vec::new() }).ok();
        self.to_consumer.blocking_send(NextChunk::Chunk(found)).ok();
    }
}

fn parse_all(work: &Mutex<Receiver<Work>>, mut parser: Parser) {
    loop {
        let next = work.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((chunk, done)) = next else { return };
        let mut parsed = Parsed::default();
        parsed.records.reserve(chunk.pieces.len());
        parsed.rows.reserve(chunk.pieces.len());
        chunk.pieces.iter().for_each(|piece| parser.parse(&chunk.bytes, piece, &mut parsed));
        // The consumer may be gone; then the reader ends, and this thread with it.
        done.send(parsed).ok();
    }
}

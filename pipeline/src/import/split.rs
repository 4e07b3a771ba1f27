//! Cuts a stream of bytes into JSON objects, whatever lies between and around them.
//!
//! Taken as they come, also mixed: one object a line, objects over many lines, objects side by side, arrays of
//! objects. Between objects, white space, commas, brackets, byte order marks and NUL bytes (left by log rotation)
//! mean nothing; anything else is garbage up to the end of its line.
//!
//! Invariant: every byte is part of one piece or means nothing, so whatever cannot be read is named.
//! Invariant: a piece knows the line on which it starts, counted from 1.
//!
//! An object is found by its braces. It is broken when a string is not closed on its line (JSON allows no line break
//! in a string), a bracket closes what it did not open, an object starts where none may, or the input ends. Reading
//! goes on at the next line that could start an object: in a file with an object a line, the next line; in an
//! indented one, the next line with the broken object's indentation or less that starts with a brace.

mod scan;

use std::ops::Range;

use memchr::memchr;

pub(crate) use scan::{INPUT_ENDS, MAX_DEPTH};
use scan::{Scan, Scanned, TOO_LONG};

/// A stretch of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Where it lies in the buffer.
    pub(crate) range: Range<usize>,
    /// Line of its first byte.
    pub(crate) line: u64,
    /// Why it is no object; `None` for what looks like one, or like several on one line.
    pub(crate) broken: Option<&'static str>,
}

/// What [`Splitter::next`] found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A piece; go on at the second value.
    Piece(Piece, usize),
    /// Bytes before this position mean nothing; what follows needs more input.
    More(usize),
}

/// Finds one piece after another.
#[derive(Debug)]
pub(crate) struct Splitter {
    /// Longest piece.
    max: usize,
    /// Line of the next byte.
    line: u64,
    /// White space at the start of the current line.
    indent: usize,
    /// Whether only white space was seen on the current line.
    at_line_start: bool,
    /// Whether the last object stood alone on one line.
    one_a_line: bool,
    /// Whether an array is open around the objects.
    in_array: bool,
    /// What follows belongs to a piece that was longer than the limit.
    skip: Option<Skip>,
}

/// How far the rest of a piece reaches whose first bytes were given already.
#[derive(Clone, Copy, Debug)]
enum Skip {
    /// To the end of its line.
    Line,
    /// To the next line that could start another object, or end this one: with this indentation or less.
    Object { indent: usize },
}

impl Splitter {
    /// Starts at `line`; a piece longer than `max` bytes is broken.
    pub(crate) fn new(line: u64, max: usize) -> Self {
        Self { max, line, indent: 0, at_line_start: true, one_a_line: false, in_array: false, skip: None }
    }

    /// Line of the next byte.
    pub(crate) fn line(&self) -> u64 {
        self.line
    }

    /// The next piece of `buffer` from `position` on; `end`: no more input follows it.
    pub(crate) fn next(&mut self, buffer: &[u8], position: usize, end: bool) -> Step {
        let mut at = match self.skip_rest(buffer, position) {
            Ok(at) => at,
            Err(rest) => return Step::More(if end { buffer.len() } else { rest }),
        };
        loop {
            let Some(&byte) = buffer.get(at) else { return Step::More(at) };
            match byte {
                b'\n' => self.new_line(),
                b' ' | b'\t' => self.indent += usize::from(self.at_line_start),
                b'\r' | b',' | 0 => {}
                0xef if buffer[at..].starts_with(b"\xef\xbb\xbf") => at += 2,
                0xef if !end && buffer.len() - at < 3 => return Step::More(at),
                b']' if self.in_array => (self.in_array, self.at_line_start) = (false, false),
                b'[' => match opens_array(&buffer[at..], end) {
                    Some(true) => (self.in_array, self.at_line_start) = (true, false),
                    Some(false) => return self.garbage(buffer, at, end),
                    None => return Step::More(at),
                },
                b'{' => return self.object(buffer, at, end),
                _ => return self.garbage(buffer, at, end),
            }
            at += 1;
        }
    }

    fn new_line(&mut self) {
        (self.line, self.indent, self.at_line_start) = (self.line + 1, 0, true);
    }

    /// Where the rest of a piece that was too long ends; `Err`: not before this position, and more input is needed.
    fn skip_rest(&mut self, buffer: &[u8], position: usize) -> Result<usize, usize> {
        let rest_end = match self.skip {
            None => return Ok(position),
            Some(Skip::Line) => memchr(b'\n', &buffer[position..]).map(|length| position + length).ok_or(buffer.len()),
            Some(Skip::Object { indent }) => object_end(buffer, position, indent),
        };
        let (Ok(passed) | Err(passed)) = rest_end;
        self.pass(&buffer[position..passed]);
        if rest_end.is_ok() {
            self.skip = None;
        }
        rest_end
    }

    /// Everything up to the end of the line; in an array also only up to the next object.
    fn garbage(&mut self, buffer: &[u8], at: usize, end: bool) -> Step {
        let rest = &buffer[at..];
        let stop = match memchr(b'\n', rest) {
            found if self.in_array => memchr(b'{', &rest[..found.unwrap_or(rest.len())]).or(found),
            found => found,
        };
        match stop {
            Some(length) => self.give(buffer, at..at + length, Some("not a JSON object")),
            None if end => self.give(buffer, at..buffer.len(), Some("not a JSON object")),
            None if rest.len() >= self.max => {
                self.skip = Some(Skip::Line);
                self.give(buffer, at..buffer.len(), Some("a line longer than the limit"))
            }
            None => Step::More(at),
        }
    }

    fn object(&mut self, buffer: &[u8], at: usize, end: bool) -> Step {
        if self.one_a_line {
            match whole_line(buffer, at, end) {
                Some(Some(range)) => {
                    let broken = (range.len() > self.max).then_some(TOO_LONG);
                    return self.give(buffer, range, broken);
                }
                Some(None) => {}
                None if buffer.len() - at < self.max => return Step::More(at),
                None => {}
            }
        }
        let scan = Scan { buffer, start: at, end, max: self.max, indent: self.indent, one_a_line: self.one_a_line };
        match scan.run() {
            Scanned::Closed { after, lines, indent } => {
                let alone = stands_alone(&buffer[after..], end);
                if alone.is_none() && buffer.len() - at < self.max {
                    return Step::More(at);
                }
                let step = self.give(buffer, at..after, None);
                if lines > 0 {
                    self.indent = indent;
                }
                self.one_a_line = lines == 0 && alone == Some(true);
                step
            }
            Scanned::More => Step::More(at),
            Scanned::Broken { why, object_at } => self.broken(buffer, at, end, why, object_at),
        }
    }

    /// Gives up on the object at `at` and finds where to go on.
    fn broken(&mut self, buffer: &[u8], at: usize, end: bool, why: &'static str, object_at: Option<usize>) -> Step {
        let line_end = memchr(b'\n', &buffer[at..]).map_or(buffer.len(), |length| at + length);
        if let Some(object) = object_at.filter(|object| *object < line_end) {
            return self.give(buffer, at..object, Some(why));
        }
        // One that is too long and went on behind its first line is indented, whatever came before.
        if self.one_a_line && (why != TOO_LONG || line_end - at >= self.max) {
            self.skip = (line_end == buffer.len()).then_some(Skip::Line);
            return self.give(buffer, at..line_end, Some(why));
        }
        match object_end(buffer, at, self.indent) {
            Ok(after) => self.give(buffer, at..after, Some(why)),
            Err(_) if end => self.give(buffer, at..buffer.len(), Some(why)),
            Err(_) if buffer.len() - at < self.max => Step::More(at),
            // No line could start another object: all of it belongs to this one, and what follows up to such a line.
            Err(rest) => {
                let is_one_line = line_end == buffer.len();
                self.skip = Some(if is_one_line { Skip::Line } else { Skip::Object { indent: self.indent } });
                self.give(buffer, at..rest, Some(why))
            }
        }
    }

    fn give(&mut self, buffer: &[u8], range: Range<usize>, broken: Option<&'static str>) -> Step {
        let text = &buffer[range.clone()];
        let trimmed = text.trim_ascii_end().len();
        let line = self.line;
        self.pass(text);
        Step::Piece(Piece { range: range.start..range.start + trimmed, line, broken }, range.end)
    }

    /// Moves on behind `text`.
    fn pass(&mut self, text: &[u8]) {
        self.at_line_start = false;
        let lines = memchr::memchr_iter(b'\n', text).count() as u64;
        if lines > 0 {
            self.line += lines;
            let last = text.len() - text.iter().rev().position(|byte| *byte == b'\n').unwrap_or(0);
            self.indent = indentation(&text[last..]);
            self.at_line_start = last + self.indent == text.len();
        }
    }
}

/// Where a broken object ends that goes on at `from`: before the brace, or behind the closing bracket, that starts a
/// line with `indent` or less. `Err`: in no line so far; more input is needed from this position on.
fn object_end(buffer: &[u8], from: usize, indent: usize) -> Result<usize, usize> {
    let mut at = from;
    while let Some(length) = memchr(b'\n', &buffer[at..]) {
        let line = at + length;
        let text = line + 1 + indentation(&buffer[line + 1..]);
        let is_outside = text - line - 1 <= indent;
        match buffer.get(text) {
            None => return Err(line),
            Some(b'{') if is_outside => return Ok(text),
            Some(b'}' | b']') if is_outside => return Ok(text + 1),
            Some(_) => at = text,
        }
    }
    Err(buffer.len())
}

/// Whether the bracket that `text` starts with opens an array of objects; `None`: not known yet.
fn opens_array(text: &[u8], end: bool) -> Option<bool> {
    match text[1..].iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(byte) => Some(matches!(byte, b'{' | b']')),
        None if end => Some(true),
        None => None,
    }
}

/// The line from `at` on, without a comma at its end, if it ends like an object; `None`: its end is not there yet.
fn whole_line(buffer: &[u8], at: usize, end: bool) -> Option<Option<Range<usize>>> {
    let line = match memchr(b'\n', &buffer[at..]) {
        Some(length) => &buffer[at..at + length],
        None if end => &buffer[at..],
        None => return None,
    };
    let mut line = line.trim_ascii_end();
    if let [start @ .., b','] = line {
        line = start.trim_ascii_end();
    }
    Some(line.ends_with(b"}").then(|| at..at + line.len()))
}

/// Whether nothing follows on the line but a comma; `None`: not known yet.
fn stands_alone(rest: &[u8], end: bool) -> Option<bool> {
    match rest.iter().find(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b',')) {
        Some(byte) => Some(*byte == b'\n'),
        None => end.then_some(true),
    }
}

fn indentation(text: &[u8]) -> usize {
    text.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count()
}

#[cfg(test)]
mod tests;

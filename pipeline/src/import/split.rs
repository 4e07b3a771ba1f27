//! Splits a stream of bytes into JSON objects, whatever is between and around them.
//!
//! Accepted in any mixture: an object on each line, objects over several lines, objects side by side, arrays of
//! objects. Between objects, white space, commas, brackets, byte order marks and NUL bytes (left by log rotation)
//! are skipped; anything else is garbage up to the end of its line.
//!
//! Invariant: every byte is part of one piece or skipped as above, so nothing unreadable goes unreported.
//! Invariant: a piece has the number of the line on which it starts, counted from 1.
//!
//! An object is found by its braces. It is broken when a string is not closed on its line (JSON allows no line break
//! in a string), a closing bracket has no matching opening one, an object starts where none is allowed, or the input
//! ends. Splitting resumes at the next line that could start an object: in a file with an object on each line, the next
//! line; in an indented one, the next line with the broken object's indentation or less that starts with a brace.

mod scan;

use std::ops::Range;

use memchr::memchr;

pub(super) use self::scan::{INPUT_ENDS, MAX_DEPTH};
use self::scan::{Scan, Scanned, TOO_LONG};

/// A stretch of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Its range in the buffer.
    pub(super) range: Range<usize>,
    /// Line of its first byte.
    pub(super) line: u64,
    /// Why it is not an object; `None` for what looks like one, or like several on one line.
    pub(super) broken: Option<&'static str>,
}

/// What [`Splitter::next`] found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A piece; continue at the second value.
    Piece(Piece, usize),
    /// Bytes before this position are skipped; what follows needs more input.
    More(usize),
}

/// Finds one piece after another.
#[derive(Debug)]
pub(super) struct Splitter {
    /// Longest piece.
    max: usize,
    /// Line of the next byte.
    line: u64,
    /// White space at the start of the current line.
    indent: usize,
    /// Whether only white space was seen on the current line.
    at_line_start: bool,
    /// Whether the last object had a line of its own.
    one_per_line: bool,
    /// Whether an array is open around the objects.
    in_array: bool,
    /// The next bytes belong to a piece that was longer than the limit.
    skip: Option<Skip>,
}

/// How far a piece reaches whose first bytes were returned already.
#[derive(Clone, Copy, Debug)]
enum Skip {
    /// To the end of its line.
    Line,
    /// To the next line that could start another object, or end this one: with this indentation or less.
    Object { indent: usize },
}

impl Splitter {
    /// Starts at `line`; a piece longer than `max` bytes is broken.
    pub(super) fn new(line: u64, max: usize) -> Self {
        Self { max, line, indent: 0, at_line_start: true, one_per_line: false, in_array: false, skip: None }
    }

    /// Line of the next byte.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// The next piece of `buffer` from `position` on; `end`: no more input follows it.
    pub(super) fn next(&mut self, buffer: &[u8], position: usize, end: bool) -> Step {
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

    /// The end of a piece that was too long; `Err`: it is not before this position, and more input is needed.
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

    /// All pieces of `buffer`, and where the rest starts, which needs more input.
    pub(super) fn split(&mut self, buffer: &[u8], end: bool) -> (Vec<Piece>, usize) {
        let (mut pieces, mut at) = (Vec::new(), 0);
        loop {
            match self.next(buffer, at, end) {
                Step::Piece(piece, after) => {
                    pieces.push(piece);
                    at = after;
                }
                Step::More(rest) => return (pieces, rest),
            }
        }
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
        if self.one_per_line {
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
        let scan = Scan { buffer, start: at, end, max: self.max, indent: self.indent, one_per_line: self.one_per_line };
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
                self.one_per_line = lines == 0 && alone == Some(true);
                step
            }
            Scanned::More => Step::More(at),
            Scanned::Broken { why, object_at } => self.broken(buffer, at, end, why, object_at),
        }
    }

    /// Gives up on the object at `at` and finds where to resume.
    fn broken(&mut self, buffer: &[u8], at: usize, end: bool, why: &'static str, object_at: Option<usize>) -> Step {
        let line_end = memchr(b'\n', &buffer[at..]).map_or(buffer.len(), |length| at + length);
        if let Some(object) = object_at.filter(|object| *object < line_end) {
            return self.give(buffer, at..object, Some(why));
        }
        // An object that is too long and continues after its first line is indented, whatever came before.
        if self.one_per_line && (why != TOO_LONG || line_end - at >= self.max) {
            self.skip = (line_end == buffer.len()).then_some(Skip::Line);
            return self.give(buffer, at..line_end, Some(why));
        }
        match object_end(buffer, at, self.indent) {
            Ok(after) => self.give(buffer, at..after, Some(why)),
            Err(_) if end => self.give(buffer, at..buffer.len(), Some(why)),
            Err(_) if buffer.len() - at < self.max => Step::More(at),
            // No line so far could start another object, so all of it belongs to this one, up to such a line.
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

    /// Moves past `text`.
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

/// The end of a broken object that continues at `from`: before the brace, or after the closing bracket, that starts a
/// line with `indent` or less. `Err`: on no line so far; more input is needed from this position on.
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

/// The line from `at` on, without a comma at its end, if it ends like an object; `None`: its end is not read yet.
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

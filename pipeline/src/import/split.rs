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

use std::ops::Range;

use memchr::{memchr, memchr3};

/// Deepest nesting of an object; serde_json's own limit.
pub(crate) const MAX_DEPTH: usize = 128;

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
}

impl Splitter {
    /// Starts at `line`; a piece longer than `max` bytes is broken.
    pub(crate) fn new(line: u64, max: usize) -> Self {
        Self { max, line, indent: 0, at_line_start: true, one_a_line: false, in_array: false }
    }

    /// Line of the next byte.
    pub(crate) fn line(&self) -> u64 {
        self.line
    }

    /// The next piece of `buffer` from `position` on; `end`: no more input follows it.
    pub(crate) fn next(&mut self, buffer: &[u8], position: usize, end: bool) -> Step {
        let mut at = position;
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
            None if rest.len() >= self.max => self.give(buffer, at..buffer.len(), Some("a line without end")),
            None => Step::More(at),
        }
    }

    fn object(&mut self, buffer: &[u8], at: usize, end: bool) -> Step {
        if self.one_a_line {
            match whole_line(buffer, at, end) {
                Some(Some(range)) => return self.give(buffer, range, None),
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
        if self.one_a_line {
            return self.give(buffer, at..line_end, Some(why));
        }
        let mut line = line_end;
        while line < buffer.len() {
            let text = line + 1 + indentation(&buffer[line + 1..]);
            if text - line - 1 <= self.indent {
                match buffer.get(text) {
                    Some(b'{') => return self.give(buffer, at..text, Some(why)),
                    Some(b'}' | b']') => return self.give(buffer, at..text + 1, Some(why)),
                    _ => {}
                }
            }
            line = memchr(b'\n', &buffer[text..]).map_or(buffer.len(), |length| text + length);
        }
        if !end && buffer.len() - at < self.max {
            return Step::More(at);
        }
        // No line could start another object: all of it belongs to this one.
        self.give(buffer, at..buffer.len(), Some(why))
    }

    fn give(&mut self, buffer: &[u8], range: Range<usize>, broken: Option<&'static str>) -> Step {
        let text = &buffer[range.clone()];
        let trimmed = text.trim_ascii_end().len();
        let line = self.line;
        self.at_line_start = false;
        let lines = memchr::memchr_iter(b'\n', text).count() as u64;
        if lines > 0 {
            self.line += lines;
            let last = text.len() - text.iter().rev().position(|byte| *byte == b'\n').unwrap_or(0);
            self.indent = indentation(&text[last..]);
            self.at_line_start = last + self.indent == text.len();
        }
        Step::Piece(Piece { range: range.start..range.start + trimmed, line, broken }, range.end)
    }
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

/// What may come next inside an object.
#[derive(Clone, Copy, PartialEq)]
enum Expect {
    Key,
    Colon,
    Value,
    Comma,
}

enum Scanned {
    Closed { after: usize, lines: usize, indent: usize },
    More,
    Broken { why: &'static str, object_at: Option<usize> },
}

/// Looks for the end of one object.
struct Scan<'a> {
    buffer: &'a [u8],
    start: usize,
    end: bool,
    max: usize,
    /// Indentation of the line on which the object starts.
    indent: usize,
    one_a_line: bool,
}

impl Scan<'_> {
    fn run(&self) -> Scanned {
        let buffer = self.buffer;
        // Bit n: whether level n is an object (or an array).
        let (mut depth, mut levels, mut expect) = (1, 1u128, Expect::Key);
        let (mut lines, mut indent, mut indented) = (0, self.indent, false);
        let mut at = self.start + 1;
        while let Some(&byte) = buffer.get(at) {
            if at - self.start >= self.max {
                return broken("a record longer than the limit");
            }
            let in_object = levels & 1 == 1;
            match byte {
                b'"' => {
                    at = match string_end(buffer, at) {
                        Ok(Some(after)) => after,
                        Ok(None) => break,
                        Err(()) => return broken("a string is not closed on its line"),
                    };
                    expect = if expect == Expect::Key { Expect::Colon } else { Expect::Comma };
                    continue;
                }
                b'{' | b'[' => {
                    if byte == b'{' && expect != Expect::Value {
                        return Scanned::Broken { why: "an object starts where none may", object_at: Some(at) };
                    }
                    if depth == MAX_DEPTH {
                        return broken("nested deeper than 128 levels");
                    }
                    depth += 1;
                    levels = (levels << 1) | u128::from(byte == b'{');
                    expect = if byte == b'{' { Expect::Key } else { Expect::Value };
                }
                b'}' | b']' => {
                    if (byte == b'}') != in_object {
                        return broken("a bracket closes what it did not open");
                    }
                    depth -= 1;
                    levels >>= 1;
                    expect = Expect::Comma;
                    if depth == 0 {
                        return Scanned::Closed { after: at + 1, lines, indent };
                    }
                }
                b',' => expect = if in_object { Expect::Key } else { Expect::Value },
                b':' => expect = Expect::Value,
                b'\n' => {
                    let text = at + 1 + indentation(&buffer[at + 1..]);
                    let Some(&first) = buffer.get(text) else { break };
                    (lines, indent) = (lines + 1, text - at - 1);
                    indented |= indent > self.indent && !matches!(first, b'\r' | b'\n');
                    let starts_anew = first == b'{' && indent <= self.indent;
                    if starts_anew && (self.one_a_line || indented || expect != Expect::Value) {
                        let why = "the record is not closed before the next one starts";
                        return Scanned::Broken { why, object_at: Some(text) };
                    }
                    at = text;
                    continue;
                }
                b' ' | b'\t' | b'\r' => {}
                // A number, a word, or an error inside the object that the parser will name.
                _ => expect = if expect == Expect::Value { Expect::Comma } else { expect },
            }
            at += 1;
        }
        match self.end {
            true => broken("the input ends inside the record"),
            false if buffer.len() - self.start >= self.max => broken("a record longer than the limit"),
            false => Scanned::More,
        }
    }
}

fn broken(why: &'static str) -> Scanned {
    Scanned::Broken { why, object_at: None }
}

/// Position after the string that starts at `at`; `None`: it goes on after the buffer.
fn string_end(buffer: &[u8], at: usize) -> Result<Option<usize>, ()> {
    let mut at = at + 1;
    while let Some(length) = buffer.get(at..).and_then(|rest| memchr3(b'"', b'\\', b'\n', rest)) {
        at += length;
        match buffer[at] {
            b'"' => return Ok(Some(at + 1)),
            b'\\' => at += 2,
            _ => return Err(()),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;

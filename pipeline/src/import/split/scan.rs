//! Where one object ends.

use memchr::memchr3;

use super::indentation;

/// Deepest nesting of objects and arrays in a record.
pub(in crate::import) const MAX_DEPTH: usize = 128;

/// Why an object is broken in which the input ends.
pub(in crate::import) const INPUT_ENDS: &str = "the input ends inside the record";

/// Why an object is broken that is longer than the limit.
pub(in crate::import) const TOO_LONG: &str = "a record longer than the limit";

/// What may come next inside an object.
#[derive(Clone, Copy, PartialEq)]
enum Expect {
    Key,
    Colon,
    Value,
    Comma,
}

/// How a scan ended.
pub(super) enum Scanned {
    Closed { after: usize, lines: usize, indent: usize },
    More,
    Broken { why: &'static str, object_at: Option<usize> },
}

/// Looks for the end of one object.
pub(super) struct Scan<'a> {
    pub(super) buffer: &'a [u8],
    /// Where the object starts.
    pub(super) start: usize,
    /// Whether no more input follows the buffer.
    pub(super) end: bool,
    /// Longest object.
    pub(super) max: usize,
    /// Indentation of the line on which the object starts.
    pub(super) indent: usize,
    /// Whether each object has a line of its own.
    pub(super) one_per_line: bool,
}

impl Scan<'_> {
    pub(super) fn run(&self) -> Scanned {
        let buffer = self.buffer;
        // Bit n: whether level n is an object (or an array).
        let (mut depth, mut levels, mut expect) = (1, 1u128, Expect::Key);
        let (mut lines, mut indent, mut indented) = (0, self.indent, false);
        let mut at = self.start + 1;
        while let Some(&byte) = buffer.get(at) {
            if at - self.start >= self.max {
                return broken(TOO_LONG);
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
                        return Scanned::Broken { why: "an object starts where none is allowed", object_at: Some(at) };
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
                        return broken("a closing bracket has no matching opening one");
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
                    if starts_anew && (self.one_per_line || indented || expect != Expect::Value) {
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
            true => broken(INPUT_ENDS),
            false if buffer.len() - self.start >= self.max => broken(TOO_LONG),
            false => Scanned::More,
        }
    }
}

fn broken(why: &'static str) -> Scanned {
    Scanned::Broken { why, object_at: None }
}

/// Position after the string that starts at `at`; `None`: it continues after the buffer.
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

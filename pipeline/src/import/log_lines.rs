//! Lines of container logs, without what the container runtime or kubectl put around them.
//!
//! - `2026-03-01T10:00:00.0Z stdout P text`: CRI; `P` is a part of a line, which `F` completes
//!   (`pkg/kubelet/kuberuntime/logs` of Kubernetes);
//! - `{"log":"text\n","stream":"stdout","time":"…"}`: Docker's json-file; a line that does not end continues in the next
//!   record of its stream (`daemon/logger/jsonfilelog` of Docker);
//! - `[pod/name/container] text` and `2026-03-01T10:00:00.0Z text`: `kubectl logs` with `--prefix` and `--timestamps`.
//!
//! Other lines stay as they are. A line stays on its line: a part becomes an empty line, the last one has the whole text.

use std::collections::HashMap;
use std::io::{self, BufRead, Read};

use serde::Deserialize;

/// The texts of `input`'s lines.
pub(super) struct LogLines<R> {
    input: R,
    /// The line that is read out, and how much of it already is.
    line: Vec<u8>,
    at: usize,
    /// Whether what was read last did not end its line.
    is_mid_line: bool,
    /// What ended the input, behind the line that is read out.
    failed: Option<io::Error>,
    /// Parts of lines by stream.
    parts: HashMap<String, Vec<u8>>,
    /// Longest text that is put together.
    most: usize,
}

/// A record of Docker's json-file.
#[derive(Deserialize)]
struct DockerRecord {
    log: String,
    stream: String,
}

/// Streams of which parts are kept: a runtime has two.
const MOST_STREAMS: usize = 16;
/// Bytes of a line that are looked at together; more is passed on as it is.
const LONGEST_LINE: u64 = 1 << 20;

impl<R: BufRead> LogLines<R> {
    /// Those of `input`; a text of more than `most` bytes is passed on in parts.
    pub(super) fn new(input: R, most: usize) -> Self {
        Self { input, line: Vec::new(), at: 0, is_mid_line: false, failed: None, parts: HashMap::new(), most }
    }

    /// Reads the next line, or a part of a very long one; false at the end.
    fn next_line(&mut self) -> io::Result<bool> {
        self.at = 0;
        self.line.clear();
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        if let Err(error) = self.input.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut self.line) {
            if self.line.is_empty() {
                return Err(error);
            }
            self.failed = Some(error);
        }
        if self.line.is_empty() {
            return Ok(self.take_rest());
        }
        let is_whole = !self.is_mid_line;
        self.is_mid_line = !self.line.ends_with(b"\n");
        if is_whole && let Some(found) = find(&self.line) {
            self.line = self.put_together(found);
        }
        Ok(true)
    }

    /// The text of a line, if it ends there; else an empty line.
    fn put_together(&mut self, Found { stream, text, is_part }: Found) -> Vec<u8> {
        let mut whole = self.parts.remove(&stream).unwrap_or_default();
        whole.extend_from_slice(&text);
        if is_part && whole.len() < self.most && self.parts.len() < MOST_STREAMS {
            self.parts.insert(stream, whole);
            whole = Vec::new();
        }
        whole.push(b'\n');
        whole
    }

    /// At the end of the input: what no line completed.
    fn take_rest(&mut self) -> bool {
        let Some(stream) = self.parts.keys().next().cloned() else { return false };
        self.line = self.parts.remove(&stream).unwrap_or_default();
        self.line.push(b'\n');
        true
    }
}

impl<R: BufRead> Read for LogLines<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at == self.line.len() && (into.is_empty() || !self.next_line()?) {
            return Ok(0);
        }
        let rest = &self.line[self.at..];
        let count = rest.len().min(into.len());
        into[..count].copy_from_slice(&rest[..count]);
        self.at += count;
        Ok(count)
    }
}

/// The text inside of a line.
struct Found {
    stream: String,
    text: Vec<u8>,
    is_part: bool,
}

fn find(line: &[u8]) -> Option<Found> {
    // Nearly every line is a bare record.
    match line.first()? {
        b'{' => line.starts_with(b"{\"log\":").then(|| of_docker(line)).flatten(),
        b'[' | b'0'..=b'9' => {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            of_runtime(line).or_else(|| of_kubectl(line))
        }
        _ => None,
    }
}

fn of_docker(line: &[u8]) -> Option<Found> {
    let DockerRecord { log, stream } = serde_json::from_slice(line).ok()?;
    let is_part = !log.ends_with('\n');
    Some(Found { stream, text: log.trim_end_matches('\n').as_bytes().to_vec(), is_part })
}

fn of_runtime(line: &[u8]) -> Option<Found> {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let (time, stream, tags, text) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_stream = matches!(stream, b"stdout" | b"stderr");
    // Further tags may follow the first, behind colons.
    let is_part = match tags.split(|byte| *byte == b':').next()? {
        b"P" => true,
        b"F" => false,
        _ => return None,
    };
    let found = Found { stream: String::from_utf8_lossy(stream).into_owned(), text: text.to_vec(), is_part };
    (is_stream && is_time(time)).then_some(found)
}

fn of_kubectl(line: &[u8]) -> Option<Found> {
    let is_prefixed = line.starts_with(b"[pod/");
    let mut rest = line;
    if is_prefixed {
        let end = line.iter().position(|byte| *byte == b']')?;
        rest = line[end + 1..].strip_prefix(b" ")?;
    }
    let is_dated = match rest.iter().position(|byte| *byte == b' ') {
        Some(end) if is_time(&rest[..end]) => {
            rest = &rest[end + 1..];
            true
        }
        _ => false,
    };
    let found = Found { stream: "kubectl".to_owned(), text: rest.to_vec(), is_part: false };
    (is_prefixed || is_dated).then_some(found)
}

/// Whether it begins like a time of RFC 3339: `2026-03-01T`.
fn is_time(text: &[u8]) -> bool {
    let digit = |place: usize| text[place].is_ascii_digit();
    text.len() >= 20 && (0..4).all(digit) && text[4] == b'-' && text[7] == b'-' && text[10] == b'T'
}

/// The text inside of `line`, where it is whole.
pub(super) fn inside(line: &str) -> Option<String> {
    let found = find(line.as_bytes()).filter(|found| !found.is_part)?;
    String::from_utf8(found.text).ok()
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    fn read(text: &str) -> String {
        let mut lines = LogLines::new(BufReader::with_capacity(7, text.as_bytes()), 40);
        let mut out = String::new();
        lines.read_to_string(&mut out).unwrap();
        out
    }

    #[test]
    fn what_is_around_a_line_is_removed() {
        let time = "2026-03-01T10:00:00.000000000+00:00";
        let cases = [
            ("{\"a\":1}\n{\"b\":2}".to_owned(), "{\"a\":1}\n{\"b\":2}"),
            (format!("{time} stdout F {{\"a\":1}}\n"), "{\"a\":1}\n"),
            (format!("{time} stdout F:x {{\"a\": \"b c\"}}\r\n"), "{\"a\": \"b c\"}\n"),
            (format!("{time} stdout P {{\"a\"\n{time} stdout F :1}}\n"), "\n{\"a\":1}\n"),
            // The other stream in between.
            (format!("{time} stdout P {{\"a\"\n{time} stderr F oh\n{time} stdout F :1}}\n"), "\noh\n{\"a\":1}\n"),
            // The end is missing.
            (format!("{time} stdout P {{\"a\"\n"), "\n{\"a\"\n"),
            (format!("{time} stdout X {{}}\n"), "stdout X {}\n"),
            (format!("{time} {{\"a\":1}}\n"), "{\"a\":1}\n"),
            (format!("[pod/t/c] {{\"a\":1}}\n[pod/t/c] {time} {{\"b\":2}}\n"), "{\"a\":1}\n{\"b\":2}\n"),
            ("{\"log\":\"{\\\"a\\\":1}\\n\",\"stream\":\"stdout\",\"time\":\"x\"}\n".to_owned(), "{\"a\":1}\n"),
            (
                "{\"log\":\"{\\\"a\\\"\",\"stream\":\"stdout\"}\n{\"log\":\":1}\\n\",\"stream\":\"stdout\"}\n"
                    .to_owned(),
                "\n{\"a\":1}\n",
            ),
            // A record with such a field that is none of Docker's.
            ("{\"log\":1}\n{\"log\":\"x\"}\n".to_owned(), "{\"log\":1}\n{\"log\":\"x\"}\n"),
            // An array, and a number.
            ("[{\"a\":1}]\n12\n".to_owned(), "[{\"a\":1}]\n12\n"),
        ];
        for (text, expected) in cases {
            assert_eq!(read(&text), expected, "{text}");
        }
    }

    #[test]
    fn parts_are_bounded() {
        let part = "2026-03-01T10:00:00.000000000Z stdout P 0123456789\n";
        let text = read(&part.repeat(10));
        assert_eq!(text.replace('\n', "").len(), 100);
        assert!(text.lines().all(|line| line.len() <= 50), "{text}");
    }
}

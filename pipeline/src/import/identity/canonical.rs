//! The number of an imported record: a hash of what it says, not of how it is written.
//!
//! Invariant: order of keys, white space, escapes in strings and the notation of a number change nothing, so the same
//! event has the same number in a pretty-printed and in a one-line export.
//! Invariant: the order of array items, and everything else, does.
//!
//! An object's hash is built from the sum of its members' hashes, which needs no sorting and no tree. The hash is not
//! cryptographic; what keeps one record from passing for another are the start times in nanoseconds inside both.

use memchr::memchr2;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::import::split::MAX_DEPTH;

const STRING: u64 = 0x9e37_79b9_7f4a_7c15;
const NUMBER: u64 = 0xc2b2_ae3d_27d4_eb4f;
const OBJECT: u64 = 0x1656_67b1_9e37_79f9;
const ARRAY: u64 = 0x27d4_eb2f_1656_67c5;
const WORD: u64 = 0x85eb_ca77_c2b2_ae63;

/// A record nested too deeply to be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooDeep;

/// Number of the JSON value `text`: 0 to 2^63 - 1. `text` is valid JSON; else the number means nothing.
pub(crate) fn number_of(text: &str) -> Result<i64, TooDeep> {
    let hash = Reader { text: text.as_bytes(), at: 0, unescaped: Vec::new() }.value(0)?;
    Ok((hash >> 1) as i64)
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    unescaped: Vec<u8>,
}

impl Reader<'_> {
    fn peek(&mut self) -> u8 {
        while let Some(byte @ (b' ' | b'\t' | b'\r' | b'\n')) = self.text.get(self.at).copied() {
            let _ = byte;
            self.at += 1;
        }
        self.text.get(self.at).copied().unwrap_or(0)
    }

    fn value(&mut self, depth: usize) -> Result<u64, TooDeep> {
        if depth > MAX_DEPTH {
            return Err(TooDeep);
        }
        match self.peek() {
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            b'"' => Ok(self.string()),
            _ => Ok(self.word()),
        }
    }

    fn object(&mut self, depth: usize) -> Result<u64, TooDeep> {
        let (mut sum, mut members) = (0u64, 0u64);
        self.at += 1;
        loop {
            match self.peek() {
                b'"' => {
                    let key = self.string();
                    if self.peek() == b':' {
                        self.at += 1;
                    }
                    sum = sum.wrapping_add(mix(key, self.value(depth + 1)?));
                    members += 1;
                }
                b',' => self.at += 1,
                _ => break,
            }
        }
        self.at += 1;
        Ok(mix(OBJECT ^ members, sum))
    }

    fn array(&mut self, depth: usize) -> Result<u64, TooDeep> {
        let mut hash = ARRAY;
        self.at += 1;
        loop {
            match self.peek() {
                b']' | 0 => break,
                b',' => self.at += 1,
                _ => hash = mix(hash, self.value(depth + 1)?),
            }
        }
        self.at += 1;
        Ok(mix(hash, ARRAY))
    }

    fn string(&mut self) -> u64 {
        let start = self.at + 1;
        let rest = self.text.get(start..).unwrap_or_default();
        let length = memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
        if rest.get(length) != Some(&b'\\') {
            self.at = start + length + 1;
            return xxh3_64_with_seed(&rest[..length], STRING);
        }
        self.unescape(start)
    }

    fn unescape(&mut self, start: usize) -> u64 {
        self.unescaped.clear();
        self.at = start;
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let length = memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
            self.unescaped.extend_from_slice(&rest[..length]);
            self.at += length + 1;
            if rest.get(length) != Some(&b'\\') {
                return xxh3_64_with_seed(&self.unescaped, STRING);
            }
            let escaped = self.text.get(self.at).copied().unwrap_or(b'\\');
            self.at += 1;
            match escaped {
                b'u' => self.unicode(),
                b'n' => self.unescaped.push(b'\n'),
                b't' => self.unescaped.push(b'\t'),
                b'r' => self.unescaped.push(b'\r'),
                b'b' => self.unescaped.push(8),
                b'f' => self.unescaped.push(12),
                other => self.unescaped.push(other),
            }
        }
    }

    /// The character after `\u`; half of a surrogate pair, which stands for nothing, counts as its number.
    fn unicode(&mut self) {
        let mut code = self.hex();
        if (0xd800..0xdc00).contains(&code) && self.text.get(self.at..self.at + 2) == Some(b"\\u") {
            let mark = self.at;
            self.at += 2;
            let low = self.hex();
            if (0xdc00..0xe000).contains(&low) {
                code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
            } else {
                self.at = mark;
            }
        }
        match char::from_u32(code) {
            Some(character) => self.unescaped.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            None => self.unescaped.extend_from_slice(&code.to_be_bytes()),
        }
    }

    fn hex(&mut self) -> u32 {
        let digits = self.text.get(self.at..self.at + 4).unwrap_or_default();
        self.at += digits.len();
        digits.iter().fold(0, |code, digit| code << 4 | (*digit as char).to_digit(16).unwrap_or(0))
    }

    /// `true`, `false`, `null` or a number.
    fn word(&mut self) -> u64 {
        let rest = &self.text[self.at.min(self.text.len())..];
        let end = rest.iter().position(|byte| !(byte.is_ascii_alphanumeric() || b"+-.".contains(byte)));
        // At least one byte, so that text that is no JSON ends as well.
        let word = &rest[..end.unwrap_or(rest.len())];
        self.at += word.len().max(1);
        match word.first() {
            Some(b'0'..=b'9' | b'-') => number(word),
            _ => xxh3_64_with_seed(word, WORD),
        }
    }
}

fn number(word: &[u8]) -> u64 {
    if word.iter().all(|byte| byte.is_ascii_digit() || *byte == b'-') && word != b"-0" {
        return xxh3_64_with_seed(word, NUMBER);
    }
    let value: f64 = str::from_utf8(word).ok().and_then(|word| word.parse().ok()).unwrap_or(f64::NAN);
    // Whole numbers that a float holds exactly are the same number as their digits.
    if value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0 {
        return xxh3_64_with_seed((value as i64).to_string().as_bytes(), NUMBER);
    }
    xxh3_64_with_seed(&value.to_bits().to_be_bytes(), NUMBER)
}

/// A 128-bit product, folded.
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ 0x2d35_8dcc_aa6c_78a5) * u128::from(b ^ 0x8bb8_4b93_962e_acc9);
    (product as u64) ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_the_number_and_what_does_not() {
        let same = [
            (r#"{"a":1,"b":[1,2]}"#, "{\n \"b\" : [ 1,\r\n2 ] , \"a\":1 }"),
            (r#"{"a":"\u0041\n/é"}"#, r#"{"a":"A\u000a\/\u00e9"}"#),
            (r#"{"a":"😀"}"#, r#"{"a":"\ud83d\ude00"}"#),
            (r#"{"a":1.0,"b":-0}"#, r#"{"a":1e0,"b":0}"#),
            (r#"{"a":{"x":null,"y":true}}"#, r#"{"a":{"y":true,"x":null}}"#),
        ];
        for (one, other) in same {
            assert_eq!(number_of(one), number_of(other), "{one} {other}");
        }
        let texts = [
            r#"{"a":1,"b":2}"#,
            r#"{"a":2,"b":1}"#,
            r#"{"a":1}"#,
            r#"{"a":1,"b":2,"c":{}}"#,
            r#"{"a":"1","b":2}"#,
            r#"{"a":[1,2]}"#,
            r#"{"a":[2,1]}"#,
            r#"{"a":[[1],2]}"#,
            r#"{"a":[1,[2]]}"#,
            r#"{"a":{"b":1}}"#,
            r#"{"b":{"a":1}}"#,
            r#"{"a":null}"#,
            r#"{"a":"null"}"#,
            r#"{"a":[]}"#,
            r#"{"a":{}}"#,
            r#"{"a":""}"#,
            r#"{"a":true}"#,
            r#"{"a":1.5}"#,
            r#"{"a":"\ud800"}"#,
            r#"{"a":4026531837}"#,
            r#"{"a":18446744073709551615}"#,
            "{}",
            "[]",
            "1",
        ];
        let numbers: std::collections::BTreeSet<i64> = texts.iter().map(|text| number_of(text).unwrap()).collect();
        assert_eq!(numbers.len(), texts.len());
        assert!(numbers.iter().all(|number| *number >= 0));
    }

    #[test]
    fn it_ends_on_any_text() {
        for text in
            ["", "{", "[", "\"", "{\"a\"", "{\"a\":", "[1,", "\"\\", "\"\\u12", "}", "{,}", "[}", "é", "{\"a\":}"]
        {
            let _ = number_of(text);
        }
        assert_eq!(number_of(&"[".repeat(1000)), Err(TooDeep));
    }
}

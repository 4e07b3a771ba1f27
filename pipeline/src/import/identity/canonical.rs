//! The number of an imported record: a hash of what it says, not of how it is written.
//!
//! Invariant: key order, white space, escapes in strings and the notation of a number do not change the number, so the
//! same event has the same number in an indented export and in one with an event on each line.
//! Invariant: everything else does, the order of array items included.
//! Invariant: a text has a number if and only if `serde_json` reads it as `IgnoredAny` and it is nested no deeper than
//! [`MAX_DEPTH`]; `canonical/tests.rs` compares both on generated texts.
//! Invariant: numbers are stored in lakes (column `seq`). They must not change, or importing a file again after an
//! upgrade would add every row once more; `canonical/tests.rs` holds some of the first release.
//!
//! An object's hash is built from the sum of its members' hashes, which needs neither sorting nor a tree. Members of the
//! same name all count. The hash is not cryptographic; the start times in nanoseconds inside records keep two of them
//! apart.
//!
//! Why not hash while serde parses: hashing in a visitor of serde_json read 0.83 GB/s of Tetragon's 2 KB records where
//! this reader takes 1.09 GB/s, and the types that formats parse into skip the fields that they have no column for.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::import::split::MAX_DEPTH;

const STRING: u64 = 0x9e37_79b9_7f4a_7c15;
const NUMBER: u64 = 0xc2b2_ae3d_27d4_eb4f;
const FLOAT: u64 = 0x94d0_49bb_1331_11eb;
const OBJECT: u64 = 0x1656_67b1_9e37_79f9;
const ARRAY: u64 = 0x27d4_eb2f_1656_67c5;
const WORD: u64 = 0x85eb_ca77_c2b2_ae63;

/// Why a text has no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoNumber {
    /// It is not JSON (RFC 8259).
    #[error("not valid JSON")]
    Invalid,
    /// Objects and arrays are nested deeper than [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
}

/// The number of the JSON value `text`, 0 to 2^63 - 1.
///
/// Errors: `text` is not one JSON value, or is nested too deeply. Halves of surrogate pairs and numbers beyond the range
/// of a float are accepted, as `serde_json` does in values that it skips.
pub(crate) fn number_of(text: &str) -> Result<i64, NoNumber> {
    let mut reader = JsonHasher { text: text.as_bytes(), at: 0, unescaped: Vec::new() };
    let hash = reader.value(0)?;
    reader.peek();
    if reader.at < text.len() {
        return Err(NoNumber::Invalid);
    }
    Ok((hash >> 1) as i64)
}

struct JsonHasher<'a> {
    text: &'a [u8],
    at: usize,
    /// Holds a string while its escapes are resolved.
    unescaped: Vec<u8>,
}

impl<'a> JsonHasher<'a> {
    /// The next byte that is not white space; 0 at the end, which starts and continues nothing in JSON.
    fn peek(&mut self) -> u8 {
        while let b' ' | b'\t' | b'\r' | b'\n' = self.byte() {
            self.at += 1;
        }
        self.byte()
    }

    fn byte(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or(0)
    }

    fn value(&mut self, depth: usize) -> Result<u64, NoNumber> {
        if depth > MAX_DEPTH {
            return Err(NoNumber::TooDeep);
        }
        match self.peek() {
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            b'"' => self.string(),
            b'-' | b'0'..=b'9' => self.number(),
            _ => self.word(),
        }
    }

    fn object(&mut self, depth: usize) -> Result<u64, NoNumber> {
        let (mut sum, mut members) = (0u64, 0u64);
        self.at += 1;
        let mut more = self.peek() != b'}';
        while more {
            if self.peek() != b'"' {
                return Err(NoNumber::Invalid);
            }
            let key = self.string()?;
            if self.peek() != b':' {
                return Err(NoNumber::Invalid);
            }
            self.at += 1;
            sum = sum.wrapping_add(mix(key, self.value(depth + 1)?));
            members += 1;
            more = self.another(b'}')?;
        }
        self.at += 1;
        Ok(mix(OBJECT ^ members, sum))
    }

    fn array(&mut self, depth: usize) -> Result<u64, NoNumber> {
        let mut hash = ARRAY;
        self.at += 1;
        let mut more = self.peek() != b']';
        while more {
            hash = mix(hash, self.value(depth + 1)?);
            more = self.another(b']')?;
        }
        self.at += 1;
        Ok(mix(hash, ARRAY))
    }

    /// Whether a comma follows, which is passed, or the `closing` bracket, which is not.
    fn another(&mut self, closing: u8) -> Result<bool, NoNumber> {
        match self.peek() {
            b',' => {
                self.at += 1;
                Ok(true)
            }
            byte if byte == closing => Ok(false),
            _ => Err(NoNumber::Invalid),
        }
    }

    /// The string whose opening quote comes next.
    fn string(&mut self) -> Result<u64, NoNumber> {
        self.at += 1;
        let plain = self.plain();
        match self.byte() {
            b'"' => {
                self.at += 1;
                Ok(xxh3_64_with_seed(plain, STRING))
            }
            b'\\' => {
                self.unescaped.clear();
                self.unescaped.extend_from_slice(plain);
                self.unescape()
            }
            _ => Err(NoNumber::Invalid),
        }
    }

    /// Passes the bytes of a string up to the next quote, backslash or control character.
    fn plain(&mut self) -> &'a [u8] {
        let rest = &self.text[self.at..];
        let length = plain_length(rest);
        self.at += length;
        &rest[..length]
    }

    /// The rest of a string, from its first backslash on.
    fn unescape(&mut self) -> Result<u64, NoNumber> {
        loop {
            match self.byte() {
                b'"' => {
                    self.at += 1;
                    return Ok(xxh3_64_with_seed(&self.unescaped, STRING));
                }
                b'\\' => self.escape()?,
                _ => return Err(NoNumber::Invalid),
            }
            let plain = self.plain();
            self.unescaped.extend_from_slice(plain);
        }
    }

    fn escape(&mut self) -> Result<(), NoNumber> {
        self.at += 1;
        let meaning = match self.byte() {
            b'u' => {
                self.at += 1;
                return self.unicode();
            }
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'b' => 8,
            b'f' => 12,
            itself @ (b'"' | b'\\' | b'/') => itself,
            _ => return Err(NoNumber::Invalid),
        };
        self.at += 1;
        self.unescaped.push(meaning);
        Ok(())
    }

    /// The character after `\u`, or half of a surrogate pair.
    fn unicode(&mut self) -> Result<(), NoNumber> {
        let mut code = self.hex()?;
        if (0xd800..0xdc00).contains(&code) && self.text[self.at..].starts_with(b"\\u") {
            let after_first = self.at;
            self.at += 2;
            let low = self.hex()?;
            if (0xdc00..0xe000).contains(&low) {
                code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
            } else {
                self.at = after_first;
            }
        }
        match char::from_u32(code) {
            Some(character) => self.unescaped.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            None => self.unescaped.extend_from_slice(&half_of_a_pair(code)),
        }
        Ok(())
    }

    fn hex(&mut self) -> Result<u32, NoNumber> {
        let digits = self.text.get(self.at..self.at + 4).ok_or(NoNumber::Invalid)?;
        self.at += 4;
        digits.iter().try_fold(0, |code, digit| {
            let digit = (*digit as char).to_digit(16).ok_or(NoNumber::Invalid)?;
            Ok(code << 4 | digit)
        })
    }

    /// `true`, `false` or `null`.
    fn word(&mut self) -> Result<u64, NoNumber> {
        let rest = &self.text[self.at..];
        let known = [&b"true"[..], b"false", b"null"].into_iter().find(|word| rest.starts_with(word));
        let word = known.ok_or(NoNumber::Invalid)?;
        self.at += word.len();
        Ok(xxh3_64_with_seed(word, WORD))
    }

    fn number(&mut self) -> Result<u64, NoNumber> {
        let start = self.at;
        self.at += usize::from(self.byte() == b'-');
        match self.byte() {
            b'0' => self.at += 1,
            _ => self.digits()?,
        }
        let whole = self.at;
        if self.byte() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if let b'e' | b'E' = self.byte() {
            self.at += 1;
            self.at += usize::from(matches!(self.byte(), b'+' | b'-'));
            self.digits()?;
        }
        let text = &self.text[start..self.at];
        Ok(if self.at == whole && text != b"-0" { xxh3_64_with_seed(text, NUMBER) } else { float(text) })
    }

    /// Passes one digit or more.
    fn digits(&mut self) -> Result<(), NoNumber> {
        let start = self.at;
        while self.byte().is_ascii_digit() {
            self.at += 1;
        }
        if self.at == start { Err(NoNumber::Invalid) } else { Ok(()) }
    }
}

/// The hash of a number that is not written as a whole one.
fn float(text: &[u8]) -> u64 {
    let value: f64 = str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN);
    // Whole numbers that a float holds exactly are the same number as their digits.
    if value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0 {
        return xxh3_64_with_seed((value as i64).to_string().as_bytes(), NUMBER);
    }
    let bits = value.to_bits().to_be_bytes();
    // Some floats have the bytes of eight digits.
    let looks_whole = bits.iter().all(|byte| byte.is_ascii_digit() || *byte == b'-');
    xxh3_64_with_seed(&bits, if looks_whole { FLOAT } else { NUMBER })
}

/// Encodes a surrogate without its other half: bytes that no text has.
fn half_of_a_pair(code: u32) -> [u8; 4] {
    let [_, _, high, low] = code.to_be_bytes();
    match low {
        // Here the four bytes would be those of three characters; these are the surrogate as UTF-8 would have it.
        0x80..=0xbf => [0xed, 0x80 | ((code >> 6) & 0x3f) as u8, 0x80 | (code & 0x3f) as u8, 0xff],
        _ => [0, 0, high, low],
    }
}

/// Bytes of `text` before the first quote, backslash or control character.
fn plain_length(text: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    // The high bit of each byte that is below `limit`, which is at most 0x80; beyond the first also of some others.
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word & HIGH;
    let (words, rest) = text.as_chunks::<8>();
    for (place, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let quote = below(word ^ (ONES * u64::from(b'"')), 1);
        let backslash = below(word ^ (ONES * u64::from(b'\\')), 1);
        let found = below(word, 0x20) | quote | backslash;
        if found != 0 {
            return place * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let stops = |byte: &u8| *byte < 0x20 || matches!(*byte, b'"' | b'\\');
    words.len() * 8 + rest.iter().position(stops).unwrap_or(rest.len())
}

/// A 128-bit product, folded.
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ 0x2d35_8dcc_aa6c_78a5) * u128::from(b ^ 0x8bb8_4b93_962e_acc9);
    (product as u64) ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests;

//! The texts that a value stands for under Sigma's encoding modifiers.
//!
//! Source: Sigma specification 2.0, "Modifiers": `wide`, `utf16`, `utf16be`, `base64`, `base64offset`, `windash`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rsigma_ir::IrEncoding;

/// What may stand in place of `-` before an option.
const DASHES: [char; 5] = ['-', '/', '\u{2013}', '\u{2014}', '\u{2015}'];

/// The texts, each of which `value` may be in an event.
///
/// Errors: the result is not valid UTF-8, or the value is too short; the reason.
pub(super) fn texts(value: &str, encodings: &[IrEncoding]) -> Result<Vec<String>, String> {
    let mut variants = vec![value.as_bytes().to_vec()];
    for encoding in encodings {
        let mut next = Vec::new();
        for variant in &variants {
            next.extend(apply(*encoding, variant)?);
        }
        variants = next;
    }
    let mut texts = variants
        .into_iter()
        .map(|bytes| {
            String::from_utf8(bytes).map_err(|_| "is no text; put base64 or base64offset behind it".to_owned())
        })
        .collect::<Result<Vec<_>, _>>()?;
    texts.sort();
    texts.dedup();
    Ok(texts)
}

fn apply(encoding: IrEncoding, value: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let text = || str::from_utf8(value).map_err(|_| "is encoded before it is text".to_owned());
    Ok(match encoding {
        IrEncoding::Wide => vec![utf16(text()?, u16::to_le_bytes)],
        IrEncoding::Utf16 => vec![[&[0xff, 0xfe], utf16(text()?, u16::to_le_bytes).as_slice()].concat()],
        IrEncoding::Utf16Be => vec![utf16(text()?, u16::to_be_bytes)],
        IrEncoding::Base64 => vec![STANDARD.encode(value).into_bytes()],
        IrEncoding::Base64Offset => {
            let texts: Vec<_> = (0..3).map(|offset| base64_at(offset, value).into_bytes()).collect();
            if texts.iter().any(Vec::is_empty) {
                return Err("is too short for base64offset".to_owned());
            }
            texts
        }
        IrEncoding::Windash => with_dashes(text()?),
    })
}

fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(bytes).collect()
}

/// What of the base64 of a longer text depends on `value` alone, where `offset` bytes (modulo 3) are before it.
fn base64_at(offset: usize, value: &[u8]) -> String {
    let encoded = STANDARD.encode([&vec![b' '; offset], value].concat());
    // Characters of 6 bits that also hold bits of a byte before or behind.
    let start = [0, 2, 3][offset];
    let behind = [0, 3, 2][(offset + value.len()) % 3];
    encoded[start..encoded.len().saturating_sub(behind).max(start)].to_owned()
}

/// Places of dashes of which every combination is looked for.
const MOST_PLACES: usize = 3;

/// `text` with any dash in any place where `-` or `/` begins an option: none of a word's letters is before it, and one is
/// behind. Where there are many places, with the same dash in all of them, or as it is.
fn with_dashes(text: &str) -> Vec<Vec<u8>> {
    let is_word = |character: Option<char>| character.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let mut before = None;
    let mut places = Vec::new();
    for (place, character) in text.char_indices() {
        let behind = text[place + character.len_utf8()..].chars().next();
        if matches!(character, '-' | '/') && !is_word(before) && is_word(behind) {
            places.push(place);
        }
        before = Some(character);
    }
    let replaced = |dashes: &dyn Fn(usize) -> char| {
        let mut number = 0;
        let with = text.char_indices().map(|(place, character)| match places.get(number) {
            Some(next) if *next == place => {
                number += 1;
                dashes(number - 1)
            }
            _ => character,
        });
        with.collect::<String>().into_bytes()
    };
    let kinds = DASHES.len();
    if places.len() > MOST_PLACES {
        let same = DASHES.iter().map(|dash| replaced(&|_| *dash));
        return same.chain([text.as_bytes().to_vec()]).collect();
    }
    let combinations = 0..kinds.pow(places.len() as u32);
    combinations.map(|number| replaced(&|place| DASHES[number / kinds.pow(place as u32) % kinds])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_modifier_and_their_chains() {
        use IrEncoding::{Base64, Base64Offset, Utf16, Utf16Be, Wide, Windash};
        let cases: &[(&str, &[IrEncoding], &[&str])] = &[
            ("ab", &[Wide], &["a\0b\0"]),
            ("ab", &[Utf16Be], &["\0a\0b"]),
            ("foo", &[Base64], &["Zm9v"]),
            ("fo", &[Base64], &["Zm8="]),
            ("foobar", &[Base64Offset], &["Zm9vYmFy", "Zvb2Jhc", "mb29iYX"]),
            ("/bin/sh", &[Base64Offset], &["L2Jpbi9za", "9iaW4vc2", "vYmluL3No"]),
            ("ab", &[Wide, Base64], &["YQBiAA=="]),
            ("ab", &[Utf16, Base64], &["//5hAGIA"]),
            (
                "x -y a-b",
                &[Windash],
                &["x -y a-b", "x /y a-b", "x \u{2013}y a-b", "x \u{2014}y a-b", "x \u{2015}y a-b"],
            ),
        ];
        for (value, encodings, expected) in cases {
            let mut expected: Vec<_> = expected.iter().map(ToString::to_string).collect();
            expected.sort();
            assert_eq!(texts(value, encodings).unwrap(), expected, "{value} {encodings:?}");
        }
        assert!(texts("ab", &[Utf16]).is_err());
        assert!(texts("a", &[Base64Offset]).is_err());
        let found = texts("-i /etc/x -b", &[Windash]).unwrap();
        for expected in ["-i /etc/x -b", "/i /etc/x -b", "-i /etc/x /b", "\u{2013}i -etc/x /b"] {
            assert!(found.contains(&expected.to_owned()), "{expected}: {found:?}");
        }
        let many = "-a -b -c -d -e -f";
        let found = texts(many, &[Windash]).unwrap();
        assert!(found.contains(&many.to_owned()) && found.contains(&many.replace('-', "/")) && found.len() == 5);
    }

    #[test]
    fn an_offset_is_found_wherever_the_text_stands() {
        let value = "curl http://x | sh";
        for before in 0..6 {
            for behind in 0..6 {
                let whole = format!("{}{value}{}", &"#!bin~"[..before], &"\n; e?x"[..behind]);
                let encoded = STANDARD.encode(&whole);
                let found = texts(value, &[IrEncoding::Base64Offset]).unwrap();
                assert!(found.iter().any(|text| encoded.contains(text.as_str())), "{whole:?} {encoded} {found:?}");
            }
        }
    }
}

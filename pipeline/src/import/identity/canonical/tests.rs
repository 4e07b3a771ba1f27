use std::fmt;

use proptest::prelude::*;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::*;

/// What a JSON text says: the reference, with serde_json as the reader of everything that is JSON.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Canonical {
    Word(String),
    Whole(String),
    /// The bits of a number that is not whole, or too large to be exact.
    Float(u64),
    /// As UTF-8, in which halves of surrogate pairs are allowed.
    Text(Vec<u8>),
    Array(Vec<Canonical>),
    /// Sorted; a name may be there several times.
    Object(Vec<(Vec<u8>, Canonical)>),
}

impl Canonical {
    /// `None`: serde_json rejects the text, or it is nested too deeply.
    fn of(text: &str) -> Option<Self> {
        serde_json::from_str::<IgnoredAny>(text).ok()?;
        Self::at(text, 0)
    }

    fn at(text: &str, depth: usize) -> Option<Self> {
        if depth > MAX_DEPTH {
            return None;
        }
        let text = text.trim_matches([' ', '\t', '\r', '\n']);
        Some(match text.as_bytes().first()? {
            b'{' => {
                let Members(members) = serde_json::from_str(text).unwrap();
                let members = members.into_iter().map(|(key, value)| Some((key, Self::at(value.get(), depth + 1)?)));
                let mut members = members.collect::<Option<Vec<_>>>()?;
                members.sort();
                Self::Object(members)
            }
            b'[' => {
                let items: Vec<&RawValue> = serde_json::from_str(text).unwrap();
                Self::Array(items.into_iter().map(|item| Self::at(item.get(), depth + 1)).collect::<Option<_>>()?)
            }
            b'"' => Self::Text(serde_json::from_str::<Bytes>(text).unwrap().0),
            b't' | b'f' | b'n' => Self::Word(text.to_owned()),
            _ => Self::number(text),
        })
    }

    fn number(text: &str) -> Self {
        let float: f64 = text.parse().unwrap();
        match text.contains(['.', 'e', 'E']) {
            true if float.fract() == 0.0 && float.abs() < 2f64.powi(53) => Self::Whole(format!("{}", float as i64)),
            true => Self::Float(float.to_bits()),
            false if text == "-0" => Self::Whole("0".to_owned()),
            false => Self::Whole(text.to_owned()),
        }
    }
}

struct Bytes(Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BytesVisitor;
        impl Visitor<'_> for BytesVisitor {
            type Value = Bytes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_owned()))
            }
        }
        deserializer.deserialize_bytes(BytesVisitor)
    }
}

struct Members<'a>(Vec<(Vec<u8>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((Bytes(name), value)) = map.next_entry()? {
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(MembersVisitor)
    }
}

/// Whether `text` has a number exactly if the reference reads it; the reference's value.
fn read(text: &str) -> Option<(Canonical, i64)> {
    let (expected, number) = (Canonical::of(text), number_of(text));
    assert_eq!(number.is_ok(), expected.is_some(), "{number:?} {text:?}");
    if let Ok(number) = number {
        assert!(number >= 0, "{text:?}");
    }
    expected.zip(number.ok())
}

/// Whether two texts have equal numbers exactly if they say the same.
fn compare(one: &str, other: &str) {
    if let (Some((one_value, one_number)), Some((other_value, other_number))) = (read(one), read(other)) {
        assert_eq!(one_value == other_value, one_number == other_number, "{one:?} {other:?}");
    }
}

/// The ways in which one value can be written, chosen one after the other from random bytes.
struct Style {
    choices: Vec<u8>,
    next: usize,
}

impl Style {
    fn choose(&mut self, ways: usize) -> usize {
        self.next += 1;
        self.choices.get(self.next % self.choices.len().max(1)).map_or(0, |byte| usize::from(*byte) % ways)
    }

    fn space(&mut self, out: &mut String) {
        out.push_str(["", "", "", " ", "\n", "\r\n\t", "  "][self.choose(7)]);
    }

    fn string(&mut self, text: &str, out: &mut String) {
        out.push('"');
        for character in text.chars() {
            let way = self.choose(4);
            match character {
                '"' | '\\' => out.extend(['\\', character]),
                '/' if way == 0 => out.push_str("\\/"),
                '\n' if way < 2 => out.push_str("\\n"),
                '\t' if way < 2 => out.push_str("\\t"),
                '\r' if way < 2 => out.push_str("\\r"),
                '\u{8}' if way < 2 => out.push_str("\\b"),
                '\u{c}' if way < 2 => out.push_str("\\f"),
                control if control < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(control))),
                _ if way == 1 => character.encode_utf16(&mut [0; 2]).iter().for_each(|unit| {
                    out.push_str(&if unit % 2 == 0 { format!("\\u{unit:04x}") } else { format!("\\u{unit:04X}") });
                }),
                _ => out.push(character),
            }
        }
        out.push('"');
    }

    fn whole(&mut self, number: i32, out: &mut String) {
        out.push_str(&match self.choose(5) {
            0 => format!("{number}.0"),
            1 => format!("{number}e0"),
            2 if number != 0 => format!("{number}0E-1"),
            3 if number % 10 == 0 && number != 0 => format!("{}e+1", number / 10),
            _ => number.to_string(),
        });
    }

    fn write(&mut self, value: &Json, out: &mut String) {
        self.space(out);
        match value {
            Json::Raw(text) => out.push_str(text),
            Json::Whole(number) => self.whole(*number, out),
            Json::Text(text) => self.string(text, out),
            Json::Array(items) => {
                out.push('[');
                for (place, item) in items.iter().enumerate() {
                    out.push_str(if place > 0 { "," } else { "" });
                    self.write(item, out);
                }
                self.space(out);
                out.push(']');
            }
            Json::Object(members) => {
                out.push('{');
                let first = self.choose(members.len().max(1));
                for place in 0..members.len() {
                    let (name, value) = &members[(first + place) % members.len()];
                    out.push_str(if place > 0 { "," } else { "" });
                    self.space(out);
                    self.string(name, out);
                    self.space(out);
                    out.push(':');
                    self.write(value, out);
                }
                self.space(out);
                out.push('}');
            }
        }
        self.space(out);
    }
}

#[derive(Clone, Debug)]
enum Json {
    /// Written in one way only.
    Raw(String),
    Whole(i32),
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

fn any_string() -> impl Strategy<Value = String> {
    prop_oneof!["[ab]{0,2}", "\\PC{0,12}", any::<String>(), "[\u{0}-\u{7f}]{0,20}"]
}

/// The float whose bytes are those of eight digits.
fn float_of(digits: &str) -> String {
    format!("{:e}", f64::from_bits(digits.bytes().fold(0, |bits, byte| bits << 8 | u64::from(byte))))
}

/// Numbers of every form, among them floats whose bytes are digits and numbers that no float holds.
fn any_number() -> impl Strategy<Value = String> {
    prop_oneof![
        "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,5})?([eE][+-]?[0-9]{1,3})?",
        "-?[0-3](\\.[05])?(e[+-]?[0-2])?",
        any::<f64>()
            .prop_filter("JSON has no infinity", |float| float.is_finite())
            .prop_map(|float| format!("{float:e}")),
        "[0-9-]{8}".prop_map(|digits| float_of(&digits)),
        "[1-9][0-9]{7}",
    ]
}

/// Strings with escapes of every kind, also halves of surrogate pairs.
fn any_escapes() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "\\\\u[dD][89abAB][0-9a-fA-F]{2}",
        "\\\\u[dD][c-fC-F][0-9a-fA-F]{2}",
        "\\\\u0[0-9a-f]{3}",
        "\\\\[nrtbf/\"\\\\]",
        "\u{600}|\u{61a}|\u{6ff}|\\\\u0000",
        "[a-z ]{1,9}",
    ];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        prop_oneof![Just("true"), Just("false"), Just("null")].prop_map(|word| Json::Raw(word.to_owned())),
        any_number().prop_map(Json::Raw),
        any_escapes().prop_map(Json::Raw),
        (-30..30).prop_map(Json::Whole),
        any_string().prop_map(Json::Text),
    ];
    leaf.prop_recursive(6, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Json::Array),
            prop::collection::vec((any_string(), inner), 0..6).prop_map(Json::Object),
        ]
    })
}

fn any_style() -> impl Strategy<Value = Style> {
    prop::collection::vec(any::<u8>(), 1..64).prop_map(|choices| Style { choices, next: 0 })
}

impl fmt::Debug for Style {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.choices)
    }
}

fn written(value: &Json, mut style: Style) -> String {
    let mut text = String::new();
    style.write(value, &mut text);
    text
}

/// A text with one change: a character dropped, repeated, put in, or swapped with the next.
fn changed(text: &str, at: prop::sample::Index, how: usize, character: char) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    let at = at.index(characters.len().max(1)).min(characters.len());
    match how {
        0 if at < characters.len() => drop(characters.remove(at)),
        1 if at < characters.len() => characters.insert(at, characters[at]),
        2 if at + 1 < characters.len() => characters.swap(at, at + 1),
        3 => characters.truncate(at),
        _ => characters.insert(at, character),
    }
    characters.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_value_has_one_record_number_in_every_notation(value in any_json(), one in any_style(), other in any_style()) {
        let (one, other) = (written(&value, one), written(&value, other));
        let ((_, number), (_, same)) = (read(&one).unwrap(), read(&other).unwrap());
        prop_assert_eq!(number, same, "{:?} {:?}", one, other);
    }

    #[test]
    fn a_changed_text_has_another_record_number_exactly_if_serde_json_sees_a_change(
        value in any_json(),
        style in any_style(),
        changes in prop::collection::vec(
            (any::<prop::sample::Index>(), 0..6usize, "[\\[\\]{}:,\"\\\\0-9eE.+\\-tfnu \n\u{0}\u{1f}a]"), 1..4),
    ) {
        let text = written(&value, style);
        let mut latest = text.clone();
        for (at, how, character) in changes {
            let next = changed(&latest, at, how, character.chars().next().unwrap());
            compare(&latest, &next);
            latest = next;
        }
        compare(&text, &latest);
    }

    #[test]
    fn record_numbers_differ_exactly_if_the_values_do(one in any_json(), other in any_json(), style in any_style()) {
        let other_style = Style { choices: style.choices.clone(), next: 7 };
        compare(&written(&one, style), &written(&other, other_style));
    }

    #[test]
    fn record_numbers_differ_exactly_if_the_json_numbers_do(one in any_number(), other in any_number()) {
        compare(&one, &other);
    }

    #[test]
    fn digits_and_a_float_with_the_same_bytes_differ(digits in "[1-9][0-9]{7}") {
        compare(&digits, &float_of(&digits));
    }

    #[test]
    fn record_numbers_differ_exactly_if_the_strings_do(one in any_escapes(), other in any_escapes()) {
        compare(&one, &other);
    }

    #[test]
    fn text_that_is_not_json_has_no_number(text in "[\\[\\]{}:,\"\\\\0-9eE.+\\-truefalsn \n\u{0}]{0,12}") {
        read(&text);
    }

    #[test]
    fn nesting_has_a_limit(depth in MAX_DEPTH - 3..MAX_DEPTH + 3, arrays in any::<bool>(), inside in "(1|\"\")?") {
        let (open, close) = if arrays { ("[", "]") } else { ("{\"a\":", "}") };
        let inside = if inside.is_empty() && !arrays { "null".to_owned() } else { inside };
        read(&format!("{}{inside}{}", open.repeat(depth), close.repeat(depth)));
    }
}

/// Pairs that a careless hash would not distinguish, and texts that are barely JSON or barely not.
#[test]
fn values_that_could_collide_differ() {
    let texts = [
        // The bits of this float are the bytes of the digits beside it.
        "12345678",
        "1.0300843656201408e-71",
        // Half a surrogate pair, and the characters whose bytes once stood for it.
        r#""\ud880""#,
        r#""\u0000\u0000\u0600""#,
        r#""\ud800\u0041""#,
        r#""\ud800A""#,
        r#""\ud800\ud800\udc00""#,
        r#""\udc00\ud800""#,
        "-0",
        "0",
        "0.0",
        "-0.0",
        "1e400",
        "2e400",
        "-1e400",
        "01",
        "1.",
        ".5",
        "+1",
        "-",
        "1e",
        "1e+",
        "tru",
        "truee",
        "nullnull",
        "[1,]",
        "[,1]",
        r#"{"a":1,}"#,
        r#"{"a" 1}"#,
        r#"{1:2}"#,
        "\"\u{1}\"",
        "\"\u{7f}\"",
        r#""\x""#,
        r#""\u12""#,
        r#""\u+123""#,
        "",
        " ",
        "\u{feff}1",
        "1 2",
        "[]]",
        "{\"a\":[}",
    ];
    for one in texts {
        texts.iter().for_each(|other| compare(one, other));
    }
}

#[test]
fn notation_does_not_change_a_number_and_content_does() {
    let same = [
        (r#"{"a":1,"b":[1,2]}"#, "{\n \"b\" : [ 1,\r\n2 ] , \"a\":1 }"),
        (r#"{"a":"\u0041\n/é"}"#, r#"{"a":"A\u000a\/\u00e9"}"#),
        (r#"{"a":"😀"}"#, r#"{"a":"\ud83d\ude00"}"#),
        (r#"{"a":1.0,"b":-0}"#, r#"{"a":1e0,"b":0}"#),
        (r#"{"a":{"x":null,"y":true}}"#, r#"{"a":{"y":true,"x":null}}"#),
    ];
    for (one, other) in same {
        assert_eq!(number_of(one).unwrap(), number_of(other).unwrap(), "{one} {other}");
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
fn reading_terminates_on_any_text() {
    for text in ["", "{", "[", "\"", "{\"a\"", "{\"a\":", "[1,", "\"\\", "\"\\u12", "}", "{,}", "[}", "é", "{\"a\":}"]
    {
        let _ = number_of(text);
    }
    assert_eq!(number_of(&"[".repeat(1000)), Err(NoNumber::TooDeep));
}

/// The numbers that the first release stored. They must not change: see the module.
#[test]
fn numbers_of_the_first_release_are_kept() {
    for line in include_str!("first_release.txt").lines() {
        let (number, text) = line.split_once(' ').unwrap();
        assert_eq!(number_of(text), Ok(number.parse().unwrap()), "{text}");
    }
    let recording: Vec<i64> =
        include_str!("../../../../tests/import/escape.ndjson").lines().map(|line| number_of(line).unwrap()).collect();
    assert_eq!(recording, RECORDING);
}

const RECORDING: [i64; 12] = [
    7_076_467_887_672_188_621,
    4_181_942_727_815_283_315,
    973_056_675_684_193_663,
    2_128_176_307_551_566_140,
    5_025_400_866_966_514_809,
    154_655_269_696_054_403,
    4_696_376_583_650_658_563,
    5_119_618_142_947_767_962,
    5_325_829_449_610_014_525,
    720_004_550_352_735_243,
    2_252_220_063_616_258_898,
    220_377_888_770_482_541,
];

//! Values of JSON exports, read leniently: strings are borrowed where they have no escapes, and numbers may be strings.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Unexpected, Visitor};

use super::format::RecordRefusal;

/// A string, borrowed where possible.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

/// A text that may be missing; an empty one counts as missing.
pub(super) type MaybeText<'a> = Option<Text<'a>>;

/// The text, unless it is missing or empty.
pub(super) fn given<'a>(text: &'a MaybeText<'_>) -> Option<&'a str> {
    text.as_ref().map(|text| text.0.as_ref()).filter(|text| !text.is_empty())
}

/// A whole number, written as such or as a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Number(pub(super) i128);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberVisitor;
        impl Visitor<'_> for NumberVisitor {
            type Value = Number;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number")
            }
            fn visit_u64<E>(self, number: u64) -> Result<Number, E> {
                Ok(Number(number.into()))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Number, E> {
                Ok(Number(number.into()))
            }
            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Number, E> {
                // Up to here a float holds whole numbers exactly.
                match number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0 {
                    true => Ok(Number(number as i128)),
                    false => Err(E::invalid_value(Unexpected::Float(number), &self)),
                }
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Number, E> {
                text.parse().map(Number).map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(NumberVisitor)
    }
}

/// Names and values of a map, in the order of the text.
#[derive(Debug, Default, Hash)]
pub(super) struct Pairs<'a>(pub(super) Vec<(Text<'a>, Text<'a>)>);

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor;
        impl<'de> Visitor<'de> for PairsVisitor {
            type Value = Pairs<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of strings")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
                let mut pairs = Vec::with_capacity(map.size_hint().unwrap_or(4));
                while let Some((name, value)) = map.next_entry::<Text<'de>, MaybeText<'de>>()? {
                    pairs.push((name, value.unwrap_or_default()));
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(PairsVisitor)
    }
}

impl Text<'_> {
    /// The text.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A copy of the text, unless it is missing or empty.
pub(super) fn owned(text: &MaybeText<'_>) -> Option<String> {
    given(text).map(str::to_owned)
}

/// `number` as the type of a column. Errors: it is out of range; `field` names it.
pub(super) fn fit<T: TryFrom<i128>>(field: &str, number: Option<Number>) -> Result<Option<T>, RecordRefusal> {
    let Some(Number(number)) = number else { return Ok(None) };
    T::try_from(number).map(Some).map_err(|_| RecordRefusal::content(format!("{field} {number} is out of range")))
}

/// A user or group id: 32 bits without sign, in a column with one.
pub(super) fn id(field: &str, number: Option<Number>) -> Result<Option<i32>, RecordRefusal> {
    Ok(fit::<u32>(field, number)?.map(|id| id as i32))
}

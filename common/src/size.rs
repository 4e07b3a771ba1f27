//! Numbers of bytes as people write and read them.
//!
//! `bytesize` also reads fractions (`1.5GiB`) and writes rounded ones, so that a setting would not read back as it was.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number of bytes in a setting, written `65536`, `64KiB`, `1GiB`; never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

const UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = UNITS.iter().find(|(_, unit)| self.0.is_multiple_of(*unit));
        let (name, unit) = whole.unwrap_or(&("B", 1));
        write!(f, "{}{name}", self.0 / unit)
    }
}

impl std::str::FromStr for Size {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a size such as \"64MiB\"");
        let digits = text.trim().trim_end_matches(|c: char| !c.is_ascii_digit());
        let suffix = text.trim()[digits.len()..].trim();
        let unit = match suffix {
            "" => 1,
            _ => UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(suffix)).ok_or_else(wrong)?.1,
        };
        let count: u64 = digits.trim().parse().map_err(|_| wrong())?;
        count.checked_mul(unit).filter(|bytes| *bytes > 0).map(Size).ok_or_else(wrong)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for Size {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^ *[0-9]+ *([KMGkmg][Ii])?[Bb]? *$"})
    }
}

impl Size {
    /// The number of bytes; the largest possible where this machine cannot address that many.
    pub fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// A check that a size is not smaller than `least` bytes.
    pub fn at_least(least: u64) -> impl Fn(&Self) -> Result<(), String> {
        move |size| match size.0 >= least {
            true => Ok(()),
            false => Err(format!("it must be {} or more", Self(least))),
        }
    }
}

/// `bytes` rounded to one decimal of a decimal unit: `17 B`, `1.2 kB`, `3.4 MB`.
pub fn rounded(bytes: i64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 1000.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1000.0;
    }
    format!("{value:.1} TB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounded_sizes() {
        assert_eq!(
            [0, 999, 1_000, 1_250_000, 5_000_000_000_000].map(rounded),
            ["0 B", "999 B", "1.0 kB", "1.2 MB", "5.0 TB"]
        );
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("1", 1), ("10B", 10), ("64KiB", 65_536), ("3 mib", 3 << 20), ("1GiB", 1 << 30)] {
            assert_eq!(text.parse::<Size>().map(|size| size.0), Ok(bytes), "{text}");
        }
        for text in ["", "0", "MiB", "1.5GiB", "-1", "10XB", "99999999999GiB"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
        assert_eq!(Size(16 << 20).to_string(), "16MiB");
    }
}

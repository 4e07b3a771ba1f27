//! Timestamps of exports (RFC 3339).

use kerntrail_schemas::cell::Micros;

/// The time that `text` names in RFC 3339, with any number of fractional digits; nanoseconds are truncated.
///
/// `None`: it is not a time, is before 1970, or is so late (after 2262-04-11) that its nanoseconds do not fit 64 bits, in which many
/// functions count.
pub(crate) fn rfc3339(text: &str) -> Option<Micros> {
    let time = utc(text.as_bytes()).or_else(|| {
        let time = chrono::DateTime::parse_from_rfc3339(text).ok()?;
        (time.timestamp() >= 0).then(|| Micros(time.timestamp_micros()))
    });
    time.filter(|time| time.0.checked_mul(1_000).is_some())
}

/// The common form, `2026-09-01T00:00:00.123456789Z`. It is read here because every record has several.
fn utc(text: &[u8]) -> Option<Micros> {
    let (head, rest) = text.split_at_checked(19)?;
    let number = |range: std::ops::Range<usize>| {
        head[range]
            .iter()
            .try_fold(0i64, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0')))
    };
    let marks = [head[4], head[7], head[10], head[13], head[16]];
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let fits = &marks == b"--T::" && hour < 24 && minute < 60 && second < 60 && (1..=12).contains(&month);
    if !fits || year < 1970 || !(1..=28).contains(&day) && !day_exists(year, month, day) {
        return None;
    }
    let days = days_from_civil(year, month, day);
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    Some(Micros(seconds * 1_000_000 + fraction(rest)?))
}

/// Microseconds of `.123456789Z` or `Z`.
fn fraction(text: &[u8]) -> Option<i64> {
    let digits = match text {
        [b'Z'] => return Some(0),
        [b'.', digits @ .., b'Z'] if (1..=9).contains(&digits.len()) => digits,
        _ => return None,
    };
    let mut micros = 0;
    for place in 0..6 {
        let digit = digits.get(place).copied().unwrap_or(b'0');
        micros = micros * 10 + i64::from(digit.wrapping_sub(b'0'));
    }
    digits.iter().all(u8::is_ascii_digit).then_some(micros)
}

fn day_exists(year: i64, month: i64, day: i64) -> bool {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    (1..=last).contains(&day)
}

/// Days since 1970-01-01, counting years from March, so that the leap day ends one.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_are_times() {
        let cases = [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2026-09-01T00:00:00.123456789Z", Some(1_788_220_800_123_456)),
            ("2026-09-01T02:00:00.5+02:00", Some(1_788_220_800_500_000)),
            ("2024-02-29T23:59:59.999Z", Some(1_709_251_199_999_000)),
            ("2023-02-29T00:00:00Z", None),
            ("2026-04-31T00:00:00Z", None),
            ("2026-09-01T24:00:00Z", None),
            ("2026-13-01T00:00:00Z", None),
            ("2262-04-11T23:47:16.854775807Z", Some(9_223_372_036_854_775)),
            ("2262-04-11T23:47:16.854776Z", None),
            ("9999-12-31T23:59:59+00:00", None),
            ("2026-09-01", None),
            ("2026-09-01T00:00:00", None),
            ("2026-09-01T00:00:00.Z", None),
            ("2026-09-01T00:00:00.12x4Z", None),
            ("0001-01-01T00:00:00Z", None),
            ("1969-12-31T23:59:59Z", None),
            ("yesterday", None),
            ("", None),
            ("2026-09-01T00:00:0\u{e9}Z", None),
        ];
        for (text, micros) in cases {
            assert_eq!(rfc3339(text), micros.map(Micros), "{text:?}");
        }
    }

    #[test]
    fn the_common_form_is_read_as_chrono_reads_it() {
        for day in (0..60_000).step_by(7) {
            let time = chrono::DateTime::from_timestamp(day * 86_400 + day % 86_400, 987_654_321).unwrap();
            let text = time.format("%Y-%m-%dT%H:%M:%S%.9fZ").to_string();
            assert_eq!(utc(text.as_bytes()), Some(Micros(time.timestamp_micros())), "{text}");
        }
    }
}

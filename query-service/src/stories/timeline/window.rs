//! A time range, as people write it.

use std::time::{Duration, SystemTime};

use chrono::{DateTime, NaiveDate, NaiveDateTime, SecondsFormat, Utc};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, lit};
use datafusion::prelude::ident;
use kerntrail_common::period;
use kerntrail_query_engine::QueryError;

/// From `since` to `until`, both inclusive, in microseconds since the epoch; an absent end has no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Nothing before.
    pub since: Option<i64>,
    /// Nothing after.
    pub until: Option<i64>,
}

impl Window {
    /// Reads both ends: a time (`2026-08-01T10:00:00Z`, `2026-08-01 10:00:00`, `2026-08-01`; UTC unless it says
    /// otherwise) or how long before `now` (`90s`, `1h`, `2d`).
    ///
    /// Errors: another form, or an end before the beginning.
    pub fn parse(since: Option<&str>, until: Option<&str>, now: SystemTime) -> Result<Self, QueryError> {
        let window = Self {
            since: since.map(|text| moment(text, now)).transpose()?,
            until: until.map(|text| moment(text, now)).transpose()?,
        };
        match (window.since, window.until) {
            (Some(since), Some(until)) if until < since => Err(QueryError::user("until is before since")),
            _ => Ok(window),
        }
    }

    /// The rows inside, of a table with `time` and the partition `date`.
    pub(crate) fn filter(&self) -> Option<Expr> {
        let day = |time: i64| lit(ScalarValue::Date32(Some(time.div_euclid(86_400_000_000) as i32)));
        let since = self.since.map(|time| ident("date").gt_eq(day(time)).and(ident("time").gt_eq(micros(time))));
        let until = self.until.map(|time| ident("date").lt_eq(day(time)).and(ident("time").lt_eq(micros(time))));
        since.into_iter().chain(until).reduce(Expr::and)
    }
}

/// A literal of a `time` column.
pub(crate) fn micros(time: i64) -> Expr {
    lit(ScalarValue::TimestampMicrosecond(Some(time), Some("UTC".into())))
}

fn moment(text: &str, now: SystemTime) -> Result<i64, QueryError> {
    let text = text.trim();
    if let Ok(ago) = period::parse(text) {
        return Ok(
            DateTime::<Utc>::from(now).timestamp_micros() - i64::try_from(ago.as_micros()).unwrap_or(i64::MAX / 2)
        );
    }
    let with_zone = DateTime::parse_from_rfc3339(text).map(|time| time.timestamp_micros());
    let without = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"];
    let without = without.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok());
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().and_then(|day| day.and_hms_opt(0, 0, 0));
    with_zone.ok().or_else(|| without.or(day).map(|time| time.and_utc().timestamp_micros())).ok_or_else(|| {
        QueryError::user(format!(
            "\"{}\" is not a time; expected 2026-08-01T10:00:00Z, \"2026-08-01 10:00:00\" (UTC), 2026-08-01, or before now: 90s, 1h, 2d",
            kerntrail_query_engine::output::escape::visible(text)
        ))
    })
}

/// `2026-08-01T10:00:00.000000Z`.
pub(crate) fn rfc3339(time: i64) -> String {
    utc(time).to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// `2026-08-01`.
pub(crate) fn day(time: i64) -> String {
    utc(time).format("%Y-%m-%d").to_string()
}

/// `10:00:00.000`.
pub(crate) fn clock(time: i64) -> String {
    utc(time).format("%H:%M:%S%.3f").to_string()
}

fn utc(time: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(time).unwrap_or_default()
}

/// A duration in microseconds, rounded for display; a negative one is shown as 0.
pub(crate) fn span(micros: i64) -> String {
    period::rounded(Duration::from_micros(u64::try_from(micros).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_a_time() {
        let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_785_578_400);
        for (text, expected) in [
            ("2026-08-01T10:00:00Z", Some(1_785_578_400_000_000)),
            ("2026-08-01T12:00:00+02:00", Some(1_785_578_400_000_000)),
            ("2026-08-01 10:00:00.5", Some(1_785_578_400_500_000)),
            ("2026-08-01 10:00", Some(1_785_578_400_000_000)),
            ("2026-08-01", Some(1_785_542_400_000_000)),
            ("1h", Some(1_785_574_800_000_000)),
            ("90s", Some(1_785_578_310_000_000)),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(moment(text, now).ok(), expected, "{text}");
        }
        assert!(Window::parse(Some("1h"), Some("2h"), now).is_err());
    }

    #[test]
    fn spans() {
        for (micros, text) in [(-5, "0 ms"), (850_000, "850 ms"), (200_000_000, "3 min 20 s")] {
            assert_eq!(span(micros), text);
        }
    }
}

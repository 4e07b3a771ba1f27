//! Exceptions: what is known, allowed until a day, and no finding until then.
//!
//! A finding whose events have one that an exception covers is not made, but counted. What ends an exception is the time of
//! the events, so that it does not matter when the rules read them.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Days, NaiveDate, NaiveTime};
use kerntrail_common::suggest::did_you_mean;
use kerntrail_schemas::Table;
use kerntrail_session::condition::{Condition, ConditionError};
use serde::Deserialize;

use crate::evaluate::{Events, Match};
use crate::line;
use crate::rules::{Rule, RuleError, Rules};
use crate::sources::read_list;
use crate::state::now_us;

/// An entry of the file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// Id or title of the rule; of any rule where absent.
    rule: Option<String>,
    /// A condition on the columns of an event.
    r#where: String,
    /// The last day, or a time.
    until: String,
    reason: String,
}

/// What is no finding until some time.
#[derive(Clone, Debug)]
pub struct Exception {
    entry: Entry,
    line: usize,
    /// µs since the Unix epoch.
    until_us: i64,
    condition: Condition,
}

/// What an exception does at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExceptionState {
    /// It holds.
    Active,
    /// It does not hold any more.
    Expired,
    /// There is no such rule.
    NoSuchRule,
}

impl ExceptionState {
    /// Its name in lists.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::NoSuchRule => "no such rule",
        }
    }
}

impl Exception {
    /// Id or title of the rule; `None`: all rules.
    pub fn rule(&self) -> Option<&str> {
        self.entry.rule.as_deref()
    }

    /// The condition on an event.
    pub fn condition(&self) -> &str {
        &self.entry.r#where
    }

    /// When it ends, as it was written.
    pub fn until(&self) -> &str {
        &self.entry.until
    }

    /// Why there is one.
    pub fn reason(&self) -> &str {
        &self.entry.reason
    }

    /// Line of the file on which it begins.
    pub fn line(&self) -> usize {
        self.line
    }

    /// What it does now, beside `rules`.
    pub fn state(&self, rules: &Rules) -> ExceptionState {
        match self.until_us > now_us() {
            _ if !rules.iter().any(|rule| self.is_about(rule)) => ExceptionState::NoSuchRule,
            true => ExceptionState::Active,
            false => ExceptionState::Expired,
        }
    }

    fn is_about(&self, rule: &Rule) -> bool {
        self.rule().is_none_or(|name| name == rule.id.as_str() || name == rule.title)
    }

    fn covers(&self, rule: &Rule, events: &Events) -> bool {
        let is_covered = |event: &Match| {
            let selected = self.condition.apply(&event.row);
            // A condition that fails for a row covers nothing.
            event.order.time_us < self.until_us
                && selected.is_ok_and(|selected| selected.first().is_some_and(|one| *one == Ok(true)))
        };
        self.is_about(rule) && events.rows.iter().any(is_covered)
    }
}

/// The exceptions of a file.
#[derive(Debug, Default)]
pub struct Exceptions {
    exceptions: Vec<Exception>,
    refused: Vec<RuleError>,
}

impl Exceptions {
    /// Those of a YAML file: a list with `where`, `until`, `reason` and, for one rule only, `rule`. One that cannot be used is
    /// among those refused.
    ///
    /// Errors: the file cannot be read, or is no such list.
    pub fn read(path: &Path) -> Result<Self, RuleError> {
        let text = read_list(path)?;
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, RuleError> {
        let wrong = |line, reason| RuleError::Parse { path: PathBuf::from(path), line, reason };
        let entries: Option<Vec<serde_yaml_ng::Value>> = serde_yaml_ng::from_str(text).map_err(|error| {
            let line = error.location().map_or(1, |at| at.line());
            wrong(line, format!("a list of exceptions was expected: {error}"))
        })?;
        let lines = line::of_items(text);
        let mut exceptions = Self::default();
        for (place, entry) in entries.unwrap_or_default().into_iter().enumerate() {
            let line = lines.get(place).copied().unwrap_or(1);
            match exception(entry, line) {
                Ok(exception) => exceptions.exceptions.push(exception),
                Err(reason) => exceptions.refused.push(wrong(line, reason)),
            }
        }
        Ok(exceptions)
    }

    /// Those that can be used, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Exception> {
        self.exceptions.iter()
    }

    /// Why the others cannot.
    pub fn refused(&self) -> &[RuleError] {
        &self.refused
    }

    /// Whether one of them covers one of `events`, which `rule` found together.
    pub(crate) fn cover(&self, rule: &Rule, events: &Events) -> bool {
        self.exceptions.iter().any(|exception| exception.covers(rule, events))
    }
}

fn exception(entry: serde_yaml_ng::Value, line: usize) -> Result<Exception, String> {
    let entry: Entry = serde_yaml_ng::from_value(entry).map_err(|error| format!("an exception: {error}"))?;
    if entry.reason.trim().is_empty() {
        return Err("an exception needs a reason".to_owned());
    }
    let until_us = end(&entry.until)?;
    let condition = condition(&entry.r#where)?;
    Ok(Exception { entry, line, until_us, condition })
}

/// The end of the day `until`, in UTC, or that time; in µs.
fn end(until: &str) -> Result<i64, String> {
    if let Ok(day) = NaiveDate::parse_from_str(until, "%Y-%m-%d") {
        let next = day.checked_add_days(Days::new(1)).unwrap_or(day);
        return Ok(next.and_time(NaiveTime::MIN).and_utc().timestamp_micros());
    }
    let time = DateTime::parse_from_rfc3339(until);
    time.map(|time| time.timestamp_micros())
        .map_err(|_| format!("until: `{until}` is neither a day (2026-12-31) nor a time (2026-12-31T18:00:00Z)"))
}

/// `sql` on the columns of all tables; one that a table lacks is NULL there.
fn condition(sql: &str) -> Result<Condition, String> {
    let mut columns = Vec::new();
    for table in Table::ALL {
        for field in table.schema().fields() {
            if !columns.iter().any(|known: &arrow::datatypes::FieldRef| known.name() == field.name()) {
                columns.push(field.clone());
            }
        }
    }
    Condition::compile(sql, &columns).map_err(|error| match error {
        ConditionError::Column(name) => {
            let hint = did_you_mean(&name, columns.iter().map(|field| field.name().as_str()));
            format!("where: no table has a column `{name}`{hint}")
        }
        ConditionError::Unfit(problem) => format!("where: {problem}"),
        ConditionError::Sql(source) => format!("where: not an SQL expression over the columns of an event: {source}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named_with_its_line_and_the_others_hold() {
        let text = "# known\n- where: pid = 1\n  until: 2026-12-31\n  reason: a\n\n- where: pidd = 1\n  until: 2026-12-31\n  reason: b\n\
                    - {where: pid = 1, until: soon, reason: c}\n- where: pid = 1\n  until: '2026-12-31T18:00:00+02:00'\n  reason: ' '\n\
                    - where: pid = 1\n  until: 2026-12-31\n- where: pid + 1\n  until: 2026-12-31\n  reason: d\n\
                    - where: pid = 1\n  till: 2026-12-31\n  reason: e\n";
        let read = Exceptions::parse(Path::new("x.yml"), text).unwrap();
        assert_eq!(read.iter().map(|one| (one.line(), one.reason())).collect::<Vec<_>>(), [(2, "a")]);
        let refused: Vec<String> = read.refused().iter().map(ToString::to_string).collect();
        let expected = [
            "x.yml:6: where: no table has a column `pidd`; did you mean `pid`?",
            "x.yml:9: until: `soon` is neither a day",
            "x.yml:10: an exception needs a reason",
            "x.yml:13: an exception: missing field `reason`",
            "x.yml:15: where: its value is Int64, not true or false",
            "x.yml:18: an exception: unknown field `till`",
        ];
        assert_eq!(refused.len(), expected.len(), "{refused:#?}");
        for (error, expected) in refused.iter().zip(expected) {
            assert!(error.starts_with(expected), "{error} is not {expected}");
        }
        assert!(Exceptions::parse(Path::new("x.yml"), "# nothing\n").unwrap().iter().next().is_none());
        let error = Exceptions::parse(Path::new("x.yml"), "where: pid = 1\n").unwrap_err().to_string();
        assert!(error.contains("a list of exceptions was expected"), "{error}");
    }

    #[test]
    fn a_day_ends_at_its_end() {
        for (until, expected) in
            [("1970-01-01", 86_400_000_000), ("1970-01-01T00:00:01Z", 1_000_000), ("1970-01-01T01:00:00+01:00", 0)]
        {
            assert_eq!(end(until), Ok(expected), "{until}");
        }
    }
}

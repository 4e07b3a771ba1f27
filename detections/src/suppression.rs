//! Which findings belong together: a rule makes one finding of a group within a time, and counts what follows in it.
//!
//! The first match of a group opens it. Later ones that happened within the rule's time of the first are counted: the
//! finding is sent again as an `update`, at most once in [`UPDATE_EVERY`], with the last of them as its event.
//! A rule makes at most so many findings of an hour; what follows is counted in one more, which says so.

use std::collections::BTreeMap;
use std::time::Duration;

use kerntrail_schemas::Table;
use kerntrail_schemas::identity::FindingId;
use rsigma_parser::Level;
use serde::{Deserialize, Serialize};

use crate::evaluate::{Match, text_of};
use crate::state::StoredMessage;

/// Shortest time between two updates of a finding.
const UPDATE_EVERY: Duration = Duration::from_secs(60);
/// Groups that are remembered; beyond that, the oldest is forgotten.
const MOST_GROUPS: usize = 10_000;
/// Updates that wait for their time; beyond that, they are sent at once.
const MOST_WAITING: usize = 1_000;
/// Hours of rules whose findings are counted.
const MOST_HOURS: usize = 10_000;
const HOUR_US: i64 = 3_600_000_000;
const MINUTE_US: i64 = 60_000_000;

/// How the findings of a rule are grouped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suppression {
    /// Columns whose values make the group, beside the node and the container of origin.
    pub by: Vec<String>,
    /// How long after its first event a group counts further ones, µs; 0: each is a finding.
    pub within_us: i64,
}

impl Suppression {
    /// The default of a rule of this level: the more severe, the sooner the same is told again.
    pub(crate) fn of_level(level: Level, by: Vec<String>) -> Self {
        let minutes = match level {
            Level::Critical => 5,
            Level::High => 15,
            Level::Medium => 60,
            Level::Low => 6 * 60,
            Level::Informational => 24 * 60,
        };
        Self { by, within_us: minutes * MINUTE_US }
    }

    /// The group of an event.
    pub(crate) fn group(&self, event: &Match) -> String {
        let columns = ["node", "origin_container_id"].into_iter().chain(self.by.iter().map(String::as_str));
        let values = columns.map(|column| text_of(&event.row, column).unwrap_or_default());
        values.collect::<Vec<_>>().join("|")
    }
}

/// The groups of a table that has no column for the program: those of its own rows.
pub(crate) fn default_columns(table: Table) -> Vec<String> {
    if table.has_actor() { vec!["process_path".to_owned()] } else { Vec::new() }
}

/// The open groups of all rules, and how many findings each rule made of an hour.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Groups {
    /// Oldest first.
    open: Vec<Group>,
    /// By rule and hour.
    made: BTreeMap<String, u32>,
}

/// A finding that counts what follows.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Group {
    rule: String,
    key: String,
    finding: String,
    first_us: i64,
    until_us: i64,
    suppressed: i64,
    /// When it was last sent, µs of the clock.
    sent_us: i64,
    /// The update that waits for its time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    waiting: Option<StoredMessage>,
}

/// What a match is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admitted {
    /// The first of its group.
    First,
    /// The first beyond the findings of an hour.
    Limit,
    /// One more of a group, whose finding, with the time of its first event, counts `suppressed` by now.
    Again { finding: FindingId, first_us: i64, suppressed: i64 },
}

/// A match that may become a finding.
pub(crate) struct Candidate<'a> {
    pub(crate) rule: &'a str,
    pub(crate) key: &'a str,
    pub(crate) finding: &'a FindingId,
    pub(crate) first_us: i64,
    pub(crate) time_us: i64,
    pub(crate) within_us: i64,
}

impl Groups {
    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.made.is_empty()
    }

    /// Counts a match at the clock's `now_us`, of a rule that may make `most` findings of an hour.
    pub(crate) fn admit(&mut self, candidate: &Candidate<'_>, most: u32, now_us: i64) -> Admitted {
        if let Some(again) = self.again(candidate.rule, candidate.key, candidate.time_us) {
            return again;
        }
        let hour = candidate.time_us.div_euclid(HOUR_US);
        let made = self.made.entry(format!("{} {hour}", candidate.rule)).or_default();
        if *made >= most {
            let key = format!("\0hour {hour}");
            if let Some(again) = self.again(candidate.rule, &key, candidate.time_us) {
                return again;
            }
            self.open(candidate, key, (hour * HOUR_US, (hour + 1) * HOUR_US - 1), now_us);
            return Admitted::Limit;
        }
        *made += 1;
        while self.made.len() > MOST_HOURS {
            self.made.pop_first();
        }
        if candidate.within_us > 0 {
            let until_us = candidate.first_us.saturating_add(candidate.within_us);
            self.open(candidate, candidate.key.to_owned(), (candidate.first_us, until_us), now_us);
        }
        Admitted::First
    }

    fn again(&mut self, rule: &str, key: &str, time_us: i64) -> Option<Admitted> {
        let is_of = |group: &&mut Group| {
            group.rule == rule && group.key == key && (group.first_us..=group.until_us).contains(&time_us)
        };
        let group = self.open.iter_mut().rev().find(is_of)?;
        group.suppressed += 1;
        let (finding, first_us, suppressed) = (FindingId::new(group.finding.clone()), group.first_us, group.suppressed);
        Some(Admitted::Again { finding, first_us, suppressed })
    }

    fn open(&mut self, candidate: &Candidate<'_>, key: String, (first_us, until_us): (i64, i64), now_us: i64) {
        self.open.push(Group {
            rule: candidate.rule.to_owned(),
            key,
            finding: candidate.finding.to_string(),
            first_us,
            until_us,
            suppressed: 0,
            sent_us: now_us,
            waiting: None,
        });
    }

    /// Keeps `update` of `finding` until its time has come.
    pub(crate) fn wait(&mut self, finding: &FindingId, update: StoredMessage) {
        if let Some(group) = self.open.iter_mut().rev().find(|group| group.finding == finding.as_str()) {
            group.waiting = Some(update);
        }
    }

    /// Whether an update is due at the clock's `now_us`.
    pub(crate) fn has_due(&self, now_us: i64) -> bool {
        self.open.iter().any(|group| group.is_due(now_us))
    }

    /// The updates that are due at the clock's `now_us`; the oldest groups are forgotten where there are too many.
    pub(crate) fn due(&mut self, now_us: i64) -> Vec<StoredMessage> {
        let surplus = self.open.len().saturating_sub(MOST_GROUPS);
        let mut due: Vec<_> = self.open.drain(..surplus).filter_map(|group| group.waiting).collect();
        let mut waiting = self.open.iter().filter(|group| group.waiting.is_some()).count();
        for group in &mut self.open {
            if group.is_due(now_us) || (waiting > MOST_WAITING && group.waiting.is_some()) {
                group.sent_us = now_us;
                waiting -= 1;
                due.extend(group.waiting.take());
            }
        }
        due
    }
}

impl Group {
    fn is_due(&self, now_us: i64) -> bool {
        let wait = UPDATE_EVERY.as_micros() as i64;
        // A clock that was set back delays no update for longer.
        self.waiting.is_some() && !(self.sent_us..self.sent_us.saturating_add(wait)).contains(&now_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(groups: &mut Groups, rule: &str, key: &str, second: i64) -> Admitted {
        let finding = FindingId::new(format!("{rule} {key} {second}"));
        let time_us = second * 1_000_000;
        let candidate = Candidate { rule, key, finding: &finding, first_us: time_us, time_us, within_us: 10_000_000 };
        groups.admit(&candidate, 3, 0)
    }

    fn again(finding: &str, first: i64, suppressed: i64) -> Admitted {
        Admitted::Again { finding: FindingId::new(finding.to_owned()), first_us: first * 1_000_000, suppressed }
    }

    #[test]
    fn what_happens_again_within_the_time_counts_in_the_first_finding() {
        let mut groups = Groups::default();
        let cases = [
            ("r", "a", 0, Admitted::First),
            ("r", "a", 5, again("r a 0", 0, 1)),
            ("r", "a", 10, again("r a 0", 0, 2)),
            // Another group, another rule, another time.
            ("r", "b", 5, Admitted::First),
            ("s", "a", 5, Admitted::First),
            ("r", "a", 11, Admitted::First),
            ("r", "a", 12, again("r a 11", 11, 1)),
            // A late row belongs to the time in which it happened.
            ("r", "a", 3, again("r a 0", 0, 3)),
        ];
        for (rule, key, second, expected) in cases {
            assert_eq!(admit(&mut groups, rule, key, second), expected, "{rule} {key} {second}");
        }
    }

    #[test]
    fn a_rule_makes_so_many_findings_of_an_hour() {
        let mut groups = Groups::default();
        for key in ["a", "b", "c"] {
            assert_eq!(admit(&mut groups, "r", key, 0), Admitted::First);
        }
        assert_eq!(admit(&mut groups, "r", "d", 1), Admitted::Limit);
        assert_eq!(admit(&mut groups, "r", "e", 2), again("r d 1", 0, 1));
        assert_eq!(admit(&mut groups, "r", "a", 2), again("r a 0", 0, 1), "groups go on counting");
        assert_eq!(admit(&mut groups, "s", "d", 2), Admitted::First, "other rules are not concerned");
        assert_eq!(admit(&mut groups, "r", "d", 3_600), Admitted::First, "the next hour");
    }

    #[test]
    fn updates_wait_for_a_minute() {
        let mut groups = Groups::default();
        admit(&mut groups, "r", "a", 0);
        let update = StoredMessage { schema_version: 1, batch: 0, rows: 1, seq_range: (0, 0), payload: String::new() };
        groups.wait(&FindingId::new("r a 0"), update);
        assert!(!groups.has_due(59_999_999) && groups.due(59_999_999).is_empty());
        assert!(groups.has_due(60_000_000));
        assert_eq!(groups.due(60_000_000).len(), 1);
        assert!(!groups.has_due(600_000_000) && groups.due(600_000_000).is_empty(), "each is sent once");
    }
}

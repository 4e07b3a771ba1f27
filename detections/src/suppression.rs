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
    /// The default of a rule of this level: the more severe it is, the shorter the time.
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
        let values = columns.map(|column| text_of(&event.row, column).unwrap_or_else(|| "\0".to_owned()));
        values.collect::<Vec<_>>().join("\u{1f}")
    }
}

/// The groups of a table that has no column for the program: those of its own rows.
pub(crate) fn default_columns(table: Table) -> Vec<String> {
    if table.has_actor() { vec!["process_path".to_owned()] } else { Vec::new() }
}

/// The open groups of all rules, and how many findings each rule made of an hour.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Groups {
    /// By rule and group, oldest first.
    open: BTreeMap<String, Vec<Group>>,
    /// By hour and rule, so that the oldest hours are first.
    made: BTreeMap<String, u32>,
}

/// A finding that counts what follows.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Group {
    finding: String,
    /// What happened between these times belongs to it, µs.
    from_us: i64,
    until_us: i64,
    /// First and last event so far.
    first_us: i64,
    last_us: i64,
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
    /// The one that opened its group.
    Same,
    /// One more of a group.
    Again(Counted),
}

/// A finding that counts one more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) finding: FindingId,
    pub(crate) first_us: i64,
    pub(crate) last_us: i64,
    pub(crate) suppressed: i64,
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
        let key = format!("{}\u{1f}{}", candidate.rule, candidate.key);
        if let Some(again) = self.again(&key, candidate) {
            return again;
        }
        let hour = candidate.time_us.div_euclid(HOUR_US);
        let made = self.made.entry(format!("{hour:08} {}", candidate.rule)).or_default();
        if *made >= most {
            let key = format!("{}\u{1e}{hour}", candidate.rule);
            let open = self.again(&key, candidate);
            return open.unwrap_or_else(|| {
                self.open(key, candidate, (hour * HOUR_US, (hour + 1) * HOUR_US - 1), now_us);
                Admitted::Limit
            });
        }
        *made += 1;
        while self.made.len() > MOST_HOURS {
            self.made.pop_first();
        }
        if candidate.within_us > 0 {
            let from_us = candidate.first_us.saturating_sub(candidate.within_us);
            let until_us = candidate.time_us.saturating_add(candidate.within_us);
            self.open(key, candidate, (from_us, until_us), now_us);
        }
        Admitted::First
    }

    fn again(&mut self, key: &str, candidate: &Candidate<'_>) -> Option<Admitted> {
        let belongs = |group: &&mut Group| (group.from_us..=group.until_us).contains(&candidate.time_us);
        let group = self.open.get_mut(key)?.iter_mut().rev().find(belongs)?;
        if group.finding == candidate.finding.as_str() {
            return Some(Admitted::Same);
        }
        group.suppressed += 1;
        group.first_us = group.first_us.min(candidate.first_us);
        group.last_us = group.last_us.max(candidate.time_us);
        let Group { first_us, last_us, suppressed, .. } = *group;
        let finding = FindingId::new(group.finding.clone());
        Some(Admitted::Again(Counted { finding, first_us, last_us, suppressed }))
    }

    fn open(&mut self, key: String, candidate: &Candidate<'_>, (from_us, until_us): (i64, i64), now_us: i64) {
        self.open.entry(key).or_default().push(Group {
            finding: candidate.finding.to_string(),
            from_us,
            until_us,
            first_us: candidate.first_us,
            last_us: candidate.time_us,
            suppressed: 0,
            sent_us: now_us,
            waiting: None,
        });
    }

    /// Keeps `update` of the group of `candidate` until its time has come.
    pub(crate) fn wait(&mut self, finding: &FindingId, update: StoredMessage) {
        let group = self.open.values_mut().flatten().find(|group| group.finding == finding.as_str());
        if let Some(group) = group {
            group.waiting = Some(update);
        }
    }

    /// Whether an update is due at the clock's `now_us`.
    pub(crate) fn has_due(&self, now_us: i64) -> bool {
        self.open.values().flatten().any(|group| group.is_due(now_us))
    }

    /// The updates that are due at the clock's `now_us`. Groups that count nothing any more are forgotten, and the oldest where
    /// there are too many.
    pub(crate) fn due(&mut self, now_us: i64) -> Vec<StoredMessage> {
        let mut due = self.forget(now_us);
        let mut waiting = self.open.values().flatten().filter(|group| group.waiting.is_some()).count();
        for group in self.open.values_mut().flatten() {
            if group.is_due(now_us) || (waiting > MOST_WAITING && group.waiting.is_some()) {
                group.sent_us = now_us;
                waiting -= 1;
                due.extend(group.waiting.take());
            }
        }
        due
    }

    /// The updates of groups that are forgotten at the clock's `now_us`.
    fn forget(&mut self, now_us: i64) -> Vec<StoredMessage> {
        let mut sent: Vec<i64> = self.open.values().flatten().map(|group| group.sent_us).collect();
        let mut too_old = i64::MIN;
        if sent.len() > MOST_GROUPS {
            let surplus = sent.len() - MOST_GROUPS;
            too_old = *sent.select_nth_unstable(surplus - 1).1;
        }
        let mut forgotten = Vec::new();
        self.open.retain(|_, groups| {
            groups.retain_mut(|group| {
                let is_over =
                    group.waiting.is_none() && now_us - group.sent_us > group.until_us - group.from_us + HOUR_US;
                let is_kept = !is_over && group.sent_us > too_old;
                if !is_kept {
                    forgotten.extend(group.waiting.take());
                }
                is_kept
            });
            !groups.is_empty()
        });
        forgotten
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
        admit_of(groups, (rule, key), second, 100)
    }

    /// Of a rule that may make `most` findings of an hour.
    fn admit_of(groups: &mut Groups, (rule, key): (&str, &str), second: i64, most: u32) -> Admitted {
        let finding = FindingId::new(format!("{rule} {key} {second}"));
        let time_us = second * 1_000_000;
        let candidate = Candidate { rule, key, finding: &finding, first_us: time_us, time_us, within_us: 10_000_000 };
        groups.admit(&candidate, most, 0)
    }

    fn again(finding: &str, first: i64, last: i64, suppressed: i64) -> Admitted {
        let (first_us, last_us) = (first * 1_000_000, last * 1_000_000);
        Admitted::Again(Counted { finding: FindingId::new(finding.to_owned()), first_us, last_us, suppressed })
    }

    #[test]
    fn what_happens_again_within_the_time_counts_in_the_first_finding() {
        let mut groups = Groups::default();
        let cases = [
            ("r", "a", 20, Admitted::First),
            ("r", "a", 25, again("r a 20", 20, 25, 1)),
            ("r", "a", 30, again("r a 20", 20, 30, 2)),
            // Another group, another rule, another time.
            ("r", "b", 25, Admitted::First),
            ("s", "a", 25, Admitted::First),
            ("r", "a", 31, Admitted::First),
            ("r", "a", 32, again("r a 31", 31, 32, 1)),
            // Late rows belong to what happened around them.
            ("r", "a", 15, again("r a 20", 15, 30, 3)),
            ("r", "a", 9, Admitted::First),
            // Rows that are read again are not counted.
            ("r", "a", 20, Admitted::Same),
        ];
        for (rule, key, second, expected) in cases {
            assert_eq!(admit(&mut groups, rule, key, second), expected, "{rule} {key} {second}");
        }
    }

    #[test]
    fn a_rule_makes_so_many_findings_of_an_hour() {
        let mut groups = Groups::default();
        for key in ["a", "b", "c"] {
            assert_eq!(admit_of(&mut groups, ("r", key), 0, 3), Admitted::First);
        }
        assert_eq!(admit_of(&mut groups, ("r", "d"), 1, 3), Admitted::Limit);
        assert_eq!(admit_of(&mut groups, ("r", "e"), 2, 3), again("r d 1", 1, 2, 1));
        assert_eq!(admit_of(&mut groups, ("r", "a"), 2, 3), again("r a 0", 0, 2, 1), "groups go on counting");
        assert_eq!(admit_of(&mut groups, ("s", "d"), 2, 3), Admitted::First, "other rules are not concerned");
        assert_eq!(admit_of(&mut groups, ("r", "d"), 3_600, 3), Admitted::First, "the next hour");
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

    #[test]
    fn neither_groups_nor_hours_grow_without_a_bound() {
        let mut groups = Groups::default();
        for number in 0..MOST_GROUPS as i64 + 10 {
            let key = number.to_string();
            let finding = FindingId::new(key.clone());
            let (rule, time_us) = (if number % 2 == 0 { "r" } else { "s" }, number * HOUR_US);
            let candidate = Candidate { rule, key: &key, finding: &finding, first_us: time_us, time_us, within_us: 1 };
            groups.admit(&candidate, 3, number);
        }
        assert!(groups.due(MOST_GROUPS as i64).is_empty());
        assert_eq!(groups.open.values().flatten().count(), MOST_GROUPS);
        assert_eq!(groups.made.len(), MOST_HOURS);
        assert!(groups.made.keys().next().unwrap().starts_with("00000010 "), "the oldest hours go first");
        groups.due(3 * HOUR_US);
        assert!(groups.open.is_empty(), "what counts nothing any more");
    }
}

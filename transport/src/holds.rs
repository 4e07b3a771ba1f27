//! What waits for an upgrade: partitions and files whose next content a newer release wrote.
//!
//! A reader stops there, continues with the rest, and records it here: in the log immediately and every ten minutes, as
//! a metric, and in [`Holds::all`], from which the program answers `/readyz`. Nothing is lost: the release that knows
//! the version continues from there.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::log::{Partition, Position};
use crate::metrics::{HELD_FILES, HELD_PARTITIONS};
use crate::newer::Newer;

/// Between two log lines about the same.
const REMIND_EVERY: Duration = Duration::from_secs(600);

/// What is held.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Partition(Partition),
    File(PathBuf),
}

/// Something that waits for an upgrade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The reader that waits: `pipeline`, `sink-<name>`, `spool`, `rules`.
    pub reader: String,
    subject: Subject,
    /// Offset of the message in its partition.
    offset: i64,
    /// Which version is newer.
    pub newer: Newer,
}

impl Hold {
    /// Where reading will resume, if this is a partition.
    pub fn position(&self) -> Option<Position> {
        match &self.subject {
            Subject::Partition(partition) => Some(Position { partition: partition.clone(), next: self.offset }),
            Subject::File(_) => None,
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.subject {
            Subject::Partition(partition) => {
                write!(f, "{} holds {partition} at message {}: {}", self.reader, self.offset, self.newer)
            }
            Subject::File(path) => {
                write!(f, "{} holds {}, which it does not change: {}", self.reader, path.display(), self.newer)
            }
        }
    }
}

/// All that is held in this process. A clone is the same list.
#[derive(Clone, Debug, Default)]
pub struct Holds(Arc<Mutex<BTreeMap<(String, Subject), Hold>>>);

impl Holds {
    /// What `reader` holds, noted among the rest. There is one of each name at a time.
    pub fn of(&self, reader: impl Into<String>) -> ReaderHolds {
        ReaderHolds { reader: reader.into(), all: self.clone(), remind_at: None }
    }

    /// All of it, by reader.
    pub fn all(&self) -> Vec<Hold> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, Subject), Hold>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one reader holds; released when dropped.
#[derive(Debug)]
pub struct ReaderHolds {
    reader: String,
    all: Holds,
    /// When to write the next line about what is held.
    remind_at: Option<Instant>,
}

impl ReaderHolds {
    /// Holds a partition at the message `position.next`.
    pub fn hold(&mut self, position: &Position, newer: Newer) {
        self.note(Subject::Partition(position.partition.clone()), position.next, newer);
    }

    /// Holds a file, which stays unchanged.
    pub fn hold_file(&mut self, path: &Path, newer: Newer) {
        self.note(Subject::File(path.to_owned()), 0, newer);
    }

    /// Whether `partition` is held.
    pub fn holds(&self, partition: &Partition) -> bool {
        self.all.lock().contains_key(&(self.reader.clone(), Subject::Partition(partition.clone())))
    }

    /// Releases `partitions`: they are read from elsewhere, or by another reader.
    pub fn release(&mut self, partitions: &[Partition]) {
        for partition in partitions {
            self.remove(Subject::Partition(partition.clone()));
        }
    }

    /// Releases the file.
    pub fn release_file(&mut self, path: &Path) {
        self.remove(Subject::File(path.to_owned()));
    }

    /// Writes into the log what is held, if the last line is long ago. For the reader's loop to call.
    pub fn remind(&mut self) {
        if self.remind_at.is_none_or(|at| Instant::now() < at) {
            return;
        }
        let held: Vec<Hold> = self.all.all().into_iter().filter(|hold| hold.reader == self.reader).collect();
        held.iter().for_each(write_line);
        self.remind_at = (!held.is_empty()).then(|| Instant::now() + REMIND_EVERY);
    }

    fn note(&mut self, subject: Subject, offset: i64, newer: Newer) {
        let hold = Hold { reader: self.reader.clone(), subject: subject.clone(), offset, newer };
        let known = self.all.lock().insert((self.reader.clone(), subject.clone()), hold.clone());
        if known.as_ref() == Some(&hold) {
            return;
        }
        write_line(&hold);
        self.remind_at.get_or_insert_with(|| Instant::now() + REMIND_EVERY);
        self.show(&subject);
    }

    fn remove(&mut self, subject: Subject) {
        if self.all.lock().remove(&(self.reader.clone(), subject.clone())).is_some() {
            self.show(&subject);
        }
    }

    /// Sets the gauge that `subject` counts in.
    fn show(&self, subject: &Subject) {
        let held = self.all.all().into_iter().filter(|hold| hold.reader == self.reader);
        let reader = self.reader.clone();
        match subject {
            Subject::Partition(Partition { topic, .. }) => {
                let of_table = |hold: &Hold| matches!(&hold.subject, Subject::Partition(other) if other.topic.table == topic.table);
                let count = held.filter(of_table).count();
                metrics::gauge!(HELD_PARTITIONS, "reader" => reader, "table" => topic.table.name()).set(count as f64);
            }
            Subject::File(_) => {
                let count = held.filter(|hold| matches!(hold.subject, Subject::File(_))).count();
                metrics::gauge!(HELD_FILES, "reader" => reader).set(count as f64);
            }
        }
    }
}

impl Drop for ReaderHolds {
    fn drop(&mut self) {
        let held: Vec<Subject> =
            self.all.all().into_iter().filter(|hold| hold.reader == self.reader).map(|hold| hold.subject).collect();
        held.into_iter().for_each(|subject| self.remove(subject));
    }
}

fn write_line(hold: &Hold) {
    tracing::error!("{hold}");
}

#[cfg(test)]
mod tests {
    use kerntrail_schemas::Table;

    use super::*;
    use crate::log::Topic;

    fn position(number: i32, next: i64) -> Position {
        Position { partition: Partition { topic: Topic { tenant: "t".into(), table: Table::Findings }, number }, next }
    }

    #[test]
    fn each_reader_holds_and_releases_its_own_partitions() {
        let all = Holds::default();
        let (mut pipeline, mut sink) = (all.of("pipeline"), all.of("sink-soc"));
        let newer = Newer { of: "schema", version: 2, known: 1 };
        pipeline.hold(&position(0, 7), newer);
        sink.hold(&position(0, 5), newer);
        sink.hold_file(Path::new("/x"), newer);
        assert!(pipeline.holds(&position(0, 0).partition) && !pipeline.holds(&position(1, 0).partition));
        let lines: Vec<String> = all.all().iter().map(ToString::to_string).collect();
        let why = "schema version 2 is newer than 1, the newest that this release knows; upgrade kerntrail";
        assert_eq!(
            lines,
            [
                format!("pipeline holds kerntrail.t.findings/0 at message 7: {why}"),
                format!("sink-soc holds kerntrail.t.findings/0 at message 5: {why}"),
                format!("sink-soc holds /x, which it does not change: {why}"),
            ]
        );
        pipeline.release(&[position(0, 0).partition]);
        assert!(!pipeline.holds(&position(0, 0).partition) && sink.holds(&position(0, 0).partition));
        drop(sink);
        assert_eq!(all.all(), []);
    }
}

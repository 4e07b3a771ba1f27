//! How far a source has been taken, as Delta `txn` actions.
//!
//! appId `<topic>/<n>` holds the last offset taken of that partition; appId `<topic>/stream/<stream>` the last batch
//! number taken of that stream, whichever partition it came by. So a stream must not move to another partition while
//! the one that it leaves holds batches not yet taken: they would pass for known. (Give a topic more partitions only
//! when it is drained.)

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use kerntrail_schemas::Table;

use crate::error::LakeError;

/// How far one partition of a source has been taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// `<topic>/<number>`.
    pub partition: String,
    /// Written: where the rows begin, which must be where the lake is; else another writer has been here. Read: the same
    /// as `next_offset`.
    pub from_offset: i64,
    /// Offset of the next message to take; 0 when none was taken yet.
    pub next_offset: i64,
    /// Last batch number taken of each stream. Read: every stream of the topic. Written: those that changed suffice.
    pub batches: BTreeMap<String, i64>,
}

impl Progress {
    /// Start of the appIds of the streams that come by `partition`.
    fn stream_prefix(partition: &str) -> String {
        let topic = partition.rsplit_once('/').map_or(partition, |(topic, _)| topic);
        format!("{topic}/stream/")
    }

    /// The progress of `partition` that `txns` record.
    pub(crate) fn read(partition: &str, txns: &HashMap<Arc<str>, i64>) -> Self {
        let prefix = Self::stream_prefix(partition);
        let batches = txns
            .iter()
            .filter_map(|(app_id, version)| Some((app_id.strip_prefix(&prefix)?.to_owned(), *version)))
            .collect();
        let next_offset = txns.get(partition).map_or(0, |last| last + 1);
        Self { partition: partition.to_owned(), from_offset: next_offset, next_offset, batches }
    }

    /// The appIds and versions to record on top of `txns`: those that rise.
    ///
    /// Errors: `Conflict` when the lake is elsewhere than where the rows begin, an offset does not rise, or a batch
    /// number falls: another writer has been here.
    pub(crate) fn rising(
        table: Table,
        progress: &[Self],
        txns: &HashMap<Arc<str>, i64>,
    ) -> Result<Vec<(String, i64)>, LakeError> {
        let mut rising = Vec::new();
        for source in progress {
            let recorded = txns.get(source.partition.as_str()).copied().unwrap_or(-1);
            let offered = source.next_offset - 1;
            if recorded + 1 != source.from_offset || recorded >= offered {
                let (app_id, expected) = (source.partition.clone(), source.from_offset - 1);
                return Err(LakeError::Conflict { table, app_id, recorded, expected });
            }
            rising.push((source.partition.clone(), offered));
            let prefix = Self::stream_prefix(&source.partition);
            for (stream, &offered) in &source.batches {
                let app_id = format!("{prefix}{stream}");
                match txns.get(app_id.as_str()) {
                    Some(&recorded) if recorded > offered => {
                        return Err(LakeError::Conflict { table, app_id, recorded, expected: offered });
                    }
                    Some(&recorded) if recorded == offered => {}
                    _ => rising.push((app_id, offered)),
                }
            }
        }
        Ok(rising)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn txns(known: &[(&str, i64)]) -> HashMap<Arc<str>, i64> {
        known.iter().map(|(app_id, version)| (Arc::from(*app_id), *version)).collect()
    }

    fn progress(from_offset: i64, next_offset: i64, batches: &[(&str, i64)]) -> Progress {
        let batches = batches.iter().map(|(stream, batch)| ((*stream).to_owned(), *batch)).collect();
        Progress { partition: "t/0".into(), from_offset, next_offset, batches }
    }

    #[test]
    fn reads_what_it_wrote() {
        let offered = progress(0, 8, &[("a", 3), ("b+1", 0)]);
        let written = Progress::rising(Table::EventLoss, std::slice::from_ref(&offered), &txns(&[])).unwrap();
        let recorded: Vec<_> = written.iter().map(|(app_id, version)| (app_id.as_str(), *version)).collect();
        assert_eq!(recorded, [("t/0", 7), ("t/stream/a", 3), ("t/stream/b+1", 0)]);
        assert_eq!(Progress::read("t/0", &txns(&recorded)), Progress { from_offset: 8, ..offered });
        assert_eq!(Progress::read("t/1", &txns(&recorded)).next_offset, 0);
        assert_eq!(Progress::read("u/0", &txns(&recorded)).batches.len(), 0);
    }

    #[test]
    fn only_rising_progress_is_taken() {
        let recorded = txns(&[("t/0", 7), ("t/stream/a", 3)]);
        let cases: [(i64, i64, &[(&str, i64)], Result<&[&str], &str>); 8] = [
            (8, 9, &[("a", 4)], Ok(&["t/0", "t/stream/a"])),
            (8, 9, &[("a", 3)], Ok(&["t/0"])),
            (8, 9, &[("a", 2)], Err("t/stream/a")),
            (8, 9, &[("new", 0)], Ok(&["t/0", "t/stream/new"])),
            (8, 8, &[], Err("t/0")),
            // Another writer took some of it, none of it, or all of it.
            (5, 9, &[], Err("t/0")),
            (9, 10, &[], Err("t/0")),
            (0, 3, &[("a", 9)], Err("t/0")),
        ];
        for (from, next, batches, expected) in cases {
            let got = Progress::rising(Table::EventLoss, &[progress(from, next, batches)], &recorded);
            match (&got, expected) {
                (Ok(rising), Ok(ids)) => assert_eq!(rising.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ids),
                (Err(LakeError::Conflict { app_id, .. }), Err(id)) => assert_eq!(app_id, id),
                _ => panic!("{from} {next} {batches:?}: {got:?}"),
            }
        }
    }
}

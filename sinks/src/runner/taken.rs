//! Which messages the sink has taken, so that one sent again is not delivered again.
//!
//! The numbers of committed messages are stored beside the dead letters, in `<dlq_dir>/<sink>/batches`. A lost or
//! damaged file costs at most that a resent message is delivered twice.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kerntrail_schemas::Table;
use kerntrail_schemas::identity::StreamId;
use kerntrail_transport::Headers;
use kerntrail_transport::dedup::BatchFilter;

/// As stored: table, stream, highest number.
type Stored = BTreeMap<String, BTreeMap<String, i64>>;

/// The numbers taken, by table.
pub(super) struct Taken {
    path: PathBuf,
    /// Of all messages.
    seen: BTreeMap<Table, BatchFilter>,
    /// Of committed messages.
    committed: BTreeMap<Table, BatchFilter>,
}

impl Taken {
    /// What is stored below `dlq_dir` for `sink`, of those tables for which `goes_on` says that the group has
    /// committed before: numbers from before a new event log would make new messages look known.
    pub(super) fn open(dlq_dir: &Path, sink: &str, goes_on: &[Table]) -> Self {
        let path = dlq_dir.join(sink).join("batches");
        let stored = match std::fs::read(&path).map(|text| serde_json::from_slice::<Stored>(&text)) {
            Ok(Ok(stored)) => stored,
            Ok(Err(error)) => {
                tracing::warn!(sink, path = %path.display(), %error, "resent messages may be delivered again");
                Stored::new()
            }
            // The first start.
            Err(_) => Stored::new(),
        };
        let filter = |table: &Table| {
            let streams = stored.get(table.name())?.iter();
            Some((*table, BatchFilter::from_taken(streams.map(|(stream, batch)| (StreamId::new(stream), *batch)))))
        };
        let committed: BTreeMap<Table, BatchFilter> = goes_on.iter().filter_map(filter).collect();
        Self { path, seen: committed.clone(), committed }
    }

    /// Takes a message; `false`: it was taken before.
    pub(super) fn take(&mut self, table: Table, headers: &Headers) -> bool {
        self.seen.entry(table).or_default().take(headers)
    }

    /// Messages were given up uncommitted: they are new when they come again.
    pub(super) fn forget_uncommitted(&mut self) {
        self.seen.clone_from(&self.committed);
    }

    /// These messages are committed.
    pub(super) fn commit<'a>(&mut self, messages: impl Iterator<Item = (Table, &'a Headers)>) {
        for (table, headers) in messages {
            self.committed.entry(table).or_default().take(headers);
            // A rollback may have forgotten them.
            self.seen.entry(table).or_default().take(headers);
        }
        if let Err(error) = self.store() {
            tracing::warn!(path = %self.path.display(), %error, "cannot store which messages are delivered");
        }
    }

    fn store(&self) -> std::io::Result<()> {
        let streams = |filter: &BatchFilter| {
            filter.taken().into_iter().map(|(stream, batch)| (stream.as_str().to_owned(), batch)).collect()
        };
        let stored: Stored =
            self.committed.iter().map(|(table, filter)| (table.name().to_owned(), streams(filter))).collect();
        let beside = self.path.with_extension("new");
        std::fs::write(&beside, serde_json::to_vec(&stored)?)?;
        std::fs::rename(&beside, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: Table = Table::Findings;

    fn headers(batch: i64) -> Headers {
        Headers { schema_version: 1, node: "n".into(), stream: StreamId::new("s"), batch, rows: 1, seq_range: (0, 0) }
    }

    #[test]
    fn committed_numbers_survive_a_restart_and_others_do_not() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sink")).unwrap();
        let mut taken = Taken::open(dir.path(), "sink", &[]);
        assert!(taken.take(TABLE, &headers(0)) && taken.take(TABLE, &headers(1)) && !taken.take(TABLE, &headers(1)));
        taken.commit([(TABLE, &headers(0))].into_iter());
        let mut again = Taken::open(dir.path(), "sink", &[TABLE]);
        assert!(!again.take(TABLE, &headers(0)) && again.take(TABLE, &headers(1)));
        taken.forget_uncommitted();
        assert!(!taken.take(TABLE, &headers(0)) && taken.take(TABLE, &headers(1)));
        // A log in which the group has committed nothing is another log.
        assert!(Taken::open(dir.path(), "sink", &[]).take(TABLE, &headers(0)));
        std::fs::write(dir.path().join("sink/batches"), "{").unwrap();
        assert!(Taken::open(dir.path(), "sink", &[TABLE]).take(TABLE, &headers(0)));
    }
}

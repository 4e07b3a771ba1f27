//! Messages that the event log removed before the sink had read them.
//!
//! Offsets of a partition follow one another, so a jump between two messages, or between the committed position and
//! the first message, is a loss; nothing else shows it.

use std::collections::BTreeMap;

use kerntrail_transport::{Partition, Position};

/// The offset that each partition's next message should have.
#[derive(Debug, Default)]
pub(super) struct OffsetGaps {
    next: BTreeMap<Partition, i64>,
}

impl OffsetGaps {
    /// Reading of `partitions` begins, at the `committed` position where there is one.
    pub(super) fn begin(&mut self, partitions: &[Partition], committed: &[Position]) {
        for partition in partitions {
            match committed.iter().find(|position| position.partition == *partition) {
                Some(position) => self.next.insert(partition.clone(), position.next),
                None => self.next.remove(partition),
            };
        }
    }

    /// How many messages are missing before the one at `offset`, which was read now.
    pub(super) fn before(&mut self, partition: &Partition, offset: i64) -> i64 {
        let expected = self.next.insert(partition.clone(), offset + 1);
        expected.map_or(0, |expected| (offset - expected).max(0))
    }
}

#[cfg(test)]
mod tests {
    use kerntrail_schemas::Table;
    use kerntrail_transport::Topic;

    use super::*;

    #[test]
    fn missing_offsets_are_counted() {
        let partition = |number| Partition { topic: Topic { tenant: "t".into(), table: Table::Findings }, number };
        let mut gaps = OffsetGaps::default();
        let committed = [Position { partition: partition(0), next: 5 }];
        gaps.begin(&[partition(0), partition(1)], &committed);
        for (number, offset, missing) in [(0, 5, 0), (0, 6, 0), (0, 9, 2), (1, 40, 0), (1, 41, 0), (1, 43, 1)] {
            assert_eq!(gaps.before(&partition(number), offset), missing, "{number} {offset}");
        }
        // After a rebalance reading begins at the committed offset, which may be further back.
        gaps.begin(&[partition(0)], &committed);
        assert_eq!(gaps.before(&partition(0), 8), 3);
    }
}

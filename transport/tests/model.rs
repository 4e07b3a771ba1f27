//! Random actions on the embedded log beside the same on a few vectors.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use kerntrail_transport::{Consumer, EmbeddedLog, EmbeddedOptions, EventLog, Partition, Polled, Position};
use proptest::prelude::*;

use crate::support::{group, message, open, subscribe, topic};

const PARTITIONS: usize = 2;
const GROUPS: [&str; 2] = ["a", "b"];
const NODES: [&str; 4] = ["n0", "n1", "n2", "n3"];

#[derive(Clone, Debug)]
enum Action {
    Append { node: usize, count: i64 },
    Subscribe { group: usize },
    Leave { group: usize },
    Poll { group: usize, most: usize },
    Commit { group: usize },
    Seek { group: usize, partition: usize, back: i64 },
    Reopen,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => (0..NODES.len(), 1..5i64).prop_map(|(node, count)| Action::Append { node, count }),
        2 => (0..2usize).prop_map(|group| Action::Subscribe { group }),
        1 => (0..2usize).prop_map(|group| Action::Leave { group }),
        5 => (0..2usize, 1..7usize).prop_map(|(group, most)| Action::Poll { group, most }),
        2 => (0..2usize).prop_map(|group| Action::Commit { group }),
        1 => (0..2usize, 0..PARTITIONS, 0..6i64).prop_map(|(group, partition, back)| Action::Seek { group, partition, back }),
        1 => Just(Action::Reopen),
    ]
}

/// A group as the model sees it.
#[derive(Clone, Default)]
struct Reader {
    registered: bool,
    committed: [Option<i64>; PARTITIONS],
    /// Next offsets, while it has a member that knows its partitions.
    next: Option<[i64; PARTITIONS]>,
}

#[derive(Default)]
struct Model {
    /// Batch numbers and nodes, by offset.
    held: [Vec<(String, i64)>; PARTITIONS],
    low: [i64; PARTITIONS],
    readers: [Reader; 2],
    batches: BTreeMap<String, i64>,
}

impl Model {
    fn trim(&mut self) {
        for partition in 0..PARTITIONS {
            let committed = self
                .readers
                .iter()
                .filter(|reader| reader.registered)
                .map(|reader| reader.committed[partition].unwrap_or(0));
            let floor = committed.min().unwrap_or(0).min(self.held[partition].len() as i64);
            self.low[partition] = self.low[partition].max(floor);
        }
    }

    fn start(&self, group: usize) -> [i64; PARTITIONS] {
        std::array::from_fn(|part| self.readers[group].committed[part].unwrap_or(0).max(self.low[part]))
    }
}

struct Real {
    log: EmbeddedLog,
    consumers: [Option<Box<dyn Consumer>>; 2],
}

async fn start(dir: &Path) -> Real {
    let options = EmbeddedOptions { partitions: PARTITIONS as u32, ..EmbeddedOptions::default() };
    Real { log: open(dir, options).await, consumers: [None, None] }
}

async fn step(action: Action, model: &mut Model, mut real: Real, dir: &Path) -> Real {
    match action {
        Action::Append { node, count } => {
            let node = NODES[node];
            let first = *model.batches.entry(node.to_owned()).or_default();
            model.batches.insert(node.to_owned(), first + count);
            real.log
                .append(&topic("t"), (first..first + count).map(|batch| message(node, batch)).collect())
                .await
                .unwrap();
            // Which partition a node has is the log's affair, as long as it is one.
            let ends = real.log.end(&topic("t")).await.unwrap();
            let grown: Vec<usize> =
                (0..PARTITIONS).filter(|part| ends[*part].next != model.held[*part].len() as i64).collect();
            assert_eq!(grown.len(), 1, "{ends:?}");
            model.held[grown[0]].extend((first..first + count).map(|batch| (node.to_owned(), batch)));
            assert_eq!(ends[grown[0]].next, model.held[grown[0]].len() as i64);
        }
        Action::Subscribe { group } => {
            if real.consumers[group].is_none() {
                real.consumers[group] = Some(subscribe(&real.log, GROUPS[group], &topic("t")).await);
                model.readers[group].registered = true;
            }
        }
        Action::Leave { group } => {
            real.consumers[group] = None;
            model.readers[group].next = None;
        }
        Action::Poll { group, most } => {
            if let Some(consumer) = &mut real.consumers[group] {
                check_poll(consumer.poll(most, Duration::ZERO).await.unwrap(), group, most, model);
            }
        }
        Action::Commit { group } => {
            if let (Some(consumer), Some(next)) = (&mut real.consumers[group], model.readers[group].next) {
                let positions: Vec<Position> = (0..PARTITIONS).map(|part| position(part, next[part])).collect();
                consumer.commit(&positions).await.unwrap();
                model.readers[group].committed = next.map(Some);
                model.trim();
            }
        }
        Action::Seek { group, partition, back } => {
            if let (Some(consumer), Some(next)) = (&mut real.consumers[group], &mut model.readers[group].next) {
                next[partition] = (next[partition] - back).max(0);
                consumer.seek(&position(partition, next[partition])).await.unwrap();
            }
        }
        Action::Reopen => {
            drop(real);
            real = start(dir).await;
            model.readers.iter_mut().for_each(|reader| reader.next = None);
        }
    }
    check(model, &real.log).await;
    real
}

fn position(partition: usize, next: i64) -> Position {
    Position { partition: Partition { topic: topic("t"), number: partition as i32 }, next }
}

fn check_poll(polled: Polled, group: usize, most: usize, model: &mut Model) {
    match polled {
        Polled::Assigned(partitions) => {
            assert_eq!(partitions.len(), PARTITIONS);
            assert!(model.readers[group].next.is_none(), "assigned twice");
            model.readers[group].next = Some(model.start(group));
        }
        Polled::Revoked(partitions) => panic!("{partitions:?} revoked from the only member"),
        Polled::Messages(messages) => {
            let next = model.readers[group].next.as_mut().expect("messages before the assignment");
            for (next, low) in next.iter_mut().zip(&model.low) {
                *next = (*next).max(*low);
            }
            let there: usize = (0..PARTITIONS)
                .map(|part| model.held[part].len() - (next[part] as usize).min(model.held[part].len()))
                .sum();
            assert_eq!(messages.len(), there.min(most));
            for delivered in messages {
                let part = delivered.partition.number as usize;
                assert_eq!(delivered.offset, next[part]);
                let (node, batch) = &model.held[part][delivered.offset as usize];
                assert_eq!(delivered.message, message(node, *batch));
                next[part] += 1;
            }
        }
    }
}

async fn check(model: &Model, log: &EmbeddedLog) {
    for (name, reader) in GROUPS.iter().zip(&model.readers) {
        let committed = log.committed(&group(name), &topic("t")).await.unwrap();
        let expected: Vec<Position> =
            (0..PARTITIONS).filter_map(|part| Some(position(part, reader.committed[part]?))).collect();
        assert_eq!(committed, expected, "{name}");
    }
    let held: i64 = (0..PARTITIONS).map(|part| model.held[part].len() as i64 - model.low[part]).sum();
    assert_eq!(log.held_bytes() == 0, held == 0, "{} bytes for {held} messages", log.held_bytes());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_log_behaves_like_the_model(actions in prop::collection::vec(action(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let mut model = Model::default();
            let mut real = start(folder.path()).await;
            for action in actions {
                real = step(action, &mut model, real, folder.path()).await;
            }
        });
    }
}

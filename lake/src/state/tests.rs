//! The persistent state against a naive one, with every earlier snapshot kept and compared again at the end.

use std::collections::BTreeMap;

use deltalake_core::kernel::{Add, Remove, Transaction};
use proptest::prelude::*;

use super::*;

/// One action of a commit: of a file, or of a stream.
#[derive(Clone, Debug)]
enum Step {
    Add(u8),
    Remove(u8),
    Txn(u8, i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..40u8).prop_map(Step::Add),
        2 => (0..40u8).prop_map(Step::Remove),
        2 => (0..12u8, 0..1000i64).prop_map(|(stream, batch)| Step::Txn(stream, batch)),
    ]
}

fn path(file: u8) -> String {
    format!("date=2026-11-24/part-{file}.parquet")
}

fn action(step: &Step) -> Action {
    match step {
        Step::Add(file) => Action::Add(Add { path: path(*file), data_change: true, ..Add::default() }),
        Step::Remove(file) => Action::Remove(Remove { path: path(*file), ..Remove::default() }),
        Step::Txn(stream, batch) => Action::Txn(Transaction::new(format!("t/stream/{stream}"), *batch)),
    }
}

/// What a state should hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    files: BTreeMap<String, ()>,
    txns: BTreeMap<String, i64>,
}

impl Model {
    fn apply(&mut self, step: &Step) {
        match step {
            Step::Add(file) => drop(self.files.insert(path(*file), ())),
            Step::Remove(file) => drop(self.files.remove(&path(*file))),
            Step::Txn(stream, batch) => drop(self.txns.insert(stream.to_string(), *batch)),
        }
    }

    fn of(state: &TableState) -> Self {
        Self {
            files: state.files.keys().map(|path| (path.to_string(), ())).collect(),
            txns: state.txns.below("t/stream/", 0).map(|(stream, batch)| (stream.to_owned(), batch)).collect(),
        }
    }
}

proptest! {
    #[test]
    fn snapshots_do_not_change(commits in prop::collection::vec(prop::collection::vec(step(), 0..6), 1..60)) {
        let mut state = Arc::new(TableState::empty(Table::ProcessEvents));
        let mut model = Model::default();
        let mut snapshots = Vec::new();
        for (version, steps) in commits.iter().enumerate() {
            steps.iter().for_each(|step| model.apply(step));
            snapshots.push((Arc::clone(&state), Model::of(&state)));
            Arc::make_mut(&mut state).apply(version as i64, steps.iter().map(action).collect()).unwrap();
            prop_assert_eq!(&Model::of(&state), &model);
            prop_assert_eq!(state.files.size(), model.files.len());
        }
        for (snapshot, expected) in snapshots {
            prop_assert_eq!(Model::of(&snapshot), expected);
        }
    }
}

#[test]
fn only_the_latest_commits_are_kept() {
    let mut state = TableState::empty(Table::ProcessEvents);
    let commits = REMEMBERED + 10;
    for version in 0..commits {
        state.apply(version, vec![action(&Step::Add((version % 40) as u8))]).unwrap();
    }
    assert_eq!(state.recent.size() as i64, REMEMBERED);
    assert_eq!(state.recent.first().map(|(version, _)| *version), Some(commits - REMEMBERED));
    assert!(state.recent.values().all(|commit| commit.added.len() == 1));
}

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::txns::Recorded;

const DAY: i64 = 86_400_000;
const NOW: i64 = 1_795_521_600_000;

fn txns(known: &[(&str, i64)]) -> Txns {
    let mut txns = Txns::default();
    for (app_id, version) in known {
        let action = action(app_id, *version, NOW);
        let recorded = Recorded { version: action.version, last_updated: action.last_updated };
        txns.record(Arc::from(action.app_id), recorded);
    }
    txns
}

fn progress(from_offset: i64, next_offset: i64, batches: &[(&str, i64)]) -> Progress {
    let batches = batches.iter().map(|(stream, batch)| ((*stream).to_owned(), *batch)).collect();
    Progress { partition: "t/0".into(), from_offset, next_offset, batches }
}

#[test]
fn written_progress_is_read_back() {
    let offered = progress(0, 8, &[("a", 3), ("b+1", 0)]);
    let written = Progress::rising(Table::EventLoss, std::slice::from_ref(&offered), &txns(&[]), NOW).unwrap();
    let recorded: Vec<_> = written.iter().map(|(app_id, version)| (app_id.as_str(), *version)).collect();
    assert_eq!(recorded, [("t/0", 7), ("t/stream/a", 3), ("t/stream/b+1", 0)]);
    assert_eq!(Progress::read("t/0", &txns(&recorded), NOW), Progress { from_offset: 8, ..offered });
    assert_eq!(Progress::read("t/1", &txns(&recorded), NOW).next_offset, 0);
    assert_eq!(Progress::read("u/0", &txns(&recorded), NOW).batches.len(), 0);
}

#[test]
fn only_increasing_progress_is_accepted() {
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
        let got = Progress::rising(Table::EventLoss, &[progress(from, next, batches)], &recorded, NOW);
        match (&got, expected) {
            (Ok(rising), Ok(ids)) => assert_eq!(rising.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ids),
            (Err(LakeError::Conflict { app_id, .. }), Err(id)) => assert_eq!(app_id, id),
            _ => panic!("{from} {next} {batches:?}: {got:?}"),
        }
    }
}

#[test]
fn batch_numbers_expire_and_offsets_do_not() {
    let mut recorded = txns(&[("t/0", 7), ("rejected/t/0", 2), ("t/stream/a", 3), ("t/stream/b", 4)]);
    let later = NOW + 30 * DAY;
    assert_eq!(Progress::read("t/0", &recorded, later).batches.len(), 2, "nothing expires without a retention");
    recorded.set_retention(Some(Duration::from_secs(30 * 86_400)));
    assert_eq!(Progress::read("t/0", &recorded, later - 1).batches.len(), 2);
    recorded.record("t/stream/b".into(), Recorded { version: 5, last_updated: Some(NOW + 1) });

    let read = Progress::read("t/0", &recorded, later);
    assert_eq!((read.next_offset, read.batches), (8, [("b".to_owned(), 5)].into()));
    assert_eq!(Progress::read("rejected/t/0", &recorded, later + 365 * DAY).next_offset, 3);
    // An expired number does not block a stream that starts again.
    let offered = progress(8, 9, &[("a", 0)]);
    let rising = Progress::rising(Table::EventLoss, &[offered], &recorded, later).unwrap();
    assert_eq!(rising, [("t/0".to_owned(), 8), ("t/stream/a".to_owned(), 0)]);

    let before = recorded.clone();
    recorded.expire(later);
    assert_eq!((before.len(), recorded.len()), (4, 3), "a snapshot is not changed");
    assert_eq!(Progress::read("t/0", &recorded, NOW).batches.len(), 1);
}

#[test]
fn offsets_recorded_with_a_time_are_found() {
    let mut recorded = txns(&[("t/0", 7), ("t/stream/a", 3)]);
    assert_eq!(recorded.perishable_offsets().count(), 0);
    recorded.set_retention(Some(Duration::from_secs(1)));
    recorded.record("t/1".into(), Recorded { version: 5, last_updated: Some(NOW) });
    assert_eq!(recorded.perishable_offsets().collect::<Vec<_>>(), [("t/1", 5)]);
    // Until it is recorded again, our own readers go by its name.
    assert_eq!(recorded.get("t/1", NOW + DAY), Some(5));
}

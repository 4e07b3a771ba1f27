//! Rejected messages: listed, shown, and replayed once a release can read them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kerntrail_common::ids::IdSelection;
use kerntrail_lake::Lake;
use kerntrail_pipeline::rejected::{self, RejectedError};
use kerntrail_schemas::Table;
use kerntrail_transport::Codec;

use crate::memory_log::{Entry, MemoryLog, Step};
use crate::support::{NOON, config, damaged, message, pipeline, place, running, seqs};

const DAMAGED: &str = "kerntrail.acme.process_events-0-1";
const WITHOUT_HEADERS: &str = "kerntrail.acme.process_events-0-2";

struct Bed {
    folder: tempfile::TempDir,
    log: MemoryLog,
    lake: Arc<Lake>,
}

impl Bed {
    /// A pipeline has taken a good message and rejected two.
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lake = Arc::new(Lake::open(folder.path().join("lake").to_str().unwrap(), "acme").unwrap());
        let bed = Self { log: MemoryLog::new(1), lake, folder };
        let good = |batch| message(Table::ProcessEvents, "s", batch, batch * 10, 10);
        for entry in
            [Entry::Message(good(0)), Entry::Message(damaged(good(1))), Entry::Damaged, Entry::Message(good(3))]
        {
            bed.log.push(&place(Table::ProcessEvents, 0), entry);
        }
        bed.drain().await;
        bed
    }

    fn rejected(&self) -> PathBuf {
        self.folder.path().join("rejected")
    }

    async fn drain(&self) {
        let pipeline = pipeline(&self.log, &self.lake, config(self.folder.path()));
        running(&pipeline, pipeline.drain()).await.0.unwrap();
    }

    /// Takes what is in the log, `days` after the rows' day by the lake's clock.
    async fn drain_after(&self, days: i64) {
        let lake = Lake::open(self.folder.path().join("lake").to_str().unwrap(), "acme").unwrap();
        let lake = Arc::new(lake.with_clock(move || NOON / 1000 + days * 86_400_000));
        let pipeline = pipeline(&self.log, &lake, config(self.folder.path()));
        running(&pipeline, pipeline.drain()).await.0.unwrap();
    }

    /// Puts back the bytes that the message had before they were damaged: as if a release came that can read them.
    fn repair(&self) {
        let payload = message(Table::ProcessEvents, "s", 1, 10, 10).payload;
        std::fs::write(self.rejected().join(format!("{DAMAGED}.bin")), payload).unwrap();
    }

    /// The files of the damaged message.
    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let paths = ["json", "bin"].map(|ending| self.rejected().join(format!("{DAMAGED}.{ending}")));
        paths.map(|path| (path.clone(), std::fs::read(path).unwrap())).into()
    }

    async fn replay(&self, which: IdSelection) -> rejected::ReplayReport {
        rejected::replay(&self.rejected(), &which, &Codec::current(), &self.log).await.unwrap()
    }
}

fn ids(folder: &Path) -> Vec<String> {
    rejected::list(folder).unwrap().messages.into_iter().map(|message| message.id).collect()
}

#[tokio::test]
async fn rejected_messages_are_listed_and_shown() {
    let bed = Bed::new().await;
    // What an import rejected is there too, but is not a rejected message.
    std::fs::write(bed.rejected().join("export-1234.ndjson"), "{}\n").unwrap();
    let listing = rejected::list(&bed.rejected()).unwrap();
    assert!(listing.unreadable.is_empty());
    let [first, second] = listing.messages.as_slice() else { panic!("{listing:?}") };
    assert_eq!((first.id.as_str(), second.id.as_str()), (DAMAGED, WITHOUT_HEADERS));
    assert_eq!((first.topic.as_str(), first.partition, first.offset), ("kerntrail.acme.process_events", 0, 1));
    assert_eq!((first.bytes, first.headers.as_ref().unwrap().batch), (20, 1));
    assert!(first.reason.contains("does not start as a payload does"), "{}", first.reason);
    assert!(chrono::DateTime::parse_from_rfc3339(&first.rejected).is_ok(), "{}", first.rejected);
    assert_eq!((second.reason.as_str(), &second.headers), ("no headers", &None));

    let show = |id: &str| rejected::show(&bed.rejected(), id, &Codec::current());
    let shown = show(DAMAGED).unwrap();
    assert_eq!((&shown.message, shown.payload.as_slice()), (first, &b"no rows of any table"[..]));
    assert!(shown.reason_now.unwrap().contains("does not start"));
    for (id, matching) in [("kerntrail.", 2), ("other", 0)] {
        let error = show(id).unwrap_err();
        assert!(matches!(error, RejectedError::NotOne { matching: found, .. } if found == matching), "{error:?}");
    }
    bed.repair();
    assert_eq!(show(DAMAGED).unwrap().reason_now, None);
    assert_eq!(rejected::list(Path::new("/no/such/folder")).unwrap().messages, []);
}

#[tokio::test]
async fn a_replay_appends_messages_that_can_now_be_read_and_keeps_the_rest() {
    let bed = Bed::new().await;
    let all: Vec<i64> = (0..10).chain(30..40).collect();
    assert_eq!(seqs(&bed.lake, Table::ProcessEvents).await, all);
    let report = bed.replay(IdSelection::All).await;
    assert_eq!((report.replayed, report.refused.len(), report.not_tried), (0, 2, 0));
    assert_eq!(report.refused[1], (WITHOUT_HEADERS.to_owned(), "its headers could not be read".to_owned()));
    assert_eq!(ids(&bed.rejected()), [DAMAGED, WITHOUT_HEADERS]);

    bed.repair();
    assert_eq!(bed.replay(IdSelection::Ids(vec!["other".into()])).await, rejected::ReplayReport::default());
    let kept = bed.files();
    let report = bed.replay(IdSelection::Ids(vec![DAMAGED.into()])).await;
    assert_eq!((report.replayed, report.refused.len(), report.stopped), (1, 0, None));
    assert_eq!(ids(&bed.rejected()), [WITHOUT_HEADERS]);
    assert!(!bed.rejected().join(format!("{DAMAGED}.bin")).exists());

    // Killed before the files were removed: the next replay appends it again, and no reader takes it twice.
    for (path, bytes) in kept {
        std::fs::write(path, bytes).unwrap();
    }
    assert_eq!(bed.replay(IdSelection::All).await.replayed, 1);
    bed.drain().await;
    let all: Vec<i64> = (0..20).chain(30..40).collect();
    assert_eq!(seqs(&bed.lake, Table::ProcessEvents).await, all);
}

#[tokio::test]
async fn a_replay_adds_no_rows_that_the_lake_has() {
    let all: Vec<i64> = (0..20).chain(30..40).collect();
    for taken_before in [true, false] {
        let bed = Bed::new().await;
        bed.repair();
        if taken_before {
            // The pipeline was killed when it had kept the message and not yet recorded its offset; then came a
            // release that could read it.
            bed.log
                .push(&place(Table::ProcessEvents, 0), Entry::Message(message(Table::ProcessEvents, "t", 0, 10, 10)));
            bed.drain_after(0).await;
            assert_eq!(seqs(&bed.lake, Table::ProcessEvents).await, all);
        }
        let kept = bed.files();
        // The second time the lake has forgotten the stream of the first replay.
        for days in [0, 60] {
            for (path, bytes) in &kept {
                std::fs::write(path, bytes).unwrap();
            }
            assert_eq!(bed.replay(IdSelection::All).await.replayed, 1);
            bed.drain_after(days).await;
            assert_eq!(seqs(&bed.lake, Table::ProcessEvents).await, all, "{taken_before}, after {days} days");
        }
    }
}

#[tokio::test]
async fn an_exact_id_does_not_select_longer_ids() {
    let bed = Bed::new().await;
    let kept = ["kerntrail.acme.process_events-0-10", "kerntrail.acme.process_events-0-11"];
    for id in kept {
        for ending in ["json", "bin"] {
            let of = |id: &str| bed.rejected().join(format!("{id}.{ending}"));
            std::fs::copy(of(DAMAGED), of(id)).unwrap();
        }
    }
    bed.repair();
    let report = bed.replay(IdSelection::Ids(vec![DAMAGED.into()])).await;
    assert_eq!((report.replayed, report.refused), (1, vec![]));
    // Without a message of that very id, it is the beginning of two; each is tried once.
    let report = bed.replay(IdSelection::Ids(vec![DAMAGED.into(), kept[0].into()])).await;
    assert_eq!(report.refused.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), kept);
}

#[tokio::test]
async fn a_message_without_its_payload_is_named() {
    let bed = Bed::new().await;
    bed.repair();
    std::fs::remove_file(bed.rejected().join(format!("{DAMAGED}.bin"))).unwrap();
    let report = bed.replay(IdSelection::Ids(vec![DAMAGED.into()])).await;
    assert_eq!((report.replayed, report.refused), (0, vec![(DAMAGED.into(), "its payload is missing".into())]));
    assert!(rejected::ids(&bed.rejected()).unwrap().contains(&DAMAGED.to_owned()));
}

#[tokio::test]
async fn a_description_that_cannot_be_read_does_not_stop_the_others() {
    let bed = Bed::new().await;
    bed.repair();
    // Both are tried before the one that can be replayed.
    let (broken, newer) = ("kerntrail.acme.process_events-0-0", "kerntrail.acme.event_loss-0-9");
    std::fs::write(bed.rejected().join(format!("{broken}.json")), "{").unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/rejected");
    let golden = golden.join("kerntrail.acme.process_events-0-9.json");
    std::fs::copy(golden, bed.rejected().join(format!("{newer}.json"))).unwrap();

    let report = bed.replay(IdSelection::All).await;
    assert_eq!((report.replayed, report.stopped.as_ref()), (1, None));
    let refused: Vec<_> = report.refused.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(refused, [newer, broken, WITHOUT_HEADERS]);
    assert!(report.refused[0].1.contains("description version 2 is newer than 1"), "{report:?}");
    assert!(report.refused[1].1.contains("does not describe a rejected message"), "{report:?}");
    for id in [newer, broken] {
        assert!(bed.rejected().join(format!("{id}.json")).exists(), "{id}");
    }
    bed.drain().await;
    assert_eq!(seqs(&bed.lake, Table::ProcessEvents).await, (0..20).chain(30..40).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_message_is_kept_when_the_log_does_not_accept_it() {
    let bed = Bed::new().await;
    bed.repair();
    bed.log.fail(Step::Append);
    let report = bed.replay(IdSelection::All).await;
    assert_eq!((report.replayed, report.not_tried), (0, 2), "{report:?}");
    assert!(report.stopped.unwrap().contains("as the test wants it"));
    assert_eq!(ids(&bed.rejected()), [DAMAGED, WITHOUT_HEADERS]);
    assert_eq!(bed.replay(IdSelection::All).await.replayed, 1);
}

#[test]
fn files_of_other_releases_are_read_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/rejected");
    for file in std::fs::read_dir(golden).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    let listing = rejected::list(folder.path()).unwrap();
    // Oldest first. Those without a version, as the first release wrote them, have the time of the file, which is now.
    assert_eq!((listing.messages[0].offset, listing.messages[0].rejected.as_str()), (7, "2020-01-01T00:00:00.000Z"));
    let mut found: Vec<_> =
        listing.messages.iter().map(|message| (message.offset, message.headers.is_some())).collect();
    found.sort();
    assert_eq!(found, [(1, true), (3, false), (7, true)]);
    let [RejectedError::Newer { path, newer }] = listing.unreadable.as_slice() else { panic!("{listing:?}") };
    assert!(path.ends_with("kerntrail.acme.process_events-0-9.json"));
    assert_eq!(
        newer.to_string(),
        "description version 2 is newer than 1, the newest that this release knows; upgrade kerntrail"
    );
    let shown = rejected::show(folder.path(), DAMAGED, &Codec::current()).unwrap();
    assert_eq!((shown.payload.as_slice(), shown.message.bytes), (&b"no rows of any table"[..], 20));
}

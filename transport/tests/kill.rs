//! What a crash leaves behind: the embedded log after SIGKILL, and after its last write was cut.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kerntrail_transport::embedded::OpenError;
use kerntrail_transport::{EmbeddedLog, EmbeddedOptions, EventLog};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::support::{message, messages, open, read, sized, subscribe, topic};

const FOLDER: &str = "KERNTRAIL_TEST_FOLDER";

/// The child of the test below: appends for ever, and prints each batch number once it is durable.
#[tokio::test]
#[ignore = "run by the test below, in a process of its own"]
async fn child_appends_until_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let log = open(Path::new(&folder), EmbeddedOptions::default()).await;
    let first = log.end(&topic("t")).await.unwrap()[0].next;
    for batch in (first..).step_by(3) {
        let some = (batch..batch + 3).map(|batch| sized("n", batch, 5_000)).collect();
        log.append(&topic("t"), some).await.unwrap();
        println!("durable {}", batch + 3);
    }
}

/// Kills a process at a random moment; returns the number of messages that were acknowledged as durable.
fn append_and_kill(folder: &Path, random: &mut StdRng) -> i64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["kill::child_appends_until_killed", "--exact", "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut numbers = lines.filter_map(|line| line.rsplit_once("durable ")?.1.parse().ok());
    let wanted = random.random_range(0..60);
    let mut durable = numbers.by_ref().take(wanted).last().unwrap_or(0);
    child.kill().unwrap();
    child.wait().unwrap();
    // What it printed before it died counts too.
    durable = numbers.last().unwrap_or(durable);
    durable
}

#[tokio::test]
async fn nothing_durable_is_lost_by_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = StdRng::seed_from_u64(11);
    let mut durable = 0;
    for round in 0..8 {
        durable = append_and_kill(folder.path(), &mut random).max(durable);
        let log = open(folder.path(), EmbeddedOptions::default()).await;
        let end = log.end(&topic("t")).await.unwrap()[0].next;
        assert!(end >= durable, "round {round}: {end} messages of {durable}");
        // All or nothing of the append that was under way.
        assert_eq!(end % 3, 0, "round {round}");
        let mut consumer = subscribe(&log, "g", &topic("t")).await;
        if end > 0 {
            let seen = read(&mut *consumer, end as usize).await;
            assert_eq!(seen.batches(), (0..end).collect::<Vec<_>>(), "round {round}");
        }
    }
    assert!(durable > 0, "it was never alive for long enough");
}

fn journal(folder: &Path) -> PathBuf {
    let files = std::fs::read_dir(folder.join("store")).unwrap().map(|entry| entry.unwrap().path());
    let mut journals: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|end| end == "jnl")).collect();
    journals.sort();
    journals.pop().unwrap()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy(&source, &target);
        } else {
            std::fs::copy(&source, &target).unwrap();
        }
    }
}

/// Cuts the write-ahead journal anywhere: what is left is the messages up to there, and the log goes on.
#[tokio::test]
async fn a_truncated_journal_gives_the_messages_before_the_cut() {
    let folder = tempfile::tempdir().unwrap();
    let mut ends = Vec::new();
    let log = open(folder.path(), EmbeddedOptions::default()).await;
    for round in 0..6 {
        log.append(&topic("t"), messages("n", round * 2..round * 2 + 2)).await.unwrap();
        let bytes = std::fs::read(journal(folder.path())).unwrap();
        ends.push(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |place| place + 1));
    }
    // Not closed, as after a kill: copied while open.
    let mut random = StdRng::seed_from_u64(3);
    let cuts: Vec<usize> = ends.iter().copied().chain((0..14).map(|_| random.random_range(ends[0]..ends[5]))).collect();
    for cut in cuts {
        let damaged = tempfile::tempdir().unwrap();
        copy(folder.path(), damaged.path());
        std::fs::OpenOptions::new().write(true).open(journal(damaged.path())).unwrap().set_len(cut as u64).unwrap();
        let log = open(damaged.path(), EmbeddedOptions::default()).await;
        let whole = ends.iter().filter(|end| **end <= cut).count() as i64;
        assert_eq!(log.end(&topic("t")).await.unwrap()[0].next, whole * 2, "cut at {cut} of {ends:?}");
        log.append(&topic("t"), messages("n", whole * 2..whole * 2 + 1)).await.unwrap();
        let mut consumer = subscribe(&log, "g", &topic("t")).await;
        let seen = read(&mut *consumer, whole as usize * 2 + 1).await;
        assert_eq!(seen.batches(), (0..whole * 2 + 1).collect::<Vec<_>>(), "cut at {cut}");
    }
}

/// A byte that the disk changed: the store reports it, or returns what precedes it; it never returns anything else.
#[tokio::test]
async fn a_damaged_journal_gives_only_messages_that_were_written() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path(), EmbeddedOptions::default()).await;
    for batch in 0..8 {
        log.append(&topic("t"), messages("n", batch..batch + 1)).await.unwrap();
    }
    let written = std::fs::read(journal(folder.path())).unwrap().iter().rposition(|byte| *byte != 0).unwrap();
    let mut random = StdRng::seed_from_u64(4);
    let mut refused = 0;
    for _ in 0..30 {
        let damaged = tempfile::tempdir().unwrap();
        copy(folder.path(), damaged.path());
        let path = journal(damaged.path());
        let mut bytes = std::fs::read(&path).unwrap();
        let place = random.random_range(0..written);
        bytes[place] ^= 1 << random.random_range(0..8);
        std::fs::write(&path, bytes).unwrap();
        match EmbeddedLog::open(damaged.path(), EmbeddedOptions::default()).await {
            Err(OpenError::Store { .. }) => refused += 1,
            Err(error) => panic!("byte {place}: {error:?}"),
            Ok(log) => {
                let held = log.end(&topic("t")).await.unwrap()[0].next;
                if held > 0 {
                    let mut consumer = subscribe(&log, "g", &topic("t")).await;
                    let seen = read(&mut *consumer, held as usize).await;
                    for (batch, delivered) in (0..).zip(&seen.messages) {
                        assert_eq!(delivered.message, message("n", batch), "byte {place}");
                    }
                }
            }
        }
    }
    assert!(refused > 0, "no damage was noticed");
}

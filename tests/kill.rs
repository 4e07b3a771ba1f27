//! The importing process is killed (SIGKILL) at seeded random points: each record ends up in the lake exactly once.

use std::io::Write;
use std::process::{Child, ChildStdin, Command, Stdio};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::program::{Program, text};
use crate::tetragon::lines;

const RECORDS: usize = 200_000;
const KILLS: usize = 20;
const SEED: u64 = 20_260_901;

#[test]
fn each_record_is_in_the_lake_exactly_once() {
    let program = Program::new();
    let records = lines(0, RECORDS as u64);
    let mut random = StdRng::seed_from_u64(SEED);
    let mut points: Vec<usize> = (0..KILLS).map(|_| random.random_range(0..records.len())).collect();
    points.sort_unstable();
    let mut committed = 0;
    for point in points {
        let mut child = replay(&program).spawn().expect("the program starts");
        let open = feed(&mut child, &records.as_bytes()[..point]);
        child.kill().expect("a child");
        drop(open);
        let output = child.wait_with_output().expect("a child");
        assert!(output.status.code().is_none(), "it ended by itself: {}", text(&output.stderr));
        committed = program.count("select count(*) from process_events");
    }
    assert!(committed > 0, "every kill came before the first commit");
    let mut child = replay(&program).spawn().expect("the program starts");
    drop(feed(&mut child, records.as_bytes()));
    let output = child.wait_with_output().expect("a child");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let sql = "select count(*), count(distinct event_id), count(distinct args[3]) from process_events";
    assert_eq!(program.rows(sql), [format!("{RECORDS},{RECORDS},{RECORDS}")], "seed {SEED}");
}

/// Commits often, so that many kills hit a commit.
fn replay(program: &Program) -> Command {
    let mut command = program.command(&["replay", "-q", "-"]);
    command.args(["--lake-flush-interval=100ms", "--lake-flush-rows=2000", "--lake-compact-interval=1s"]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Writes all of `bytes`. A full pipe blocks the writer, so on return the program has read all but the last few KiB.
/// Dropping the returned handle ends the input.
fn feed(child: &mut Child, bytes: &[u8]) -> ChildStdin {
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(bytes).expect("the program reads");
    stdin
}

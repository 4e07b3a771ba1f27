//! What the filter costs each program: the kernel's own count of runs and time, with the filter in different states.
//!
//! `cargo run --profile quick -p kerntrail-ebpf --example filter_cost [rounds]`, as root. The states take turns within a
//! round; a program's time is the median of the rounds, with the least and the greatest. The kernel's clock is part of
//! each run, equally in all states. Turns `kernel.bpf_stats_enabled` on while it runs.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use kerntrail_ebpf::probes::process::Program;
use kerntrail_ebpf::probes::{Filtered, records};
use kerntrail_ebpf::records::read;
use kerntrail_ebpf::{LoadOptions, Programs, Verdict};

const STATS: &str = "/proc/sys/kernel/bpf_stats_enabled";
/// Cgroups with an entry, besides that of the events.
const OTHERS: u64 = 1_000;
/// Processes, calls and connections in a turn.
const PROCESSES: usize = 200;
const CALLS: usize = 5_000;
const CONNECTIONS: usize = 1_000;

#[derive(Clone, Copy, PartialEq)]
enum State {
    Absent,
    Unused,
    OtherCgroups,
    Passes,
    Drops,
}

/// In the order in which they take turns.
const STATES: [(State, &str); 5] = [
    (State::Absent, "compiled out"),
    (State::Unused, "no entry"),
    (State::OtherCgroups, "1,000 other cgroups"),
    (State::Passes, "1,001 cgroups, passes"),
    (State::Drops, "1,001 cgroups, drops"),
];

/// Rows of the report, and the programs whose time they add up.
const WORK: [(&str, &[&str]); 5] = [
    ("fork", &["process_fork"]),
    ("exec", &["process_exec"]),
    ("exit", &["process_exit"]),
    ("unshare, in and out", &["enter_unshare", "exit_unshare"]),
    ("connect, accept, close: state changes", &["socket_owner", "socket_progress"]),
];

fn main() -> Result<(), Box<dyn Error>> {
    let rounds = std::env::args().nth(1).map_or(Ok(9), |text| text.parse::<usize>())?;
    let before = fs::read_to_string(STATS)?;
    fs::write(STATS, "1")?;
    let measured = measure(rounds);
    fs::write(STATS, before)?;
    report(&measured?);
    Ok(())
}

/// Nanoseconds a run, by program and state, one of each round.
type Measured = BTreeMap<(&'static str, usize), Vec<f64>>;

fn measure(rounds: usize) -> Result<Measured, Box<dyn Error>> {
    let mut measured = Measured::new();
    for _ in 0..rounds {
        for (index, (state, _)) in STATES.iter().enumerate() {
            for (program, ns) in turn(*state)? {
                measured.entry((program, index)).or_default().push(ns);
            }
        }
    }
    Ok(measured)
}

fn turn(state: State) -> Result<Vec<(&'static str, f64)>, Box<dyn Error>> {
    let filter_cgroups = if state == State::Absent { 0 } else { 4_096 };
    let mut programs = Programs::load(&LoadOptions { filter_cgroups, ..LoadOptions::default() })?;
    let own = own_cgroup(&mut programs)?;
    if state != State::Absent {
        set(&mut programs, state, own)?;
    }
    let before = programs.stats()?;
    work()?;
    let after = programs.stats()?;
    let ran = before.iter().zip(&after).filter(|(before, after)| after.runs > before.runs);
    Ok(ran
        .map(|(before, after)| {
            (after.program, (after.run_ns - before.run_ns) as f64 / (after.runs - before.runs) as f64)
        })
        .collect())
}

fn own_cgroup(programs: &mut Programs) -> Result<u64, Box<dyn Error>> {
    let existing = programs.existing(Path::new("/proc"))?;
    let mut tasks = existing.iter().filter_map(|record| read::<Program>(record)).map(|(program, _)| program.task);
    let own = tasks.find(|task| task.process.tgid == std::process::id()).ok_or("this process is not listed")?;
    Ok(own.state.cgroup_id)
}

fn set(programs: &mut Programs, state: State, own: u64) -> Result<(), Box<dyn Error>> {
    let mut filter = programs.filter()?;
    if state == State::Unused {
        return Ok(());
    }
    for record in records().filter(|record| record.filtered != Filtered::Never) {
        for other in 0..OTHERS {
            filter.set(1 << 40 | other, record.kind, Verdict::Drop)?;
        }
        match state {
            State::Passes => filter.set(own, record.kind, Verdict::Pass)?,
            State::Drops => filter.set(own, record.kind, Verdict::Drop)?,
            _ => {}
        }
    }
    Ok(())
}

fn work() -> Result<(), Box<dyn Error>> {
    for _ in 0..PROCESSES {
        Command::new("/bin/true").args(["one", "two"]).status()?;
    }
    for _ in 0..CALLS {
        // SAFETY: without a flag it changes nothing.
        unsafe { libc::unshare(0) };
    }
    let listener = TcpListener::bind("127.0.0.1:0")?;
    for _ in 0..CONNECTIONS {
        let client = TcpStream::connect(listener.local_addr()?)?;
        let (mut server, _) = listener.accept()?;
        drop(client);
        server.read_exact(&mut [0]).err();
    }
    Ok(())
}

fn report(measured: &Measured) {
    println!("| ns a run | {} |", STATES.map(|(_, name)| name).join(" | "));
    println!("|---|{}", "---|".repeat(STATES.len()));
    for (name, programs) in WORK {
        let cells = (0..STATES.len()).map(|state| {
            let rounds = programs.iter().filter_map(|program| measured.get(&(*program, state)));
            let sums = rounds.fold(Vec::new(), |mut sums: Vec<f64>, rounds| {
                sums.resize(rounds.len().max(sums.len()), 0.0);
                sums.iter_mut().zip(rounds).for_each(|(sum, ns)| *sum += ns);
                sums
            });
            cell(sums)
        });
        println!("| {name} | {} |", cells.collect::<Vec<_>>().join(" | "));
    }
}

/// `612 (598 to 640)`.
fn cell(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    match (values.first(), values.get(values.len() / 2), values.last()) {
        (Some(least), Some(median), Some(greatest)) => format!("{median:.0} ({least:.0} to {greatest:.0})"),
        _ => "-".to_owned(),
    }
}

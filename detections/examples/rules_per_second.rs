//! usage: rules_per_second FOLDER...
//! Events per second through all process rules of folders of Sigma rules, beside rsigma-eval in the same run: generated
//! exec events in memory, on as many threads as there are processors. Prints a Markdown table. A public set of rules is
//! `rules/linux` of github.com/SigmaHQ/sigma.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a measurement ends by panicking")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{AsArray, RecordBatch};
use kerntrail_detections::measure::{InMemory, exec_events};
use kerntrail_detections::{RuleKind, Rules, Sources};
use kerntrail_schemas::Table;
use rsigma_eval::Engine;
use rsigma_eval::event::JsonEvent;
use rsigma_parser::parse_sigma_yaml;
use serde_json::{Value, json};

/// Rows of a batch.
const BATCH: usize = 8_192;
/// Time of one measurement.
const TIME: Duration = Duration::from_secs(5);
/// Rounds, alternating between the two.
const ROUNDS: usize = 3;

fn main() {
    let folders: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    assert!(!folders.is_empty(), "usage: rules_per_second FOLDER...");
    let mut sources = Sources::default();
    folders.iter().for_each(|folder| sources.add_folder(folder).expect("a folder of rules"));
    let rules = sources.compile();
    let ours = Arc::new(InMemory::new(&rules, Table::ProcessEvents));
    let peer = Arc::new(peer(&rules));
    let batch = exec_events(BATCH).expect("events");
    let events: Arc<Vec<Value>> = Arc::new(events(&batch));
    let threads = std::thread::available_parallelism().map_or(1, Into::into);
    println!("{} rules over process_events, {} refused; {threads} threads", ours.rules(), rules.refused().len());
    println!("matches in {BATCH} events: {}", ours.matches(&batch).expect("a count"));
    let mut costs = ours.costs(&batch).expect("events");
    costs.sort_by_key(|(_, took)| std::cmp::Reverse(*took));
    let own: Duration = costs.iter().map(|(_, took)| *took).sum();
    println!("predicates: {:.0} ns an event; the most expensive rules:", own.as_nanos() as f64 / BATCH as f64);
    for (rule, took) in costs.into_iter().take(10) {
        let title = rules.iter().nth(rule).map(|rule| rule.title.as_str()).unwrap_or_default();
        println!("  {:.1} ns an event: {title}", took.as_nanos() as f64 / BATCH as f64);
    }
    println!("\n| round | kerntrail, events/s | rsigma-eval, events/s | ratio |\n|---|---|---|---|");
    for round in 1..=ROUNDS {
        let (own, all) = (Arc::clone(&ours), batch.clone());
        let first = per_second(threads, move || own.matches(&all).expect("a count"));
        let (other, all) = (Arc::clone(&peer), Arc::clone(&events));
        let second =
            per_second(threads, move || all.iter().map(|event| other.evaluate(&JsonEvent::borrow(event)).len()).sum());
        println!("| {round} | {first:.0} | {second:.0} | {:.1} |", first / second);
    }
}

/// The same rules in the peer: those that both can use.
fn peer(rules: &Rules) -> Engine {
    let mut engine = Engine::new();
    engine.set_cross_rule_ac(true);
    let single =
        rules.iter().filter(|rule| matches!(&rule.kind, RuleKind::Single(step) if step.table == Table::ProcessEvents));
    for file in single.map(|rule| &rule.file).collect::<std::collections::BTreeSet<_>>() {
        let collection = parse_sigma_yaml(&std::fs::read_to_string(file).expect("a file")).expect("rules");
        engine.add_collection(&collection).expect("rules that it can use");
    }
    engine
}

/// The events as the peer reads them.
fn events(batch: &RecordBatch) -> Vec<Value> {
    let text =
        |name: &str, row: usize| batch.column_by_name(name).expect("a column").as_string::<i32>().value(row).to_owned();
    let event = |row| {
        json!({"Image": text("process_path", row), "CommandLine": text("cmd_line", row),
               "ParentImage": text("parent_path", row), "CurrentDirectory": text("cwd", row)})
    };
    (0..batch.num_rows()).map(event).collect()
}

/// Events per second on `threads` threads, each of which evaluates a batch over and over.
fn per_second(threads: usize, evaluate: impl Fn() -> usize + Clone + Send + 'static) -> f64 {
    let started = Instant::now();
    let running: Vec<_> = (0..threads)
        .map(|_| {
            let evaluate = evaluate.clone();
            std::thread::spawn(move || {
                let mut batches = 0;
                while started.elapsed() < TIME {
                    std::hint::black_box(evaluate());
                    batches += 1;
                }
                batches
            })
        })
        .collect();
    let batches: usize = running.into_iter().map(|thread| thread.join().expect("a thread")).sum();
    (batches * BATCH) as f64 / started.elapsed().as_secs_f64()
}

//! `kerntrail rules`: lists rules, checks them, and runs their tests.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;
use kerntrail_common::error::chain;
use kerntrail_common::words::counted;
use kerntrail_detections::measure::{self, InMemory};
use kerntrail_detections::{Rule, RuleError, RuleKind, Rules, rules, testing};
use kerntrail_query_engine::output::{Format, List};
use kerntrail_schemas::Table;

use crate::cli;
use crate::config::Config;
use crate::parts;

/// Runs the subcommand.
pub async fn run(config: &Config, action: cli::Rules) -> anyhow::Result<ExitCode> {
    match action {
        cli::Rules::List(form) => list(&parts::rules(config)?, form.output),
        cli::Rules::Check { paths } if paths.is_empty() => list(&parts::rules(config)?, Format::Table),
        cli::Rules::Check { paths } => check(&paths),
        cli::Rules::Test { paths } => test(&paths).await,
    }
}

fn list(rules: &Rules, format: Format) -> anyhow::Result<ExitCode> {
    let kind = |rule: &Rule| match &rule.kind {
        RuleKind::Single(_) => "event",
        RuleKind::Sequence(_) => "sequence",
    };
    let list = List::default()
        .text("id", rules.iter().map(|rule| rule.id.to_string()))
        .text("severity", rules.iter().map(|rule| rule.level.as_str()))
        .text("kind", rules.iter().map(kind))
        .text("ns_per_event", costs(rules)?)
        .text("title", rules.iter().map(|rule| rule.title.clone()));
    list.write(format, &mut std::io::stdout())?;
    for error in rules.refused() {
        eprintln!("kerntrail: not used: {}", chain(error));
    }
    Ok(ExitCode::SUCCESS)
}

/// Fails when a file is wrong; checks every file.
fn check(paths: &[PathBuf]) -> anyhow::Result<ExitCode> {
    let (mut rules, mut wrong, mut tests) = (Rules::default(), 0, 0);
    for (path, text) in files(paths)? {
        match text.map_err(anyhow::Error::from).and_then(|text| check_file(&mut rules, &path, &text)) {
            Ok(count) => tests += count,
            Err(error) => {
                wrong += 1;
                eprintln!("kerntrail: {error:#}");
            }
        }
    }
    let (valid, tests) = (counted(rules.iter().count(), "valid rule"), counted(tests, "test"));
    println!("{valid}, with {tests}; {}", counted(wrong, "invalid file"));
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Adds the file's rules when rules and tests are valid; returns the number of tests.
fn check_file(rules: &mut Rules, path: &Path, text: &str) -> anyhow::Result<usize> {
    Rules::default().add_file(path, text)?;
    let tests = testing::check(path, text)?;
    rules.add_file(path, text)?;
    Ok(tests)
}

async fn test(paths: &[PathBuf]) -> anyhow::Result<ExitCode> {
    let (mut passed, mut failed) = (0, 0);
    for (path, text) in files(paths)? {
        for outcome in testing::run(&path, &text?).await? {
            if outcome.passed() {
                passed += 1;
                continue;
            }
            failed += 1;
            println!(
                "{}: \"{}\": {} findings expected, {} made",
                path.display(),
                outcome.name,
                outcome.expected,
                outcome.found.len()
            );
        }
    }
    println!("{passed} passed, {failed} failed");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The rule files that `paths` name, each with its text; the shipped ones where there are none.
fn files(paths: &[PathBuf]) -> anyhow::Result<Vec<(PathBuf, Result<String, RuleError>)>> {
    if paths.is_empty() {
        return Ok(Rules::shipped_files().map(|(path, text)| (path.to_owned(), Ok(text.to_owned()))).collect());
    }
    let mut found = Vec::new();
    for path in paths {
        let files = rules::files(path)?;
        if files.is_empty() {
            bail!("{} contains no rules: no file ends in .yml or .yaml", path.display());
        }
        found.extend(files.into_iter().map(|file| {
            let text = rules::read(&file);
            (file, text)
        }));
    }
    Ok(found)
}

/// Events on which the cost of a rule is measured.
const SAMPLE: usize = 8_192;

/// For each rule over process events, how long it takes for an ordinary exec event, in nanoseconds, beside what all rules
/// share; `-` for others.
fn costs(rules: &Rules) -> anyhow::Result<Vec<String>> {
    let mut costs = vec!["-".to_owned(); rules.iter().count()];
    let events = measure::exec_events(SAMPLE)?;
    for (rule, took) in InMemory::new(rules, Table::ProcessEvents).costs(&events)? {
        costs[rule] = format!("{:.1}", took.as_nanos() as f64 / SAMPLE as f64);
    }
    Ok(costs)
}

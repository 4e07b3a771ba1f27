//! `kerntrail rules`: lists rules, checks them, and runs their tests.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use kerntrail_common::error::chain;
use kerntrail_common::words::counted;
use kerntrail_detections::measure::{self, InMemory};
use kerntrail_detections::rules::Condition;
use kerntrail_detections::{Exceptions, Placeholders, Rule, RuleError, RuleKind, Rules, Sources, sources, testing};
use kerntrail_query_engine::output::{Format, List};
use kerntrail_schemas::Table;

use crate::cli;
use crate::config::Config;
use crate::parts;

/// Runs the subcommand.
pub async fn run(config: &Config, action: cli::Rules) -> anyhow::Result<ExitCode> {
    match action {
        cli::Rules::List { unsupported: false, form } => list(&parts::rules(config)?, form.output),
        cli::Rules::List { unsupported: true, form } => list_unsupported(&parts::rules(config)?, form.output),
        cli::Rules::Exceptions(form) => {
            list_exceptions(&parts::rules(config)?, &parts::exceptions(config)?, form.output)
        }
        cli::Rules::Check { paths } if paths.is_empty() => list(&parts::rules(config)?, Format::Table),
        cli::Rules::Check { paths } => check(&paths, parts::placeholders(config)?),
        cli::Rules::Test { paths } => test(&paths, parts::placeholders(config)?).await,
    }
}

fn list(rules: &Rules, format: Format) -> anyhow::Result<ExitCode> {
    let kind = |rule: &Rule| match &rule.kind {
        RuleKind::Single(_) => "event",
        RuleKind::Correlation(correlation) => match &correlation.condition {
            Condition::Sequence { .. } => "sequence",
            Condition::Threshold(_) => "threshold",
        },
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

fn list_unsupported(rules: &Rules, format: Format) -> anyhow::Result<ExitCode> {
    let refused: Vec<&RuleError> = rules.refused().collect();
    let list = List::default()
        .text("file", refused.iter().map(|error| error.path().display().to_string()))
        .numbers("line", refused.iter().map(|error| error.line() as i64))
        .text("rule", refused.iter().map(|error| error.title()))
        .text("reason", refused.iter().map(|error| error.reason()));
    list.write(format, &mut std::io::stdout())?;
    Ok(ExitCode::SUCCESS)
}

fn list_exceptions(rules: &Rules, exceptions: &Exceptions, format: Format) -> anyhow::Result<ExitCode> {
    let list = List::default()
        .text("rule", exceptions.iter().map(|exception| exception.rule().unwrap_or("all").to_owned()))
        .text("where", exceptions.iter().map(|exception| exception.condition().to_owned()))
        .text("until", exceptions.iter().map(|exception| exception.until().to_owned()))
        .text("state", exceptions.iter().map(|exception| exception.state(rules).as_str()))
        .text("reason", exceptions.iter().map(|exception| exception.reason().to_owned()));
    list.write(format, &mut std::io::stdout())?;
    exceptions.refused().iter().for_each(|error| eprintln!("kerntrail: not used: {}", chain(error)));
    Ok(ExitCode::SUCCESS)
}

/// Fails when a file is wrong; checks every file.
fn check(paths: &[PathBuf], placeholders: Placeholders) -> anyhow::Result<ExitCode> {
    let (sources, files) = read(paths, placeholders)?;
    let rules = sources.compile();
    let mut wrong: BTreeSet<PathBuf> = rules.refused().map(|error| error.path().to_owned()).collect();
    rules.refused().for_each(|error| eprintln!("kerntrail: {}", chain(error)));
    let mut tests = 0;
    for (path, text) in &files {
        match testing::check(path, text) {
            Ok(count) => tests += count,
            // The rules of such a file have been refused for the same reason.
            Err(_) if wrong.contains(path) => {}
            Err(error) => {
                eprintln!("kerntrail: {}", chain(&error));
                wrong.insert(path.clone());
            }
        }
    }
    let (valid, tests) = (counted(rules.iter().count(), "valid rule"), counted(tests, "test"));
    println!("{valid}, with {tests}; {}", counted(wrong.len(), "invalid file"));
    Ok(if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn test(paths: &[PathBuf], placeholders: Placeholders) -> anyhow::Result<ExitCode> {
    let (sources, files) = read(paths, placeholders)?;
    let rules = sources.compile_all()?;
    let (mut passed, mut failed) = (0, 0);
    for (path, text) in files {
        for outcome in testing::run(&rules, &path, &text).await? {
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

/// Rule files with their texts.
type Files = Vec<(PathBuf, String)>;

/// The rules that `paths` name, and their files that can be read; the shipped ones where there are no paths.
fn read(paths: &[PathBuf], placeholders: Placeholders) -> anyhow::Result<(Sources, Files)> {
    if paths.is_empty() {
        let files = sources::shipped_files().map(|(path, text)| (path.to_owned(), text.to_owned()));
        return Ok((Sources::shipped(), files.collect()));
    }
    let (mut sources, mut files) = (Sources::default().with_placeholders(placeholders), Vec::new());
    for path in paths {
        let found = sources::files(path)?;
        if found.is_empty() {
            bail!("{} contains no rules: no file ends in .yml or .yaml", path.display());
        }
        for file in found {
            match file.and_then(|file| Ok((sources::read(&file)?, file))) {
                Ok((text, file)) => {
                    sources.add(&file, &text);
                    files.push((file, text));
                }
                Err(error) => sources.refuse(error),
            }
        }
    }
    Ok((sources, files))
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

//! `kerntrail sinks`: lists sinks, and handles the records that their destinations refused.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use kerntrail_common::ids::IdSelection;
use kerntrail_query_engine::output::{Format, List};
use kerntrail_sinks::SinkConfig;
use kerntrail_sinks::dlq::{self, replay::replay};
use kerntrail_sinks::outcome::Outcome;
use kerntrail_sinks::trial::{MARK, Trial, trial};
use tokio_util::sync::CancellationToken;

use crate::cli::{Dlq, Sinks};
use crate::config::Config;
use crate::parts;

/// Runs the subcommand.
pub async fn run(config: &Config, action: Sinks) -> anyhow::Result<ExitCode> {
    config.sinks()?;
    let letters = parts::dead_letters_dir(config);
    match action {
        Sinks::List(form) => list(config, &letters, form.output),
        Sinks::Test { sink } => test(named(config, &sink)?, &config.node.name()).await,
        Sinks::Dlq(Dlq::List { sink, output }) => list_letters(config, &letters, sink.as_deref(), output.output),
        Sinks::Dlq(Dlq::Show { id }) => show(&letters, &id),
        Sinks::Dlq(Dlq::Replay { sink, ids }) => {
            check_ids(&letters, &sink, &ids)?;
            replay_letters(named(config, &sink)?, &letters, &IdSelection::all_or(ids)).await
        }
        Sinks::Dlq(Dlq::Purge { sink, ids }) => {
            check_ids(&letters, &sink, &ids)?;
            println!("{} dead letters removed", dlq::purge(&letters, &sink, &IdSelection::all_or(ids))?);
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn list(config: &Config, letters: &Path, format: Format) -> anyhow::Result<ExitCode> {
    let (mut names, mut kinds, mut counts) = (Vec::new(), Vec::new(), Vec::new());
    for sink in config.sinks()? {
        names.push(sink.name.as_str());
        kinds.push(sink.kind.name());
        counts.push(i64::try_from(dlq::ids(letters, &sink.name)?.len())?);
    }
    let list = List::default().text("name", names).text("kind", kinds).numbers("dead_letters", counts);
    list.write(format, &mut std::io::stdout())?;
    Ok(ExitCode::SUCCESS)
}

/// Fails when the destination does not take the event.
async fn test(sink: &SinkConfig, node: &str) -> anyhow::Result<ExitCode> {
    let Trial { event_id, table, outcome } = trial(sink, node).await?;
    let (name, event) = (&sink.name, format!("the event {event_id} of {table}"));
    match outcome {
        Outcome::Delivered => {
            println!("{name}: delivered {event}; its command line or message is \"{MARK}\"");
            return Ok(ExitCode::SUCCESS);
        }
        Outcome::Retry { words, .. } => {
            eprintln!("{name}: {event} was not delivered; the sink would try again: {words}")
        }
        Outcome::Pause { alert } => eprintln!("{name}: {event} was not delivered; the sink would pause: {alert}"),
        Outcome::Split { words } | Outcome::DeadLetter { words, .. } => {
            eprintln!("{name}: {event} was refused; it would be a dead letter: {words}");
        }
    }
    Ok(ExitCode::FAILURE)
}

fn list_letters(config: &Config, folder: &Path, sink: Option<&str>, format: Format) -> anyhow::Result<ExitCode> {
    let listing = dlq::list(folder, sink)?;
    if let Some(name) = sink
        && listing.letters.is_empty()
    {
        named(config, name)?;
    }
    let letters = || listing.letters.iter();
    let list = List::default()
        .text("id", letters().map(|letter| letter.id()))
        .text("sink", letters().map(|letter| letter.sink.clone()))
        .text("written", letters().map(|letter| letter.written.clone()))
        .text("table", letters().map(|letter| letter.table.clone()))
        .text("reason", letters().map(|letter| letter.words.clone()));
    list.write(format, &mut std::io::stdout())?;
    for error in &listing.unreadable {
        eprintln!("kerntrail: {error}");
    }
    Ok(ExitCode::SUCCESS)
}

fn show(folder: &Path, id: &str) -> anyhow::Result<ExitCode> {
    println!("{}", serde_json::to_string_pretty(&dlq::show(folder, id)?)?);
    Ok(ExitCode::SUCCESS)
}

/// Fails when a letter is not delivered.
async fn replay_letters(sink: &SinkConfig, folder: &Path, selection: &IdSelection) -> anyhow::Result<ExitCode> {
    let report = replay(sink, folder, selection, &CancellationToken::new()).await?;
    println!("{} delivered, {} refused again, {} not sent", report.delivered, report.refused.len(), report.not_sent);
    for (id, words) in &report.refused {
        eprintln!("{id}: {}", words.replace(char::is_control, " "));
    }
    if let Some(why) = &report.stopped {
        bail!("the destination is not accepting events: {why}");
    }
    Ok(if report.refused.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Errors: no dead letter of `sink` has an id that is, or begins with, one of `ids`.
fn check_ids(letters: &Path, sink: &str, ids: &[String]) -> anyhow::Result<()> {
    match IdSelection::Ids(ids.to_vec()).unknown(&dlq::ids(letters, sink)?) {
        Some(id) => bail!("sink {sink} has no dead letter {id:?}; `kerntrail sinks dlq list {sink}` lists them"),
        None => Ok(()),
    }
}

fn named<'a>(config: &'a Config, name: &str) -> anyhow::Result<&'a SinkConfig> {
    let found = config.sinks()?.iter().find(|sink| sink.name == name);
    found.with_context(|| format!("the configuration has no sink named {name:?}; `kerntrail sinks list` lists them"))
}

//! `kerntrail sinks`: lists sinks, and handles the records that their destinations refused.

use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context, bail};
use kerntrail_common::ids::IdSelection;
use kerntrail_query_engine::output::{Format, List};
use kerntrail_query_service::stories::timeline::Window;
use kerntrail_schemas::Table;
use kerntrail_sinks::SinkConfig;
use kerntrail_sinks::backfill::{Backfill, BackfillReport, Span};
use kerntrail_sinks::dlq::{self, replay::replay};
use kerntrail_sinks::outcome::Outcome;
use kerntrail_sinks::trial::{MARK, Trial, trial};
use tokio_util::sync::CancellationToken;

use crate::cli::{self, Dlq, Sinks};
use crate::config::Config;
use crate::parts;

/// Runs the subcommand.
pub async fn run(config: &Config, action: Sinks) -> anyhow::Result<ExitCode> {
    config.sinks()?;
    let letters = parts::dead_letters_dir(config);
    match action {
        Sinks::List(form) => list(config, &letters, form.output).await,
        Sinks::Test { sink } => test(named(config, &sink)?, &config.node.name()).await,
        Sinks::Backfill(options) => backfill(config, &letters, &options).await,
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

/// The configured sinks; what they do is known while a server runs.
async fn list(config: &Config, letters: &Path, format: Format) -> anyhow::Result<ExitCode> {
    let running = parts::sinks::ask_server(config).await?;
    let sinks = config.sinks()?;
    let status = |sink: &SinkConfig| {
        let states = running.iter().flatten();
        states.into_iter().find(|status| status.name == sink.name)
    };
    let state = |sink| status(sink).map_or("not running", |status| &status.state);
    let since = |sink| status(sink).map(|status| status.since.as_str()).unwrap_or_default();
    let reason = |sink| status(sink).and_then(|status| status.reason.as_deref()).unwrap_or_default();
    let counts: anyhow::Result<Vec<i64>> =
        sinks.iter().map(|sink| Ok(i64::try_from(dlq::ids(letters, &sink.name)?.len())?)).collect();
    let list = List::default()
        .text("name", sinks.iter().map(|sink| sink.name.as_str()))
        .text("kind", sinks.iter().map(|sink| sink.kind.name()))
        .text("state", sinks.iter().map(state))
        .text("since", sinks.iter().map(since))
        .text("reason", sinks.iter().map(reason))
        .numbers("dead_letters", counts?);
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
        Outcome::Retry { words, .. } | Outcome::Late { words } => {
            eprintln!("{name}: {event} was not delivered; the sink would try again: {words}")
        }
        Outcome::Pause { alert } => eprintln!("{name}: {event} was not delivered; the sink would pause: {alert}"),
        Outcome::Split { words } | Outcome::DeadLetter { words, .. } => {
            eprintln!("{name}: {event} was refused; it would be a dead letter: {words}");
        }
    }
    Ok(ExitCode::FAILURE)
}

/// Fails when the destination does not take all of the rows.
async fn backfill(config: &Config, letters: &Path, options: &cli::Backfill) -> anyhow::Result<ExitCode> {
    let sink = named(config, &options.sink)?;
    let window = Window::parse(Some(&options.since), options.until.as_deref(), SystemTime::now())?;
    let span = Span { since: window.since, until: window.until, is_of_ingestion: options.ingested };
    let holds_a_file = sink.kind.name() == "ndjson";
    if holds_a_file && parts::sinks::ask_server(config).await?.is_some() {
        anyhow::bail!(
            "the running kerntrail holds the files of this sink; stop it first, or send to a sink with another path"
        );
    }
    let mut backfill = Backfill::open(sink, letters, stopped())?;
    let tables = chosen(backfill.tables(), &options.tables)?;
    let lake = parts::lake(config)?;
    let mut outcome = Ok(());
    for table in tables {
        let Some(stored) = lake.existing(table).await? else { continue };
        outcome = backfill.send(table, stored.provider(), span).await;
        if outcome.is_err() {
            break;
        }
    }
    let BackfillReport { settled, failed, filtered } = backfill.report();
    println!("{settled} rows sent, {filtered} not selected by the sink, {failed} dead letters of its `where`");
    outcome.context("not all rows were sent; those that the destination refused are in `kerntrail sinks dlq`")?;
    Ok(ExitCode::SUCCESS)
}

/// Cancelled by SIGINT.
fn stopped() -> CancellationToken {
    let stop = CancellationToken::new();
    let asked = stop.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            asked.cancel();
        }
    });
    stop
}

/// Those of the sink's tables `all` that have one of the `names`; without names, all.
fn chosen(all: &[Table], names: &[String]) -> anyhow::Result<Vec<Table>> {
    let named = |name: &String| {
        let table = name.parse::<Table>()?;
        anyhow::ensure!(all.contains(&table), "the sink does not send {table}; its tables are {}", join(all));
        Ok(table)
    };
    if names.is_empty() { Ok(all.to_vec()) } else { names.iter().map(named).collect() }
}

fn join(tables: &[Table]) -> String {
    tables.iter().map(|table| table.name()).collect::<Vec<_>>().join(", ")
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

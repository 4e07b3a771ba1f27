//! `kerntrail replay`: imports files of other tools' events and returns when the rows are committed.

use std::fs::File;
use std::io::{IsTerminal, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use tokio_util::io::ReaderStream;

use crate::cli::Replay;
use crate::config::Config;
use crate::parts::import::{self, ImportSummary, Importer, Input, Line};
use crate::parts::{self, event_log, event_log::Opened};

/// Imports the files one after the other; fails when a record of any of them was rejected.
pub async fn run(config: &Config, replay: Replay) -> anyhow::Result<ExitCode> {
    let node = Some(config.node.name.clone()).filter(|name| !name.is_empty());
    let replay = Files { paths: files(&replay.files)?, quiet: replay.quiet, node };
    let opened = match event_log::open(config).await? {
        Opened::Here(opened) => opened,
        Opened::InServer(_) => return all(&replay, Route::Server(Box::new(config.clone()))).await,
    };
    let _lake = parts::lock_lake(config)?;
    let lake = Arc::new(parts::lake(config)?);
    let pipeline = Arc::new(parts::pipeline(config, &opened, Arc::clone(&lake)));
    let importer = Arc::new(Importer::new(config, opened, lake, Arc::clone(&pipeline))?);
    let stop = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn({
        let stop = stop.clone();
        async move { pipeline.run(stop).await }
    });
    let code = all(&replay, Route::Here(importer)).await;
    stop.cancel();
    running.await??;
    code
}

/// Where the import runs.
enum Route {
    Here(Arc<Importer>),
    /// In the running server with this data folder.
    Server(Box<Config>),
}

/// What to import.
struct Files {
    paths: Vec<PathBuf>,
    quiet: bool,
    /// Node of records that name none, where it is configured.
    node: Option<String>,
}

/// The files that `named` are, and those of folders in the order of their names: of a container's log, the rotated ones
/// (`0.log.20260301-100000.gz`) before the current one (`0.log`).
fn files(named: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in named {
        match path.is_dir() {
            true => folder(path, &mut files).with_context(|| format!("cannot read {}", path.display()))?,
            false => files.push(path.clone()),
        }
    }
    Ok(files)
}

fn folder(path: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let entries = std::fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path()));
    let mut entries = entries.collect::<Result<Vec<_>, _>>()?;
    // The longer name of a rotated file goes first.
    entries.sort_by_key(|path| path.as_os_str().as_encoded_bytes().iter().copied().chain([0xff]).collect::<Vec<_>>());
    for entry in entries {
        match entry.symlink_metadata()?.file_type() {
            kind if kind.is_dir() => folder(&entry, files)?,
            // Where kubelet links to what Docker keeps.
            kind if kind.is_file() || entry.is_file() => files.push(entry),
            _ => {}
        }
    }
    Ok(())
}

async fn all(replay: &Files, route: Route) -> anyhow::Result<ExitCode> {
    let mut good = true;
    for path in &replay.paths {
        match one(path, replay, &route).await {
            Ok(outcome) => {
                report(path, &outcome);
                good &= outcome.rejected == 0;
            }
            // The other files are still imported.
            Err(error) => {
                eprintln!("kerntrail: {error:#}");
                good = false;
            }
        }
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn one(path: &Path, replay: &Files, route: &Route) -> anyhow::Result<ImportSummary> {
    let from_stdin = path == Path::new("-");
    let cannot = || format!("cannot read {}", path.display());
    let bytes = if from_stdin { None } else { Some(std::fs::metadata(path).with_context(cannot)?.len()) };
    let input = Input { name: path.display().to_string(), bytes, node: replay.node.clone() };
    let bar = bar(&input, replay.quiet);
    let mut on_progress = |line: Line| show(&bar, &input.name, &line);
    let outcome = match route {
        Route::Here(importer) => {
            let reader: Box<dyn Read + Send> =
                if from_stdin { Box::new(std::io::stdin()) } else { Box::new(File::open(path).with_context(cannot)?) };
            importer.run(reader, &input, &mut on_progress).await
        }
        Route::Server(config) => {
            let body = if from_stdin {
                reqwest::Body::wrap_stream(ReaderStream::new(async_stdin()?))
            } else {
                reqwest::Body::wrap_stream(ReaderStream::with_capacity(
                    tokio::fs::File::open(path).await.with_context(cannot)?,
                    1 << 18,
                ))
            };
            import::ask_server(config, &input, body, &mut on_progress).await
        }
    };
    bar.finish_and_clear();
    outcome
}

fn bar(input: &Input, quiet: bool) -> ProgressBar {
    if quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, form) = match input.bytes {
        Some(bytes) => (ProgressBar::new(bytes), "{prefix} {bar:30} {percent}% {bytes_per_sec} {msg} {eta}"),
        None => (ProgressBar::no_length(), "{prefix} {spinner} {bytes} {bytes_per_sec} {msg}"),
    };
    if let Ok(style) = ProgressStyle::with_template(form) {
        bar.set_style(style);
    }
    bar.with_prefix(input.name.clone())
}

fn show(bar: &ProgressBar, name: &str, line: &Line) {
    match line {
        Line::Waiting => eprintln!("kerntrail: {name}: waiting for another import to end"),
        Line::Progress { bytes_read, rows, .. } => {
            bar.set_position(*bytes_read);
            bar.set_message(format!("{rows} rows"));
        }
        Line::Done(_) | Line::Failed { .. } => {}
    }
}

fn report(path: &Path, outcome: &ImportSummary) {
    let name = path.display();
    let place: u64 = outcome.without_place.iter().map(|(_, count)| count).sum();
    println!(
        "{name}: {} records: {} rows added, {} already there, {place} of kinds that no table stores, {} rejected",
        outcome.records, outcome.rows, outcome.already_there, outcome.rejected
    );
    for (function, count) in &outcome.without_place {
        println!("{name}: {function} ({count}) is not stored by any table");
    }
    for (line, reason) in &outcome.first_rejects {
        eprintln!("{name}:{line}: {reason}");
    }
    if outcome.rejected > outcome.first_rejects.len() as u64 {
        eprintln!("{name}: and {} more", outcome.rejected - outcome.first_rejects.len() as u64);
    }
    if let Some(kept) = &outcome.rejects_file {
        eprintln!("{name}: rejected records are kept in {}", kept.display());
    }
    if outcome.rejects_not_kept > 0 {
        eprintln!("{name}: {} of them are not kept: rejected records fill 1GiB", outcome.rejects_not_kept);
    }
}

/// Standard input as an asynchronous file.
fn async_stdin() -> std::io::Result<tokio::fs::File> {
    let descriptor = std::io::stdin().as_fd().try_clone_to_owned()?;
    Ok(tokio::fs::File::from_std(File::from(descriptor)))
}

//! kerntrail's command line: reads the configuration and hands over to one file per subcommand.
//!
//! Exit codes: 0 ok, 1 failed, 2 wrong usage.

#![allow(unreachable_pub, reason = "nothing of a binary can be reached from outside")]

mod cli;
mod commands;
mod config;
mod logging;
mod parts;

use std::path::PathBuf;
use std::process::ExitCode;

use cli::{Action, Cli, ConfigAction};
use config::{Config, ConfigError, Inputs, Overrides, ValueOrigin};
use kerntrail_detections::RuleError;
use kerntrail_query_engine::{ErrorKind, QueryError, Tallied};

/// mimalloc returns memory after a large result; the C library's allocator keeps it in the arenas of many threads.
#[global_allocator]
static ALLOCATOR: Tallied<mimalloc::MiMalloc> = Tallied(mimalloc::MiMalloc);

const DEFAULT_CONFIG: &str = "/etc/kerntrail/kerntrail.toml";

fn main() -> ExitCode {
    // One cryptography provider for every TLS client of the process; only the first call has an effect.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (cli, overrides) = cli::parse();
    match start(cli, overrides) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("kerntrail: {}", describe(&error));
            ExitCode::from(if error.is::<ConfigError>() || error.is::<RuleError>() { 2 } else { 1 })
        }
    }
}

/// The chain of causes; for a query, the message for the client, unless this process or its files are at fault.
fn describe(error: &anyhow::Error) -> String {
    match error.chain().find_map(|cause| cause.downcast_ref::<QueryError>()) {
        Some(query) if query.kind() == ErrorKind::Internal => {
            let root = error.root_cause();
            format!("the query failed: {root}")
        }
        Some(query) => query.message().to_owned(),
        None => format!("{error:#}"),
    }
}

fn start(cli: Cli, overrides: Overrides) -> anyhow::Result<ExitCode> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    if let Some((name, right)) = cli::misspelled_variables(names).into_iter().next() {
        let reason = format!("there is no such setting; did you mean `{right}`?");
        return Err(ConfigError::Value { origin: ValueOrigin::Variable(name), reason }.into());
    }
    let serves = matches!(cli.action, Action::Run);
    if !serves && !uses_sockets(&cli.action) {
        end_quietly_on_closed_pipe();
    }
    if let Action::Config(ConfigAction::Schema) = cli.action {
        return commands::config::print_schema();
    }
    if let Action::Serve = cli.action {
        return commands::serve::run();
    }
    parts::access::restrict();
    let inputs = Inputs { file: config_file(cli.config), overrides };
    let config = inputs.load()?;
    if let Action::Config(ConfigAction::Show) = cli.action {
        return commands::config::show(&config);
    }
    logging::start(&config.logging, serves)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let code = runtime.block_on(dispatch(cli.action, config, inputs))?;
    // Background tasks are not awaited: everything that matters has been drained.
    runtime.shutdown_background();
    Ok(code)
}

/// Whether the command talks to a server, which may close the connection: writing to that raises SIGPIPE, too.
fn uses_sockets(action: &Action) -> bool {
    matches!(
        action,
        Action::Replay(_)
            | Action::Log(cli::LogAction::Rejected(cli::Rejected::Replay { .. }))
            | Action::Sinks(cli::Sinks::Dlq(cli::Dlq::Replay { .. }))
    )
}

/// `kerntrail tree | head` ends when head does.
fn end_quietly_on_closed_pipe() {
    // SAFETY: no other thread runs yet, and the default action replaces an ignored signal.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

fn config_file(given: Option<PathBuf>) -> Option<PathBuf> {
    given.or_else(|| Some(PathBuf::from(DEFAULT_CONFIG)).filter(|path| path.exists()))
}

async fn dispatch(action: Action, config: Config, inputs: Inputs) -> anyhow::Result<ExitCode> {
    match action {
        Action::Run => commands::run::run(config, inputs).await,
        Action::Query(query) => commands::query::run(&config, query).await,
        Action::Tree(story) => commands::story::tree(&config, story).await,
        Action::Timeline(story) => commands::story::timeline(&config, story).await,
        Action::Replay(replay) => commands::replay::run(&config, replay).await,
        Action::Rules(rules) => commands::rules::run(&config, rules).await,
        Action::Sinks(sinks) => commands::sinks::run(&config, sinks).await,
        Action::Log(log) => commands::log::run(&config, log).await,
        Action::Lake(lake) => commands::lake::run(&config, lake).await,
        // It has no configuration of its own, and was done before one was read.
        Action::Serve => anyhow::bail!("this command answers before a configuration is read"),
        Action::Config(_) => commands::config::check(&config, inputs.file.as_deref()),
    }
}

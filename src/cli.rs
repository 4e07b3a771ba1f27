//! The command line: subcommands here, and a flag for every setting of the configuration.

use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand};
use kerntrail_common::suggest::typo_of;
use kerntrail_pipeline::import::FORMATS;
use kerntrail_query_engine::output::Format;
use kerntrail_query_service::stories::timeline::StoryFormat;

use crate::config::{Overrides, SETTINGS, ValueOrigin, sink_keys};

/// Collect, store and query the security history of Kubernetes nodes.
#[derive(Debug, Parser)]
#[command(name = "kerntrail", version, arg_required_else_help = true)]
pub struct Cli {
    /// Configuration file (TOML). Default: /etc/kerntrail/kerntrail.toml, where it exists.
    #[arg(long, short = 'c', global = true, env = "KERNTRAIL_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Set a key of a sink of the configuration file; may be repeated.
    #[arg(long = "sink", global = true, value_name = "NAME.KEY=VALUE")]
    pub sink_keys: Vec<String>,
    #[command(subcommand)]
    pub action: Action,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Run everything on this machine: collector, event log, pipeline, lake, rules, sinks, query service.
    Run,
    /// Answer the queries of the `run` that started this process.
    #[command(hide = true)]
    Serve,
    /// Query the history with SQL.
    Query(Query),
    /// Show processes as a tree.
    Tree(Story),
    /// Show what happened to a pod, container or process, or around a finding.
    // A tree may show everything; a timeline needs a subject.
    #[command(mut_group("Subject", |subject| subject.required(true)))]
    Timeline(Story),
    #[command(about = replay_about())]
    Replay(Replay),
    /// Detection rules.
    #[command(subcommand)]
    Rules(Rules),
    /// Sinks and their dead letters.
    #[command(subcommand)]
    Sinks(Sinks),
    /// The event log.
    #[command(subcommand)]
    Log(LogAction),
    /// The lake's tables and files.
    #[command(subcommand)]
    Lake(LakeAction),
    /// The configuration.
    #[command(subcommand)]
    Config(ConfigAction),
}

/// `kerntrail query`
#[derive(Debug, Args)]
pub struct Query {
    /// The query, such as "select time, cmd_line from process_events limit 5"; - reads it from standard input.
    pub sql: String,
    #[command(flatten)]
    pub output: Output,
}

/// Output format.
#[derive(Debug, Args)]
pub struct Output {
    /// table (long values in query results are truncated), json, ndjson, csv, markdown or arrow.
    #[arg(long, short = 'o', default_value = "table", value_name = "FORMAT")]
    pub output: Format,
}

/// `kerntrail tree` and `kerntrail timeline`
#[derive(Debug, Args)]
pub struct Story {
    #[command(flatten)]
    pub subject: Subject,
    /// Start: a time such as 2026-01-31T12:00:00Z, or 15m, 2h or 1d for that long ago.
    #[arg(long, value_name = "WHEN")]
    pub since: Option<String>,
    /// End, written like --since.
    #[arg(long, value_name = "WHEN")]
    pub until: Option<String>,
    /// text, json or markdown.
    #[arg(long, short = 'o', default_value = "text", value_name = "FORMAT")]
    pub output: StoryFormat,
}

/// Subject of a tree or timeline.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub struct Subject {
    /// A pod: name, or namespace/name.
    #[arg(long, value_name = "[NAMESPACE/]NAME")]
    pub pod: Option<String>,
    /// A container id, or its first characters.
    #[arg(long, value_name = "ID")]
    pub container: Option<String>,
    /// A process uid, or a pid.
    #[arg(long, value_name = "UID|PID")]
    pub process: Option<String>,
    /// A finding id.
    #[arg(long, value_name = "ID")]
    pub finding: Option<String>,
}

/// What `replay` reads, from the list of formats.
fn replay_about() -> String {
    let formats: Vec<&str> = FORMATS.iter().map(|format| format.description()).collect();
    format!("Import exported events and return when their rows are committed. Formats: {}.", formats.join("; "))
}

/// `kerntrail replay`
#[derive(Debug, Args)]
pub struct Replay {
    /// Files of exported events, or folders of them (such as /var/log/pods): JSON objects, one per line or otherwise, also inside of the
    /// lines of container logs, gzip or zstd; - is standard input.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Show no progress.
    #[arg(long, short = 'q')]
    pub quiet: bool,
}

/// `kerntrail rules`
#[derive(Debug, Subcommand)]
pub enum Rules {
    /// List the rules that `run` uses.
    List {
        /// Those of `rules.dir` that cannot be used instead, each with file, line and reason.
        #[arg(long)]
        unsupported: bool,
        #[command(flatten)]
        form: Output,
    },
    /// List the exceptions of `rules.exceptions`, each with its end and reason.
    Exceptions(Output),
    /// Check the rules in files or folders; by default, those that `run` uses.
    Check {
        /// Files or folders of Sigma rules.
        paths: Vec<PathBuf>,
    },
    /// Run the tests in rule files.
    Test {
        /// Files or folders of Sigma rules. Default: the shipped rules.
        paths: Vec<PathBuf>,
    },
}

/// `kerntrail sinks`
#[derive(Debug, Subcommand)]
pub enum Sinks {
    /// List the configured sinks, and what they do in the running server.
    List(Output),
    /// Send one marked event to a sink's destination, and say what came back.
    Test {
        /// The sink.
        sink: String,
    },
    /// Send rows that the lake has to one sink: those that it did not get, or those from before it was configured.
    Backfill(Backfill),
    /// Records that a destination refused.
    #[command(subcommand)]
    Dlq(Dlq),
}

/// `kerntrail sinks backfill`
#[derive(Debug, Args)]
pub struct Backfill {
    /// The sink; its `where` selects among the rows.
    pub sink: String,
    /// Start: a time such as 2026-01-31T12:00:00Z, or 15m, 2h or 1d for that long ago.
    #[arg(long, value_name = "WHEN")]
    pub since: String,
    /// End, written like --since; now, where it is not given.
    #[arg(long, value_name = "WHEN")]
    pub until: Option<String>,
    /// The times are those at which the rows were stored (`ingest_time`), and not those of the events: for rows of
    /// `event_loss` with the activity `not_forwarded`, whose times are of that kind.
    #[arg(long)]
    pub ingested: bool,
    /// Only rows of this table; may be given several times.
    #[arg(long = "table", value_name = "TABLE")]
    pub tables: Vec<String>,
}

/// `kerntrail sinks dlq`
#[derive(Debug, Subcommand)]
pub enum Dlq {
    /// List dead letters.
    List {
        /// Only those of this sink.
        sink: Option<String>,
        #[command(flatten)]
        output: Output,
    },
    /// Show a dead letter.
    Show {
        /// Its id, or its first characters.
        id: String,
    },
    /// Send dead letters again; delivered ones are removed.
    Replay {
        /// The sink.
        sink: String,
        /// Only those whose ids start with one of these.
        ids: Vec<String>,
    },
    /// Remove dead letters without sending them.
    Purge {
        /// The sink.
        sink: String,
        /// Only those whose ids start with one of these.
        ids: Vec<String>,
    },
}

/// `kerntrail log`
#[derive(Debug, Subcommand)]
pub enum LogAction {
    /// Messages that could not be read and were set aside.
    #[command(subcommand)]
    Rejected(Rejected),
}

/// `kerntrail log rejected`
#[derive(Debug, Subcommand)]
pub enum Rejected {
    /// List rejected messages.
    List(Output),
    /// Show one rejected message: headers, reason, first bytes.
    Show {
        /// Its id, or its first characters.
        id: String,
    },
    /// Decode rejected messages again; those that can be read now are appended to the event log and removed.
    Replay {
        /// Only messages whose ids start with one of these.
        ids: Vec<String>,
    },
}

/// `kerntrail lake`
#[derive(Debug, Subcommand)]
pub enum LakeAction {
    /// List tables with their version, files and rows.
    Info(Output),
    /// List the data files of a table's current snapshot, one per line.
    Files {
        /// The table.
        table: String,
    },
}

/// `kerntrail config`
#[derive(Debug, Subcommand)]
pub enum ConfigAction {
    /// Check the configuration, and the rules and sinks in it.
    Check,
    /// Show every setting with its current value and meaning.
    Show,
    /// Print the JSON Schema of the configuration file.
    Schema,
}

/// Parses the program's arguments; the values of settings, weakest first.
pub fn parse() -> (Cli, Overrides) {
    let matches = with_settings(Cli::command()).get_matches();
    let overrides = overrides(&matches);
    match Cli::from_arg_matches(&matches) {
        Ok(cli) => (cli, overrides),
        Err(error) => error.exit(),
    }
}

/// Adds every setting as a global flag and variable; `-h` shows the one that every command needs, `--help` all.
fn with_settings(command: Command) -> Command {
    SETTINGS.iter().fold(command, |command, setting| {
        let default = match setting.default_text() {
            text if text.is_empty() => text,
            text => format!(" [default: {text}]"),
        };
        let help = format!("{}{default}", setting.doc);
        command.arg(
            Arg::new(setting.path.as_str())
                .long(setting.flag())
                .env(setting.variable())
                .value_name("VALUE")
                .global(true)
                .hide_short_help(setting.path != "data_dir")
                .hide_env_values(true)
                .help_heading("Settings")
                .help(help),
        )
    })
}

fn overrides(matches: &ArgMatches) -> Overrides {
    let mut from_variables = Vec::new();
    let mut from_flags = Vec::new();
    for setting in SETTINGS.iter() {
        let Some(value) = matches.get_one::<String>(&setting.path) else { continue };
        match matches.value_source(&setting.path) {
            Some(ValueSource::CommandLine) => {
                from_flags.push((ValueOrigin::Flag(setting.flag()), setting, value.clone()))
            }
            _ => from_variables.push((ValueOrigin::Variable(setting.variable()), setting, value.clone())),
        }
    }
    from_variables.extend(from_flags);
    let sinks = matches.get_many::<String>("sink_keys").into_iter().flatten();
    let flags = sinks.map(|assignment| (ValueOrigin::Flag("sink".into()), assignment.clone()));
    Overrides { values: from_variables, sinks: sink_variables().into_iter().chain(flags).collect() }
}

/// `KERNTRAIL_SINK_<NAME>__<KEY>` as `name.key=value`.
fn sink_variables() -> Vec<(ValueOrigin, String)> {
    let mut found: Vec<(ValueOrigin, String)> = std::env::vars_os()
        .filter_map(|(variable, value)| {
            let (variable, value) = (variable.into_string().ok()?, value.into_string().ok()?);
            let (name, key) = variable.strip_prefix("KERNTRAIL_SINK_")?.split_once("__")?;
            let assignment = format!("{}.{}={value}", name.to_lowercase(), key.to_lowercase());
            Some((ValueOrigin::Variable(variable), assignment))
        })
        .collect();
    found.sort_by(|a, b| a.1.cmp(&b.1));
    found
}

fn is_sink_variable(name: &str) -> bool {
    name.strip_prefix("KERNTRAIL_SINK_").is_some_and(|rest| rest.contains("__"))
}

/// Variables that look like a misspelled setting, each with the correct name.
///
/// Others with this prefix are not kerntrail's: Kubernetes sets `KERNTRAIL_PORT` for a service of that name.
pub fn misspelled_variables(names: impl Iterator<Item = String>) -> Vec<(String, String)> {
    let mut known: Vec<String> = SETTINGS.iter().map(|setting| setting.variable()).collect();
    known.push("KERNTRAIL_CONFIG".to_owned());
    let strange = names.filter(|name| {
        name.starts_with("KERNTRAIL_") && !is_sink_variable(name) && !is_of_kubernetes(name) && !known.contains(name)
    });
    let misspelled = strange.filter_map(|name| {
        let right = misspelled_sink(&name).or_else(|| {
            let allowed = (name.len() / 8).max(2);
            typo_of(&name, known.iter().map(String::as_str), allowed).map(str::to_owned)
        });
        Some((name, right?))
    });
    misspelled.collect()
}

/// Whether Kubernetes sets a variable of this name in pods, for a service such as `kerntrail-sink`.
fn is_of_kubernetes(name: &str) -> bool {
    name.ends_with("_SERVICE_HOST")
}

/// The right form of a variable such as `KERNTRAIL_SINK_SOC_TOKEN` or `KERNTRAIL_SINKS_SOC__TOKEN`, which ends with a key
/// of sinks.
fn misspelled_sink(name: &str) -> Option<String> {
    let rest = name.strip_prefix("KERNTRAIL_SINK")?;
    let rest = rest.strip_prefix('S').unwrap_or(rest).strip_prefix('_')?;
    let keys = sink_keys().into_iter().flat_map(|table| table.keys).map(|key| key.path.to_uppercase());
    let key = keys.filter(|key| rest.ends_with(&format!("_{key}"))).max_by_key(String::len)?;
    let sink = rest.strip_suffix(&key)?.trim_end_matches('_');
    (!sink.is_empty()).then(|| format!("KERNTRAIL_SINK_{sink}__{key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        let mut command = with_settings(Cli::command());
        command.build();
        command.clone().debug_assert();
        let query = command.find_subcommand_mut("query").unwrap().render_help().to_string();
        for format in Format::ALL {
            assert!(query.contains(format.as_str()), "{format}: {query}");
        }
    }

    #[test]
    fn a_timeline_needs_a_subject_and_a_tree_does_not() {
        let parse = |line: &[&str]| {
            with_settings(Cli::command()).try_get_matches_from(line).err().map(|error| error.exit_code())
        };
        assert_eq!(parse(&["kerntrail", "timeline"]), Some(2));
        assert_eq!(parse(&["kerntrail", "timeline", "--pod", "a", "--process", "1"]), Some(2));
        assert_eq!(parse(&["kerntrail", "timeline", "--pod", "a"]), None);
        assert_eq!(parse(&["kerntrail", "tree"]), None);
    }

    #[test]
    fn a_misspelled_variable_is_distinguished_from_a_foreign_one() {
        for (name, right) in [
            ("KERNTRAIL_DATADIR", Some("KERNTRAIL_DATA_DIR")),
            ("KERNTRAIL_HTTP_LISTNE", Some("KERNTRAIL_HTTP_LISTEN")),
            ("KERNTRAIL_CONFG", Some("KERNTRAIL_CONFIG")),
            ("KERNTRAIL_DATA_DIR", None),
            ("KERNTRAIL_LAKE_COMPACTION_INTERVAL", Some("KERNTRAIL_LAKE_COMPACT_INTERVAL")),
            ("KERNTRAIL_SINK_SOC__TOKEN", None),
            ("KERNTRAIL_SINK_SOC_TOKEN", Some("KERNTRAIL_SINK_SOC__TOKEN")),
            ("KERNTRAIL_SINK_SOC_CA_FILE", Some("KERNTRAIL_SINK_SOC__CA_FILE")),
            ("KERNTRAIL_SINKS_SOC__TOKEN", Some("KERNTRAIL_SINK_SOC__TOKEN")),
            ("KERNTRAIL_SINK_SERVICE_HOST", None),
            ("KERNTRAIL_SINK_PORT_8088_TCP", None),
            ("KERNTRAIL_PORT", None),
            ("KERNTRAIL_SERVICE_HOST", None),
            ("KERNTRAIL_PORT_7474_TCP_ADDR", None),
            ("HOME", None),
        ] {
            let found = misspelled_variables(std::iter::once(name.to_owned()));
            assert_eq!(found.first().map(|(_, right)| right.as_str()), right, "{name}");
        }
    }

    #[test]
    fn a_setting_is_a_flag_of_every_command() {
        let matches = with_settings(Cli::command())
            .try_get_matches_from(["kerntrail", "query", "select 1", "--data-dir", "/x", "--node-pid=7"])
            .unwrap();
        let overrides = overrides(&matches);
        let given: Vec<(String, &str)> =
            overrides.values.iter().map(|(origin, setting, _)| (origin.to_string(), setting.path.as_str())).collect();
        assert!(given.contains(&("flag --data-dir".into(), "data_dir")), "{given:?}");
        assert!(given.contains(&("flag --node-pid".into(), "node.pid")), "{given:?}");
    }
}

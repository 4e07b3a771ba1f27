//! File, environment and flags into one [`Config`]; a user's mistake is reported with its place and the fix.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kerntrail_common::settings;
use kerntrail_common::suggest::did_you_mean;
use kerntrail_sinks::SinkConfig;
use serde_json::{Map, Value};
use toml::de::DeTable;

use super::Config;
use super::schema::{SETTINGS, Setting, toml_value};
use super::sources::{Sources, line_of};

/// Values from outside the file, weakest first.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// Settings.
    pub values: Vec<(ValueOrigin, &'static Setting, String)>,
    /// `NAME.KEY=VALUE` of a sink.
    pub sinks: Vec<(ValueOrigin, String)>,
}

/// Where a value was written.
#[derive(Clone, Debug)]
pub enum ValueOrigin {
    /// Environment variable.
    Variable(String),
    /// Flag, without its dashes.
    Flag(String),
}

impl fmt::Display for ValueOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ValueOrigin::Variable(name) => write!(f, "environment variable {name}"),
            ValueOrigin::Flag(name) => write!(f, "flag --{name}"),
        }
    }
}

/// Why the configuration cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// A line of the file is wrong.
    #[error("{}:{line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong and how to fix it.
        reason: String,
    },
    /// A value from outside the file is wrong.
    #[error("{origin}: {reason}")]
    Value {
        /// Where it was written.
        origin: ValueOrigin,
        /// What is wrong and how to fix it.
        reason: String,
    },
    /// A value without a place is invalid: a default, or a missing key.
    #[error("{reason}")]
    Unwritten {
        /// What is wrong and how to fix it.
        reason: String,
    },
}

/// Reads `file` (where there is one), lays `overrides` over it, and checks each value. What is wrong with a sink is for
/// [`Config::sinks`] to report.
///
/// The users of a value check what it refers to (folders, servers).
pub fn load(file: Option<&Path>, overrides: &Overrides) -> Result<Config, ConfigError> {
    let (mut table, mut sources) = match file {
        Some(path) => read_file(path)?,
        None => (toml::Table::new(), Sources::default()),
    };
    for (origin, setting, text) in &overrides.values {
        insert(&mut table, &setting.path, setting.value(text));
        sources.overridden(setting.path.clone(), origin.clone());
    }
    for (origin, assignment) in &overrides.sinks {
        let path = set_sink_key(&mut table, assignment);
        let path = path.map_err(|reason| ConfigError::Value { origin: origin.clone(), reason })?;
        sources.overridden(path, origin.clone());
    }
    let (sinks, sink_error) = match read_sinks(table.remove("sinks"), &sources) {
        Ok(sinks) => (sinks, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    check_keys("", &table, &sources)?;
    let config: Config =
        settings::read(json(table)?).map_err(|wrong| sources.error_at(&wrong.path, plain(&wrong.to_string())))?;
    Ok(Config { sinks, sink_error, sources, ..config })
}

fn read_file(path: &Path) -> Result<(toml::Table, Sources), ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.into(), source: Arc::new(source) })?;
    let wrong = |error: toml::de::Error| {
        let line = line_of(&text, error.span().map_or(0, |span| span.start));
        ConfigError::Line { path: path.into(), line, reason: error.message().to_owned() }
    };
    let document = DeTable::parse(&text).map_err(wrong)?;
    let table = toml::from_str(&text).map_err(wrong)?;
    Ok((table, Sources::of_file(path, &text, document.get_ref())))
}

/// Every key must be a setting or lead to one.
fn check_keys(prefix: &str, table: &toml::Table, sources: &Sources) -> Result<(), ConfigError> {
    for (key, value) in table {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        if SETTINGS.iter().any(|setting| setting.path == path) {
            continue;
        }
        let inside = format!("{path}.");
        let leads = SETTINGS.iter().any(|setting| setting.path.starts_with(&inside));
        match value {
            toml::Value::Table(table) if leads => check_keys(&path, table, sources)?,
            _ if leads => {
                let reason = format!("`{path}` is a table: write `[{path}]` and its keys below");
                return Err(sources.error_at(&path, reason));
            }
            _ => return Err(sources.error_at(&path, unknown(&path))),
        }
    }
    Ok(())
}

fn unknown(path: &str) -> String {
    let names = SETTINGS.iter().map(|setting| setting.path.as_str());
    // A key without a dot may be a misspelled table.
    let tables = names.clone().filter_map(|name| name.split_once('.').map(|(table, _)| table));
    match did_you_mean(path, names.chain(tables).chain(["sinks"])) {
        hint if hint.is_empty() => format!("unknown key `{path}`; `kerntrail config show` lists all keys"),
        hint => format!("unknown key `{path}`{hint}"),
    }
}

fn read_sinks(sinks: Option<toml::Value>, sources: &Sources) -> Result<Vec<SinkConfig>, ConfigError> {
    let tables = match sinks {
        None => Vec::new(),
        Some(toml::Value::Array(tables)) => tables,
        Some(_) => {
            return Err(sources.error_at("sinks", "`sinks` are tables: write `[[sinks]]` above the keys of each"));
        }
    };
    let read = |(index, sink)| match sink {
        toml::Value::Table(table) => {
            SinkConfig::read(json(table)?).map_err(|error| sources.error_in_sink(Some(index), error))
        }
        _ => Err(sources.error_at("sinks", "a sink is a table: write `[[sinks]]` above its keys")),
    };
    tables.into_iter().enumerate().map(read).collect()
}

/// `table` as JSON: a date becomes a table that no setting takes.
fn json(table: toml::Table) -> Result<Map<String, Value>, ConfigError> {
    serde_json::to_value(table)
        .and_then(serde_json::from_value)
        .map_err(|error| ConfigError::Unwritten { reason: format!("the configuration cannot be read: {error}") })
}

/// serde's message for users: numbers without their Rust type, and after an unknown name the most similar known one.
pub(super) fn plain(message: &str) -> String {
    let plain = ["usize", "u64", "u32", "i64", "i32"].iter().fold(message.to_owned(), |message, number| {
        message
            .replace(&format!("expected a nonzero {number}"), "expected a whole number of 1 or more")
            .replace(&format!("expected {number}"), "expected a whole number")
    });
    match message.split_once("unknown variant ") {
        Some((_, variants)) if variants.contains("expected") => {
            let mut names = variants.split('`').skip(1).step_by(2);
            let wrong = names.next().unwrap_or_default();
            plain + &did_you_mean(wrong, names)
        }
        _ => plain,
    }
}

fn insert(table: &mut toml::Table, path: &str, value: toml::Value) {
    match path.split_once('.') {
        None => {
            table.insert(path.to_owned(), value);
        }
        Some((first, rest)) => {
            let inner = table.entry(first).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            if let toml::Value::Table(inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}

/// Lays `NAME.KEY=VALUE` over the sink NAME of the file; returns the value's path.
fn set_sink_key(table: &mut toml::Table, assignment: &str) -> Result<String, String> {
    let wrong = || format!("{assignment:?} is not NAME.KEY=VALUE");
    let (target, text) = assignment.split_once('=').ok_or_else(wrong)?;
    let (name, key) = target.split_once('.').ok_or_else(wrong)?;
    let value = toml_value(text).unwrap_or_else(|| toml::Value::String(text.to_owned()));
    let sinks = table.get_mut("sinks").and_then(toml::Value::as_array_mut);
    let sink = sinks.into_iter().flatten().filter_map(toml::Value::as_table_mut).find_map(|sink| {
        let have = sink.get("name").and_then(toml::Value::as_str)?.to_owned();
        // A variable's name has no `-`.
        (have == name || have.replace('-', "_") == name).then_some((have, sink))
    });
    match sink {
        Some((name, sink)) => {
            insert(sink, key, value);
            Ok(format!("sinks.{name}.{key}"))
        }
        None => Err(format!("the configuration file has no sink named `{name}`")),
    }
}

#[cfg(test)]
mod tests;

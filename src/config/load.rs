//! File, environment and flags into one [`Config`]; what a user did wrong is told with place and fix.

use std::fmt;
use std::path::{Path, PathBuf};

use kerntrail_common::suggest::did_you_mean;
use serde::Deserialize;
use toml::de::{DeTable, DeValue};

use super::keys::{SETTINGS, Setting, default_of};
use super::sources::{Sources, line_of};
use super::{Config, check};

/// Values from outside the file, weakest first.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// Settings.
    pub values: Vec<(Origin, Setting, String)>,
    /// `NAME.KEY=VALUE` of a sink.
    pub sinks: Vec<(Origin, String)>,
}

/// Where a value was written.
#[derive(Clone, Debug)]
pub enum Origin {
    /// Environment variable.
    Variable(String),
    /// Flag, without its dashes.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Variable(name) => write!(f, "environment variable {name}"),
            Origin::Flag(name) => write!(f, "flag --{name}"),
        }
    }
}

/// What is wrong with the configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A line of the file is wrong.
    #[error("{}:{line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong and how to mend it.
        reason: String,
    },
    /// A value from outside the file is wrong.
    #[error("{origin}: {reason}")]
    Value {
        /// Where it was written.
        origin: Origin,
        /// What is wrong and how to mend it.
        reason: String,
    },
    /// A value that nobody wrote is wrong: a default, or a key that is missing.
    #[error("{reason}")]
    Unwritten {
        /// What is wrong and how to mend it.
        reason: String,
    },
}

/// Reads `file` (where there is one), lays `overrides` over it, and checks each value.
pub fn load(file: Option<&Path>, overrides: &Overrides) -> Result<Config, ConfigError> {
    let (mut table, mut sources) = match file {
        Some(path) => read_file(path)?,
        None => (toml::Table::new(), Sources::default()),
    };
    for (origin, setting, text) in &overrides.values {
        let value = typed(setting.path, text);
        insert(&mut table, setting.path, value);
        check_override(&table, origin)?;
        sources.overridden(setting.path.to_owned(), origin.clone());
    }
    for (origin, assignment) in &overrides.sinks {
        let path = set_sink_key(&mut table, assignment);
        let path = path.map_err(|reason| ConfigError::Value { origin: origin.clone(), reason })?;
        check_override(&table, origin)?;
        sources.overridden(path, origin.clone());
    }
    let config = Config::deserialize(toml::Value::Table(table));
    let config = config.map_err(|error| ConfigError::Unwritten { reason: told(error.message()) })?;
    let config = Config { sources, ..config };
    check::check(&config)?;
    Ok(config)
}

fn read_file(path: &Path) -> Result<(toml::Table, Sources), ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
    let wrong = |(start, reason)| ConfigError::Line { path: path.into(), line: line_of(&text, start), reason };
    let document = DeTable::parse(&text).map_err(|error| wrong(placed(&error)))?;
    let table = parse_file(&text, document.get_ref()).map_err(wrong)?;
    Ok((table, Sources::of_file(path, &text, document.get_ref())))
}

/// The text of a file as a table, or the byte and the reason of the first error.
fn parse_file(text: &str, document: &DeTable<'_>) -> Result<toml::Table, (usize, String)> {
    check_keys("", document)?;
    toml::from_str::<Config>(text).map_err(|error| placed(&error))?;
    toml::from_str(text).map_err(|error| placed(&error))
}

/// Byte and reason of an error.
fn placed(error: &toml::de::Error) -> (usize, String) {
    (error.span().map_or(0, |span| span.start), told(error.message()))
}

/// Every key must be a setting or lead to one.
fn check_keys(prefix: &str, table: &DeTable<'_>) -> Result<(), (usize, String)> {
    for (key, value) in table {
        let path = if prefix.is_empty() { key.get_ref().to_string() } else { format!("{prefix}.{}", key.get_ref()) };
        if path == "sinks" || SETTINGS.iter().any(|setting| setting.path == path) {
            continue;
        }
        let inside = format!("{path}.");
        let leads = SETTINGS.iter().any(|setting| setting.path.starts_with(&inside));
        match value.get_ref() {
            DeValue::Table(table) if leads => check_keys(&path, table)?,
            _ if leads => {
                return Err((key.span().start, format!("`{path}` is a table: write `[{path}]` and its keys below")));
            }
            _ => return Err((key.span().start, unknown(&path))),
        }
    }
    Ok(())
}

fn unknown(path: &str) -> String {
    let names = SETTINGS.iter().map(|setting| setting.path);
    // A key without a dot may be a misspelt table.
    let tables = names.clone().filter_map(|name| name.split_once('.').map(|(table, _)| table));
    match did_you_mean(path, names.chain(tables).chain(["sinks"])) {
        hint if hint.is_empty() => format!("unknown key `{path}`; `kerntrail config show` lists all keys"),
        hint => format!("unknown key `{path}`{hint}"),
    }
}

/// serde's message for who wrote the value: numbers without their Rust type, and behind an unknown name the nearest
/// right one.
fn told(message: &str) -> String {
    let plain = ["usize", "u64", "u32", "i64", "i32"].iter().fold(message.to_owned(), |message, number| {
        message.replace(&format!("expected {number}"), "expected a whole number")
    });
    let mut names = message.split('`').skip(1).step_by(2);
    match (message.starts_with("unknown "), names.next()) {
        (true, Some(wrong)) => plain + &did_you_mean(wrong, names),
        _ => plain,
    }
}

/// Text as the type that the setting's default has.
fn typed(path: &str, text: &str) -> toml::Value {
    let parsed = || {
        text.parse::<toml::Value>()
            .ok()
            .or_else(|| toml::from_str::<toml::Table>(&format!("v={text}")).ok()?.remove("v"))
    };
    match default_of(path) {
        Some(toml::Value::String(_)) | None => toml::Value::String(text.to_owned()),
        Some(_) => parsed().unwrap_or_else(|| toml::Value::String(text.to_owned())),
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

fn check_override(table: &toml::Table, origin: &Origin) -> Result<(), ConfigError> {
    let checked = Config::deserialize(toml::Value::Table(table.clone()));
    checked.map(drop).map_err(|error| ConfigError::Value { origin: origin.clone(), reason: told(error.message()) })
}

/// Lays `NAME.KEY=VALUE` over the sink NAME of the file; the value's path.
fn set_sink_key(table: &mut toml::Table, assignment: &str) -> Result<String, String> {
    let wrong = || format!("{assignment:?} is not NAME.KEY=VALUE");
    let (target, text) = assignment.split_once('=').ok_or_else(wrong)?;
    let (name, key) = target.split_once('.').ok_or_else(wrong)?;
    let value = toml::from_str::<toml::Table>(&format!("v={text}")).ok().and_then(|mut table| table.remove("v"));
    let value = value.unwrap_or_else(|| toml::Value::String(text.to_owned()));
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

//! File, environment and flags into one [`Config`]; what a user did wrong is told with place and fix.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::de::{DeTable, DeValue};

use super::Config;
use super::keys::{SETTINGS, Setting, default_of};

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
}

/// Reads `file` (where there is one) and lays `overrides` over it.
pub fn load(file: Option<&Path>, overrides: &Overrides) -> Result<Config, ConfigError> {
    let mut table = match file {
        Some(path) => read_file(path)?,
        None => toml::Table::new(),
    };
    for (origin, setting, text) in &overrides.values {
        let value = typed(setting.path, text);
        insert(&mut table, setting.path, value);
        check_override(&table, origin)?;
    }
    for (origin, assignment) in &overrides.sinks {
        set_sink_key(&mut table, assignment).map_err(|reason| ConfigError::Value { origin: origin.clone(), reason })?;
        check_override(&table, origin)?;
    }
    Config::deserialize(toml::Value::Table(table)).map_err(|error| ConfigError::Value {
        origin: Origin::Flag("config".into()),
        reason: error.message().to_owned(),
    })
}

fn read_file(path: &Path) -> Result<toml::Table, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
    parse_file(&text).map_err(|(start, reason)| ConfigError::Line {
        path: path.into(),
        line: text[..start.min(text.len())].matches('\n').count() + 1,
        reason,
    })
}

/// The text of a file as a table, or the byte and the reason of the first error.
fn parse_file(text: &str) -> Result<toml::Table, (usize, String)> {
    let place = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
    let document = DeTable::parse(text).map_err(|error| (place(&error), error.message().to_owned()))?;
    check_keys("", document.get_ref())?;
    toml::from_str::<Config>(text).map_err(|error| (place(&error), with_nearest(error.message())))?;
    toml::from_str(text).map_err(|error| (place(&error), error.message().to_owned()))
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
    let known: Vec<&str> = names.filter(|name| path.contains('.') || !name.contains('.')).chain(tables).collect();
    match nearest(path, known.into_iter().chain(["sinks"])) {
        Some(right) => format!("unknown key `{path}`; did you mean `{right}`?"),
        None => format!("unknown key `{path}`; `kerntrail config show` lists all keys"),
    }
}

/// The candidate most like `name`, if one is alike at all.
fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// serde's own "unknown field `a`, expected one of `b`, `c`" with the nearest right name behind it.
fn with_nearest(message: &str) -> String {
    let mut names = message.split('`').skip(1).step_by(2);
    match (message.starts_with("unknown "), names.next()) {
        (true, Some(wrong)) => match nearest(wrong, names) {
            Some(right) => format!("{message}; did you mean `{right}`?"),
            None => message.to_owned(),
        },
        _ => message.to_owned(),
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
    checked
        .map(drop)
        .map_err(|error| ConfigError::Value { origin: origin.clone(), reason: with_nearest(error.message()) })
}

/// Lays `NAME.KEY=VALUE` over the sink NAME of the file.
fn set_sink_key(table: &mut toml::Table, assignment: &str) -> Result<(), String> {
    let wrong = || format!("{assignment:?} is not NAME.KEY=VALUE");
    let (target, text) = assignment.split_once('=').ok_or_else(wrong)?;
    let (name, key) = target.split_once('.').ok_or_else(wrong)?;
    let value = toml::from_str::<toml::Table>(&format!("v={text}")).ok().and_then(|mut table| table.remove("v"));
    let value = value.unwrap_or_else(|| toml::Value::String(text.to_owned()));
    let sinks = table.get_mut("sinks").and_then(toml::Value::as_array_mut);
    let sink = sinks
        .into_iter()
        .flatten()
        .filter_map(toml::Value::as_table_mut)
        .find(|sink| sink.get("name").and_then(toml::Value::as_str).is_some_and(|have| have == name));
    match sink {
        Some(sink) => {
            insert(sink, key, value);
            Ok(())
        }
        None => Err(format!("the configuration file has no sink named `{name}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> (usize, String) {
        let (start, reason) = parse_file(text).unwrap_err();
        (text[..start].matches('\n').count() + 1, reason)
    }

    #[test]
    fn what_is_wrong_is_told_with_line_and_right_name() {
        let cases = [
            ("tenant = \"a\"\n[node]\nnmae = \"x\"\n", 3, "unknown key `node.nmae`; did you mean `node.name`?"),
            ("data-dir = \"/x\"\n", 1, "did you mean `data_dir`?"),
            ("\n\n[colector]\nenabled = true\n", 3, "did you mean `collector`?"),
            ("[lake]\nflush_interval = \"soon\"\n", 2, "no length of time"),
            ("[query]\nmemory = \"much\"\n", 2, "no size"),
            ("[log]\nkind = \"kafak\"\n", 2, "did you mean `kafka`?"),
            ("node = 1\n", 1, "is a table"),
            ("a = \n", 1, ""),
        ];
        for (text, line, reason) in cases {
            let (have_line, have) = wrong(text);
            assert_eq!(have_line, line, "{text}: {have}");
            assert!(have.contains(reason), "{text}: {have}");
        }
    }

    #[test]
    fn a_flag_beats_a_variable_beats_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c.toml");
        std::fs::write(&file, "tenant = \"file\"\n[node]\npid = 7\n[collector]\nenabled = false\n").unwrap();
        let setting = |path: &str| *SETTINGS.iter().find(|setting| setting.path == path).unwrap();
        let overrides = Overrides {
            values: vec![
                (Origin::Variable("KERNTRAIL_TENANT".into()), setting("tenant"), "variable".into()),
                (Origin::Variable("KERNTRAIL_NODE_PID".into()), setting("node.pid"), "8".into()),
                (Origin::Flag("tenant".into()), setting("tenant"), "flag".into()),
            ],
            sinks: Vec::new(),
        };
        let config = load(Some(&file), &overrides).unwrap();
        assert_eq!((config.tenant.as_str(), config.node.pid, config.collector.enabled), ("flag", 8, false));
    }

    #[test]
    fn a_wrong_value_names_where_it_was_written() {
        let setting = *SETTINGS.iter().find(|setting| setting.path == "node.pid").unwrap();
        let overrides = Overrides {
            values: vec![(Origin::Variable("KERNTRAIL_NODE_PID".into()), setting, "one".into())],
            sinks: Vec::new(),
        };
        let error = load(None, &overrides).unwrap_err().to_string();
        assert!(error.starts_with("environment variable KERNTRAIL_NODE_PID: "), "{error}");
    }
}

//! Where each value was written, so that what is wrong with it is told there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::load::{ConfigError, Origin};

/// The places of a configuration's values, by path: `http.listen`, `sinks.NAME.where`.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    file: PathBuf,
    lines: BTreeMap<String, usize>,
    overrides: BTreeMap<String, Origin>,
}

impl Sources {
    /// The keys of `document`, which is `text` of the file `path`.
    pub fn of_file(path: &Path, text: &str, document: &DeTable<'_>) -> Self {
        let mut sources = Self { file: path.to_owned(), ..Self::default() };
        sources.note("", text, document);
        sources
    }

    /// The value of `path` comes from `origin`.
    pub fn overridden(&mut self, path: String, origin: Origin) {
        self.overrides.insert(path, origin);
    }

    /// The error that tells `reason` where the value of `path`, or else its table, was written.
    pub fn blame(&self, path: &str, reason: impl Into<String>) -> ConfigError {
        let reason = reason.into();
        if let Some(origin) = self.overrides.get(path) {
            return ConfigError::Value { origin: origin.clone(), reason };
        }
        let parents = std::iter::successors(Some(path), |path| path.rsplit_once('.').map(|(parent, _)| parent));
        match parents.filter_map(|path| self.lines.get(path)).next() {
            Some(line) => ConfigError::Line { path: self.file.clone(), line: *line, reason },
            None => ConfigError::Unwritten { reason },
        }
    }

    /// The error that tells `reason` where the entry `key` of the table `path` was written. An override of the table
    /// replaces all its entries.
    pub fn blame_within(&self, path: &str, key: &str, reason: impl Into<String>) -> ConfigError {
        if self.overrides.contains_key(path) {
            return self.blame(path, reason);
        }
        self.blame(&format!("{path}.{key}"), reason)
    }

    fn note(&mut self, prefix: &str, text: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let path =
                if prefix.is_empty() { key.get_ref().to_string() } else { format!("{prefix}.{}", key.get_ref()) };
            self.lines.insert(path.clone(), line_of(text, key.span().start));
            match value.get_ref() {
                DeValue::Table(table) => self.note(&path, text, table),
                DeValue::Array(items) => {
                    for item in items.iter() {
                        let DeValue::Table(table) = item.get_ref() else { continue };
                        let Some(name) = name_of(table) else { continue };
                        let path = format!("{path}.{name}");
                        self.lines.insert(path.clone(), line_of(text, item.span().start));
                        self.note(&path, text, table);
                    }
                }
                _ => {}
            }
        }
    }
}

/// The value of the key `name`, by which a table of an array goes.
fn name_of<'a>(table: &'a DeTable<'_>) -> Option<&'a str> {
    table.iter().find(|(key, _)| key.get_ref() == "name").and_then(|(_, value)| value.get_ref().as_str())
}

/// Line, from 1, of the byte `offset` of `text`.
pub fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1
}

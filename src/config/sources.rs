//! Where each value was written, so that an error can name the place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::load::{ConfigError, ValueOrigin, plain};

/// The places of a configuration's values, by path: `http.listen`, `sinks.NAME.where`.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    file: PathBuf,
    lines: BTreeMap<String, usize>,
    overrides: BTreeMap<String, ValueOrigin>,
}

impl Sources {
    /// The keys of `document`, which is `text` of the file `path`.
    pub fn of_file(path: &Path, text: &str, document: &DeTable<'_>) -> Self {
        let mut sources = Self { file: path.to_owned(), ..Self::default() };
        sources.note("", text, document);
        sources
    }

    /// The value of `path` comes from `origin`.
    pub fn overridden(&mut self, path: String, origin: ValueOrigin) {
        self.overrides.insert(path, origin);
    }

    /// The error `reason` at the place where the value of `path`, or else the array or table around it, was written.
    pub fn error_at(&self, path: &str, reason: impl Into<String>) -> ConfigError {
        let reason = reason.into();
        let around =
            || std::iter::successors(Some(path), |path| path.rsplit_once(['.', '[']).map(|(parent, _)| parent));
        // An override of a table replaces all its entries.
        if let Some(origin) = around().find_map(|path| self.overrides.get(path)) {
            return ConfigError::Value { origin: origin.clone(), reason };
        }
        match around().find_map(|path| self.lines.get(path)) {
            Some(line) => ConfigError::Line { path: self.file.clone(), line: *line, reason },
            None => ConfigError::Unwritten { reason },
        }
    }

    /// `error` at the place where the value of its key, or else its sink, was written. `index` counts the sinks of the
    /// file from 0, for one that has no name.
    pub fn error_in_sink(&self, index: Option<usize>, error: kerntrail_sinks::SinkConfigError) -> ConfigError {
        let sink = match index {
            Some(index) if error.sink().is_empty() => index.to_string(),
            _ => error.sink().to_owned(),
        };
        let path = format!("sinks.{sink}.{}", error.key());
        self.error_at(&path, plain(&format!("{:#}", anyhow::Error::from(error))))
    }

    fn note(&mut self, prefix: &str, text: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let path =
                if prefix.is_empty() { key.get_ref().to_string() } else { format!("{prefix}.{}", key.get_ref()) };
            self.lines.insert(path.clone(), line_of(text, key.span().start));
            match value.get_ref() {
                DeValue::Table(table) => self.note(&path, text, table),
                DeValue::Array(items) => {
                    for (index, item) in items.iter().enumerate() {
                        let DeValue::Table(table) = item.get_ref() else { continue };
                        let name = name_of(table).map_or_else(|| index.to_string(), str::to_owned);
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

/// The value of the key `name`, which identifies a table of an array.
fn name_of<'a>(table: &'a DeTable<'_>) -> Option<&'a str> {
    table.iter().find(|(key, _)| key.get_ref() == "name").and_then(|(_, value)| value.get_ref().as_str())
}

/// Line, from 1, of the byte `offset` of `text`.
pub fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1
}
